"""Made tables as arrays, and simple readers of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from plait.data.table import Table

Array = np.ndarray[Any, np.dtype[Any]]


def cells(table: Table, modality: str) -> Array:
    """[N, D] the vectors of a modality, NaN where a row has none."""
    said = table.column(modality).to_pylist()
    width = next(len(cell) for cell in said if cell is not None)
    return np.array([cell if cell is not None else [np.nan] * width for cell in said], np.float64)


def codes(table: Table, column: str) -> Array:
    """[N] codes of a column's values."""
    return np.asarray(np.unique(table.column(column).to_pylist(), return_inverse=True)[1])


def probabilities(x: Array, y: Array, learn: Array) -> Array:
    """[N, C] of a logistic regression that has learned from the rows `learn`."""
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)).fit(x[learn], y[learn])
    out = np.zeros((len(y), int(y.max()) + 1))
    out[:, model[-1].classes_] = model.predict_proba(x)
    return out


def right(x: Array, y: Array, learn: Array) -> Array:
    """[N] whether it is right."""
    return np.asarray(probabilities(x, y, learn).argmax(1) == y, np.float64)

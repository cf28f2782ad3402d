"""Made tables as arrays, and simple readers of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
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


def nearby(x: Array, y: Array, learn: Array, k: int = 25) -> Array:
    """[N, C] shares of the classes among the k nearest of the rows `learn`, one of each class added.

    It reads parities, which a logistic regression does not.
    """
    model = KNeighborsClassifier(k).fit(x[learn], y[learn])
    counts = np.zeros((len(y), int(y.max()) + 1))
    counts[:, model.classes_] = k * model.predict_proba(x)
    return np.asarray((counts + 1) / (counts + 1).sum(1, keepdims=True))


def odd(size: int) -> Array:
    """[N] bool: every other row, beginning with the second; the rows of made tables have no order."""
    return np.arange(size) % 2 == 1


def bit(table: Table, column: str) -> Array:
    """[N] of 0 and 1."""
    return table.column(column).to_numpy(zero_copy_only=False).astype(np.float64)


def of_truth(chances: Array, y: Array) -> Array:
    """[N] bits: log2 of the chance [N, C] that is given to the truth."""
    return np.asarray(np.log2(np.maximum(chances[np.arange(len(y)), y], 1e-12)))

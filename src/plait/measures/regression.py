"""How well numbers fit the truth.  predicted, truth: [P].  A measure that the rows do not define is NaN."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._ranks import ranks

Array = NDArray[Any]


def rows(predicted: Array, truth: Array) -> dict[str, Array]:
    """The measures that are means over rows, as their values per row [P]: the absolute error, in the target's unit."""
    _check(predicted, truth)
    return {"mae": np.abs(predicted.astype(np.float64) - truth)}


def others(predicted: Array, truth: Array) -> dict[str, float]:
    """RMSE in the target's unit, R2, and Spearman's rank correlation."""
    _check(predicted, truth)
    predicted, truth = predicted.astype(np.float64), truth.astype(np.float64)
    error = predicted - truth
    return {
        "rmse": float(np.sqrt(np.mean(error**2))) if len(error) else float("nan"),
        "r2": r2(predicted, truth),
        "spearman": spearman(predicted, truth),
    }


def r2(predicted: Array, truth: Array) -> float:
    """1 - sum (y - f)^2 / sum (y - mean y)^2; NaN where the truth does not vary."""
    if not _varies(truth):
        return float("nan")
    return float(1 - np.sum((predicted - truth) ** 2) / np.sum((truth - truth.mean()) ** 2))


def spearman(predicted: Array, truth: Array) -> float:
    """Correlation of the ranks, ties at their mean rank; 0 where only the predictions do not vary."""
    if not _varies(truth):
        return float("nan")
    if not _varies(predicted):
        return 0.0
    return float(np.corrcoef(ranks(predicted), ranks(truth))[0, 1])


def _varies(values: Array) -> bool:
    return len(values) > 1 and bool(values.min() < values.max())


def _check(predicted: Array, truth: Array) -> None:
    if predicted.ndim != 1 or truth.shape != predicted.shape:
        raise ValueError(f"expected numbers [P] and [P], found {predicted.shape} and {truth.shape}")

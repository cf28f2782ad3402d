"""The interval of a difference between two methods, from out-of-fold values of the same rows.

    SE^2 = G / (G - 1) * sum_g ( sum_{i in g} (D_i - mean D) )^2 / n^2;   mean D +- 1.3 t(.975, G - 1) SE

D_i is a row's difference, averaged over repeats of the folds; g are groups of rows that belong together.  The factor
1.3 makes up for training sets that overlap: without it the interval is too narrow (Nadeau & Bengio, Machine Learning
2003); its size was calibrated by simulation.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

Array = NDArray[Any]
WIDEN = 1.3


class Difference(NamedTuple):
    """mean, and the ends of its 95 % interval.  resolution: the difference that could have been seen."""

    mean: float
    low: float
    high: float
    resolution: float


def difference(values: Array, groups: Array) -> Difference:
    """values: [n] differences of rows; groups: [n].  ValueError with fewer than 2 groups or if shapes differ."""
    values = np.asarray(values, np.float64)
    _, code = np.unique(np.asarray(groups), return_inverse=True)
    count = int(code.max()) + 1 if len(code) else 0
    if values.shape != code.shape or count < 2:
        raise ValueError(f"expected values [n] of at least 2 groups [n], found {values.shape}, {count} groups")
    mean = float(values.mean())
    sums = np.bincount(code, values - mean, count)
    error = float(np.sqrt(count / (count - 1) * (sums**2).sum()) / len(values))
    half = WIDEN * float(stdtrit(count - 1, 0.975)) * error
    return Difference(mean, mean - half, mean + half, 2.8 * WIDEN * error)

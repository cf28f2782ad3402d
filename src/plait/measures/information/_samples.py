"""Rows as codes, weights and tables."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def codes(name: str, values: Array) -> Array:
    """Values [N] of any kind -> 0 .. K - 1.  ValueError, with the name, on other shapes, NaN or None."""
    values = np.asarray(values)
    if values.ndim != 1:
        raise ValueError(f"expected one value a row in {name!r}, [N], found shape {values.shape}")
    if (values != values).any() or (values.dtype == object and any(value is None for value in values)):
        raise ValueError(f"{name!r} has absent values (NaN or None): leave these rows out, or weigh the others")
    return np.unique(values, return_inverse=True)[1].ravel()


def same_length(**columns: Array) -> int:
    """How many rows all of them have.  ValueError if not equally many, or fewer than 2."""
    sizes = {name: len(values) for name, values in columns.items()}
    if len(set(sizes.values())) != 1 or min(sizes.values()) < 2:
        raise ValueError(f"expected equally many rows, at least 2, found {sizes}")
    return next(iter(sizes.values()))


def checked_weights(weights: Array | None, size: int) -> Array:
    """[N], ones if none are given.  ValueError if they are not positive numbers, one a row."""
    if weights is None:
        return np.ones(size)
    weights = np.asarray(weights, np.float64)
    if weights.shape != (size,) or not np.isfinite(weights).all() or (weights <= 0).any():
        raise ValueError(f"expected a positive weight for each of {size} rows, found {weights.shape}")
    return np.asarray(weights / weights.mean())


def tabulate(source: Array, target: Array, weights: Array) -> Array:
    """Codes [n] and [n] -> the weight of each combination [A, C]."""
    shape = source.max() + 1, target.max() + 1
    return np.bincount(source * shape[1] + target, weights, shape[0] * shape[1]).reshape(shape)

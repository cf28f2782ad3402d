"""What the measures of this folder ask of their arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]
Floats = NDArray[np.float64]


def checked(values: ArrayLike, name: str, least: int = 1) -> Floats:
    """[N, D] in double precision.  ValueError unless two-dimensional, finite, and of `least` rows or more."""
    array = np.asarray(values, np.float64)
    if array.ndim != 2 or not array.shape[1]:
        raise ValueError(f"{name}: expected an array [N, D] with D > 0, found shape {array.shape}")
    if len(array) < least:
        raise ValueError(f"{name}: expected at least {least} rows, found {len(array)}")
    bad = ~np.isfinite(array).all(1)
    if bad.any():
        raise ValueError(
            f"{name}: {bad.sum()} of {len(array)} rows have NaN or infinite values, the first is row "
            f"{int(bad.argmax())}; leave such rows out"
        )
    return array


def paired(a: ArrayLike, b: ArrayLike, least: int = 1, *, widths: bool = False) -> tuple[Floats, Floats]:
    """Both [N, ...], row i of one belonging to row i of the other; with `widths` also of equal width."""
    first, second = checked(a, "a", least), checked(b, "b", least)
    if len(first) != len(second) or (widths and first.shape != second.shape):
        wanted = "equal shapes" if widths else "equally many rows"
        raise ValueError(f"a and b are pairs and need {wanted}, found {first.shape} and {second.shape}")
    return first, second


def unit(array: Floats, name: str) -> Floats:
    """Rows divided by their length.  ValueError if a row is 0: it has no direction."""
    length = np.linalg.norm(array, axis=1, keepdims=True)
    if (length == 0).any():
        raise ValueError(f"{name}: row {int(length.argmin())} is 0 and has no direction; leave it out")
    return array / length


def group_sums(values: Floats, code: Array, count: int) -> Floats:
    """[N, D], the group of each row -> [count, D]."""
    out = np.zeros((count, values.shape[1]))
    np.add.at(out, code, values)
    return out

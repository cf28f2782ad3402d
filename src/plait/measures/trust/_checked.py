"""What comes in is checked once, here; every message says what was found and what was expected."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def finite(values: Array, name: str, *shape: int | None) -> Array:
    """As float64.  shape: of each axis its size, None for any.  ValueError for another shape, NaN or infinity."""
    values = np.asarray(values)
    if values.ndim != len(shape) or any(s is not None and s != v for s, v in zip(shape, values.shape, strict=True)):
        said = ", ".join("any" if s is None else str(s) for s in shape)
        raise ValueError(f"{name}: expected an array [{said}], found {list(values.shape)}")
    if values.dtype.kind not in "fiub":
        raise ValueError(f"{name}: expected numbers, found {values.dtype}")
    values = values.astype(np.float64)
    if bad := int((~np.isfinite(values)).sum()):
        raise ValueError(f"{name}: {bad} of {values.size} values are NaN or infinite; leave those rows out")
    return values


def probabilities(values: Array, name: str, *shape: int | None) -> Array:
    """As `finite`, and every row, along the last axis, is non-negative with the sum 1 (to 0.001)."""
    values = finite(values, name, *shape)
    if values.size and (values.min() < 0 or np.abs(values.sum(-1) - 1).max() > 1e-3):
        total = values.sum(-1)
        raise ValueError(
            f"{name}: expected probabilities, found values from {values.min():.3g} and sums from {total.min():.3g} "
            f"to {total.max():.3g}; logits need a softmax first"
        )
    return values


def codes(values: Array, name: str, rows: int, classes: int) -> Array:
    """[rows] integers in 0 .. classes - 1."""
    values = np.asarray(values)
    if values.shape != (rows,) or values.dtype.kind not in "iu":
        raise ValueError(f"{name}: expected [{rows}] integer codes, found {values.dtype} {list(values.shape)}")
    if rows and (values.min() < 0 or values.max() >= classes):
        raise ValueError(f"{name}: codes must lie in 0 .. {classes - 1}, found {values.min()} .. {values.max()}")
    return values.astype(np.int64)


def presence(have: Array | None, rows: int, modalities: int) -> Array:
    """[rows, modalities] bool; all there if None."""
    if have is None:
        return np.ones((rows, modalities), bool)
    have = np.asarray(have)
    if have.shape != (rows, modalities) or have.dtype != np.bool_:
        raise ValueError(f"have: expected bool [{rows}, {modalities}], found {have.dtype} {list(have.shape)}")
    return have


def alike(groups: Array | None, rows: int) -> Array | None:
    """[rows] which rows belong together; None if none do."""
    if groups is None:
        return None
    groups = np.asarray(groups)
    if groups.shape != (rows,):
        raise ValueError(f"groups: expected one for each of the {rows} rows, found {list(groups.shape)}")
    return groups


def singles(values: Array, have: Array | None, name: str) -> tuple[Array, Array]:
    """Single-modality predictions [N, M, C] and where they are [N, M]; what stands in absent cells is not looked at.

    -> float64, 0 in absent cells.  NaN among them needs no care of the caller's.
    """
    values = np.asarray(values)
    if values.ndim != 3:
        raise ValueError(f"{name}: expected predictions [N, M, C] of M modalities, found {list(values.shape)}")
    there = presence(have, *values.shape[:2])
    out = np.zeros(values.shape)
    out[there] = probabilities(values[there], name, None, None)
    return out, there

"""Damage to vectors and tabular rows [D] of floats, NaN where a column is missing, which stays missing."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._graded import amount, drawn, some

Array = NDArray[Any]

_NOISE = (0.1, 0.2, 0.4, 0.8, 1.6)
_DROPPED = (0.1, 0.2, 0.3, 0.4, 0.5)


def noise(cell: Array, strength: int, seed: int = 0, *, scale: Array) -> Array:
    """Gaussian noise in .1 to 1.6 of `scale` [D]: the columns' standard deviations over training rows, which one row
    cannot tell.  A scale of 0 leaves a column alone, as codes of categories must be.  ValueError if it does not fit."""
    _check(cell)
    scale = np.asarray(scale, np.float64)
    if scale.shape != cell.shape or not (np.isfinite(scale) & (scale >= 0)).all():
        raise ValueError(f"scale: expected {len(cell)} numbers of 0 or more, found {list(scale.shape)}, {scale!r:.60}")
    if strength == 0:
        return cell.copy()
    wave = drawn("vector noise", seed, cell).standard_normal(cell.shape)
    return (cell + amount(strength, _NOISE) * scale * wave).astype(cell.dtype)


def column_drop(cell: Array, strength: int, seed: int = 0, *, fill: Array | float = np.nan) -> Array:
    """A tenth to half of the columns that are there, at least one and never all, set to `fill` ([D] or one number).

    NaN, missing, suits tabular rows; an encoder of vectors takes none: give it the columns' means.  Stronger: the same
    columns and more.
    """
    _check(cell)
    fill = np.broadcast_to(np.asarray(fill, cell.dtype), cell.shape)
    if strength == 0:
        return cell.copy()
    share, out = amount(strength, _DROPPED), cell.copy()
    there = np.flatnonzero(~np.isnan(cell))
    order = there[drawn("vector column_drop", seed, cell).permutation(len(there))]
    gone = order[: some(share, len(there), len(there) - 1)]
    out[gone] = fill[gone]
    return out


def _check(cell: Array) -> None:
    if cell.ndim != 1 or cell.dtype.kind != "f":
        raise ValueError(f"expected a vector of floats [D], found {cell.dtype} {list(cell.shape)}")

"""Damage to time series [T, 1 + C]: the time first, then C channels, NaN where nothing was observed.  Times stay."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._graded import amount, drawn, some

Array = NDArray[Any]

_JITTER = (0.05, 0.1, 0.2, 0.4, 0.8)
_DROPPED = (0.1, 0.2, 0.3, 0.5, 0.7)


def jitter(cell: Array, strength: int, seed: int = 0) -> Array:
    """Gaussian noise in .05 to .8 of each channel's own standard deviation; a constant channel stays."""
    _check(cell)
    if strength == 0:
        return cell.copy()
    share, seen = amount(strength, _JITTER), ~np.isnan(cell[:, 1:])
    values = np.where(seen, cell[:, 1:], 0).astype(np.float64)
    count = np.maximum(seen.sum(0), 1)
    centred = np.where(seen, values - values.sum(0) / count, 0)
    # Rounding of a mean must not make a constant channel vary.
    varies = values.max(0, initial=-np.inf, where=seen) > values.min(0, initial=np.inf, where=seen)
    wide = np.where(varies, share * np.sqrt((centred**2).sum(0) / count), 0)
    out = cell.copy()
    out[:, 1:] = cell[:, 1:] + wide * drawn("series jitter", seed, cell).standard_normal(seen.shape)
    return out


def dropout(cell: Array, strength: int, seed: int = 0) -> Array:
    """A tenth to seven tenths of the observations gone, at least one and never all.  Stronger: the same and more."""
    _check(cell)
    if strength == 0:
        return cell.copy()
    share, out = amount(strength, _DROPPED), cell.copy()
    step, channel = np.nonzero(~np.isnan(cell[:, 1:]))
    order = drawn("series dropout", seed, cell).permutation(len(step))
    gone = order[: some(share, len(step), len(step) - 1)]
    out[step[gone], 1 + channel[gone]] = np.nan
    return out


def _check(cell: Array) -> None:
    if cell.ndim != 2 or cell.shape[1] < 2 or cell.dtype.kind != "f":
        raise ValueError(f"expected a series of floats [T, 1 + C], found {cell.dtype} {list(cell.shape)}")

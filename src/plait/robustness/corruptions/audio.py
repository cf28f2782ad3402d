"""Damage to sounds [N]: floats, as a rule in -1 .. 1, or whole numbers; type and range are kept."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._graded import amount, drawn, narrowed

Array = NDArray[Any]

_DECIBELS = (30.0, 20.0, 15.0, 10.0, 5.0)
_LEVEL = (0.7, 0.5, 0.35, 0.2, 0.1)


def noise(cell: Array, strength: int, seed: int = 0) -> Array:
    """White noise at 30, 20, 15, 10 and 5 dB below the sound's own power.

    Silence has no such ratio and stays silence.  Beyond full scale it clips, as a recording does.
    """
    low, high = _range(cell)
    power = np.mean(cell.astype(np.float64) ** 2) if cell.size else 0.0
    if strength == 0:
        return cell.copy()
    decibels = amount(strength, _DECIBELS)
    if power == 0:
        return cell.copy()
    wave = drawn("audio noise", seed, cell).standard_normal(len(cell))
    # Of just the power that the ratio asks for, however short the sound is.
    wave *= np.sqrt(power / 10 ** (decibels / 10) / np.mean(wave**2))
    return narrowed(cell + wave, cell, low, high)


def clipping(cell: Array, strength: int, seed: int = 0) -> Array:
    """Held within .7, .5, .35, .2 and .1 of its own peak; seed: for the sake of one form, nothing is drawn."""
    _range(cell)
    if strength == 0 or not cell.size:
        return cell.copy()
    level = amount(strength, _LEVEL) * np.abs(cell.astype(np.float64)).max()
    return narrowed(cell.astype(np.float64), cell, -level, level)


def _range(cell: Array) -> tuple[float, float]:
    """Full scale, or the sound's own peak where it lies beyond."""
    if cell.ndim != 1:
        raise ValueError(f"expected a sound [N], found {list(cell.shape)}")
    if cell.dtype.kind == "i":
        return float(np.iinfo(cell.dtype).min), float(np.iinfo(cell.dtype).max)
    if cell.dtype.kind != "f":
        raise ValueError(f"expected a sound of floats or signed whole numbers, found {cell.dtype}")
    if not np.isfinite(cell).all():
        raise ValueError(f"expected finite samples, found {int((~np.isfinite(cell)).sum())} that are not")
    peak = max(1.0, float(np.abs(cell).max(initial=0)))
    return -peak, peak

"""Damage to images [H, W] or [H, W, C]: whole numbers in their type's range, or floats in 0 .. 1; both are kept.

Strengths follow Hendrycks & Dietterich, "Benchmarking neural network robustness to common corruptions and
perturbations", arXiv:1903.12261, where it has the corruption: noise of .08 to .38 of full scale, blur of 1 to 6 pixels
of 224.  Blur is relative to the side, so that a small image is not wiped out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._graded import amount, drawn, narrowed

Array = NDArray[Any]

_NOISE = (0.08, 0.12, 0.18, 0.26, 0.38)
_BLUR = (1 / 224, 2 / 224, 3 / 224, 4 / 224, 6 / 224)
_OCCLUDED = (0.1, 0.2, 0.3, 0.4, 0.5)


def noise(cell: Array, strength: int, seed: int = 0) -> Array:
    """Gaussian noise in every channel of every pixel.  ValueError for another shape or range."""
    full = _full_scale(cell)
    if strength == 0:
        return cell.copy()
    wide = amount(strength, _NOISE) * full * drawn("image noise", seed, cell).standard_normal(cell.shape)
    return narrowed(cell + wide, cell, 0, full)


def blur(cell: Array, strength: int, seed: int = 0) -> Array:
    """A Gaussian blur, mirrored at the border; seed: for the sake of one form, nothing is drawn.

    Done on cosine waves, each of which it shrinks: so a wider blur is always further from the image.
    """
    from scipy.fft import dctn, idctn

    full = _full_scale(cell)
    if strength == 0 or not cell.size:
        return cell.copy()
    spread = amount(strength, _BLUR) * (cell.shape[0] + cell.shape[1]) / 2
    rows, columns = (np.pi * np.arange(size) / size for size in cell.shape[:2])
    kept = np.exp(-(spread**2) * (rows[:, None] ** 2 + columns**2) / 2)
    waves = dctn(cell.astype(np.float64), axes=(0, 1)) * kept.reshape(*kept.shape, *[1] * (cell.ndim - 2))
    return narrowed(idctn(waves, axes=(0, 1)), cell, 0, full)


def occlusion(cell: Array, strength: int, seed: int = 0) -> Array:
    """A grey rectangle of the image's proportions somewhere within it, a tenth to half of its area.

    Stronger ones contain weaker ones."""
    full = _full_scale(cell)
    if strength == 0:
        return cell.copy()
    share = amount(strength, _OCCLUDED)
    out, place = cell.copy(), drawn("image occlusion", seed, cell).random(2)
    # It grows about one point, on each side in proportion to the room there.
    first = [(1 - np.sqrt(share)) * p * size for p, size in zip(place, cell.shape[:2], strict=True)]
    last = [f + np.sqrt(share) * size for f, size in zip(first, cell.shape[:2], strict=True)]
    top, left = (int(np.floor(f + 1e-9)) for f in first)
    bottom, right = (int(np.ceil(x - 1e-9)) for x in last)
    out[top:bottom, left:right] = narrowed(np.asarray(full / 2), cell, 0, full)
    return out


def _full_scale(cell: Array) -> float:
    if cell.ndim not in (2, 3):
        raise ValueError(f"expected an image [H, W] or [H, W, C], found {list(cell.shape)}")
    if cell.dtype.kind == "u":
        return float(np.iinfo(cell.dtype).max)
    if cell.dtype.kind != "f":
        raise ValueError(f"expected an image of unsigned whole numbers or floats, found {cell.dtype}")
    if cell.size and not (cell.min() >= 0 and cell.max() <= 1):
        raise ValueError(f"expected an image of floats in 0 .. 1, found {cell.min():.3g} .. {cell.max():.3g}")
    return 1.0

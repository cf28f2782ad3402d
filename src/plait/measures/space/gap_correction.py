"""Remedies for the modality gap that need no training: take each modality's mean away, and blur what is left.

    z = (x / |x| - mean) + noise * e,   e ~ N(0, I),      and then z / |z|

`mean` is the modality's own, of unit vectors, and of *training rows only*: with the mean of the rows that are judged,
these would tell each other what they are.  The means of both modalities are then 0 on training rows, exactly before the
last division and about after it.  The noise stands in for how far the two embeddings of a pair still lie apart; it is
for training a head on one modality that shall serve another, never for what is searched or judged.

With mean 0 and noise 0 it is the identity on unit vectors.
Source: Zhang et al., "Connect, Collapse, Corrupt", arXiv:2401.08567.   Relatives: modality_gap.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ._rows import Floats, checked, unit


def gap_correction(vectors: ArrayLike, mean: ArrayLike, *, noise: float = 0.0, seed: int = 0) -> Floats:
    """vectors [N, D] of any length but zero, mean [D] as of `mean_direction`.  -> [N, D] unit vectors.

    noise: standard deviation of each coordinate.  ValueError on NaN, zero vectors or a mean of another width.
    """
    return unit(corrupt(collapse(vectors, mean), noise=noise, seed=seed), "corrected vectors")


def mean_direction(train: ArrayLike) -> Floats:
    """[N, D] training rows of one modality -> [D] the mean of their unit vectors, shorter than 1."""
    centre: Floats = unit(checked(train, "train"), "train").mean(0)
    return centre


def collapse(vectors: ArrayLike, mean: ArrayLike) -> Floats:
    """[N, D], [D] -> [N, D] unit vectors minus the mean; not of unit length."""
    rows, centre = unit(checked(vectors, "vectors"), "vectors"), np.asarray(mean, np.float64)
    if centre.shape != rows.shape[1:] or not np.isfinite(centre).all():
        raise ValueError(f"expected a finite mean [{rows.shape[1]}], found shape {centre.shape}: {centre}")
    return rows - centre


def corrupt(vectors: ArrayLike, *, noise: float, seed: int = 0) -> Floats:
    """[N, D] -> [N, D] with independent normal noise on each coordinate; unchanged where noise is 0."""
    rows = checked(vectors, "vectors")
    if not 0 <= noise < np.inf:
        raise ValueError(f"expected a standard deviation of 0 or more, found {noise}")
    return rows + noise * np.random.default_rng(seed).normal(size=rows.shape)

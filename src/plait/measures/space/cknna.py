"""CKA that looks at neighbours only.

    CKNNA = S(A and B; K, L) / sqrt(S(A; K, K) S(B; L, L)),   S(M; K, L) = sum K_ij L_ij over j in M(i)

A(i), B(i): the k rows nearest to row i by cosine.  K, L: inner products of unit vectors, minus what row, column and
whole are on average without the diagonal.  With this centring it equals unbiased CKA of the unit vectors at k = N - 1,
and lies between -1 and 1.  The formula is that of the paper; the program published with it centres after choosing
neighbours, and then counts only pairs that are neighbours both ways, so its numbers differ.

Source: Huh et al., "The Platonic Representation Hypothesis", arXiv:2405.07987.
Relatives: cka, representation_alignment.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from ._neighbours import Neighbours, enough, nearest
from ._rows import Floats, paired, unit


def cknna(a: ArrayLike, b: ArrayLike, *, k: int = 10, seed: int = 0) -> float:
    """a [N, D], b [N, E], pairs of any length but zero.  -> -1 to 1; NaN where one is collapsed.

    ValueError on NaN, zero vectors, fewer rows than 4 or k + 1.
    """
    turned = [unit(x, name) for x, name in zip(paired(a, b, 4), "ab", strict=True)]
    near = [nearest(x, enough(k, len(x)), seed=2 * seed + i) for i, x in enumerate(turned)]
    return cknna_and_chance(near, turned)[0]


def cknna_and_chance(near: Sequence[Neighbours], unit: Sequence[Floats]) -> tuple[float, float]:
    """Two lists and their unit vectors -> the value, and its mean over all ways of pairing the rows anew."""
    a, b = (_centred(lists, rows) for lists, rows in zip(near, unit, strict=True))
    root = np.sqrt(np.sum(a**2) * np.sum(b**2))
    if root <= 1e-24 * a.size:
        return float("nan"), float("nan")
    pairs = [lists.numbered() for lists in near]
    _, at_a, at_b = np.intersect1d(pairs[0], pairs[1], assume_unique=True, return_indices=True)
    by_chance = a.sum() * b.sum() / (len(a) * (len(a) - 1))
    return float(a.ravel()[at_a] @ b.ravel()[at_b] / root), float(by_chance / root)


def _centred(near: Neighbours, unit: Floats) -> Floats:
    """[N, k] the kernel at the neighbours."""
    n = len(unit)
    across = unit @ unit.sum(0) - np.sum(unit**2, 1)
    whole = across.sum() / ((n - 1) * (n - 2))
    centred: Floats = near.cosines - (across[:, None] + across[near.rows]) / (n - 2) + whole
    return centred

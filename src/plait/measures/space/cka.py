"""Centred kernel alignment of two embeddings of the same rows: whether the same pairs of rows are alike in both.

    CKA = HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)),   K = A A^T, L = B B^T

With the plain estimate of HSIC, tr(K H L H) up to a factor, CKA of independent embeddings is far from 0 (near 1 where D
is larger than N): `chance` says what it is on average over all ways of pairing the rows anew.  With the unbiased one,
which leaves the diagonal out, it is 0 on average.  Both are 1 for equal embeddings, and do not change when one is
shifted, rotated or scaled as a whole; they do change under other linear maps.  No N x N array is made unless D > N.

Sources: Kornblith et al., arXiv:1905.00414; Song et al., "Feature selection via dependence maximization", JMLR 2012
(unbiased HSIC); Nguyen et al., arXiv:2010.15327 (unbiased CKA).   Relatives: representation_alignment.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ._rows import Floats, paired


def cka(a: ArrayLike, b: ArrayLike, *, unbiased: bool = True) -> float:
    """a [N, D], b [N, E], pairs.  -> -1 to 1 (unbiased), 0 to 1 (plain).

    ValueError on NaN, fewer than 4 rows (unbiased) or 2 (plain), or an embedding whose rows are all equal.
    """
    first, second = (_centred(x, name) for x, name in zip(paired(a, b, 4 if unbiased else 2), "ab", strict=True))
    hsic = _unbiased if unbiased else _plain
    own = hsic(first, first) * hsic(second, second)
    if own <= 0:
        raise ValueError("the rows of one embedding are so nearly equal that nothing can be aligned with them")
    return hsic(first, second) / float(np.sqrt(own))


def chance(a: ArrayLike, b: ArrayLike) -> float:
    """The mean of plain CKA over all orders of the rows of b: tr(K H) tr(L H) / (N - 1) over the same root."""
    first, second = (_centred(x, name) for x, name in zip(paired(a, b, 2), "ab", strict=True))
    by_chance = np.sum(first**2) * np.sum(second**2) / (len(first) - 1)
    return float(by_chance / np.sqrt(_plain(first, first) * _plain(second, second)))


def _centred(rows: Floats, name: str) -> Floats:
    """Minus the mean, at a common scale of 1."""
    left = rows - rows.mean(0)
    largest = float(np.abs(left).max())
    if largest <= 1e-14 * np.abs(rows).max():
        raise ValueError(f"{name}: all {len(rows)} rows are equal, which can be aligned with nothing")
    return left / largest


def _plain(a: Floats, b: Floats) -> float:
    return _squared(a, b)


def _unbiased(a: Floats, b: Floats) -> float:
    """N (N - 3) times unbiased HSIC, of kernels without their diagonals, whose sums follow from the rows."""
    n = len(a)
    own = [np.sum(x**2, 1) for x in (a, b)]
    across = [x @ x.sum(0) - o for x, o in zip((a, b), own, strict=True)]
    total = float(across[0].sum() * across[1].sum()) / ((n - 1) * (n - 2))
    return _squared(a, b) - float(own[0] @ own[1]) + total - 2 * float(across[0] @ across[1]) / (n - 2)


def _squared(a: Floats, b: Floats) -> float:
    """sum_ij K_ij L_ij, by whichever product is the smaller."""
    if len(a) < min(a.shape[1], b.shape[1]):
        return float(np.sum((a @ a.T) * (b @ b.T)))
    return float(np.sum((a.T @ b) ** 2))

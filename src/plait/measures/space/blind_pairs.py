"""Pairs of rows that one encoder takes for nearly the same and another one tells apart.

    (i, j) is blind for a   if   cos(a_i, a_j) >= near   and   cos(b_i, b_j) <= far,     near > far

What b sees in them, a does not: a model on a alone should be near chance at telling them apart, on such pairs more than
on random ones (`random_pairs`).  Cosines of two encoders are not on one scale: .95 and .6 were chosen for CLIP and
DINOv2, and for others `pair_quantiles` says which cosines are high and low.  Pairs are found, not judged: whether the
difference matters, a person or a label has to say.

Equal encoders have no blind pairs, and stricter thresholds find a subset.
Source: Tong et al., "Eyes Wide Shut?", arXiv:2401.06209.   Relatives: representation_alignment.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ..bootstrap import Interval, codes, many_intervals
from ..estimate import Accounted
from ._rows import Array, Floats, checked, paired, unit

_BLOCK = 4_000_000


@dataclass(frozen=True, eq=False)
class BlindPairs(Accounted):
    """pairs [P, 2], i < j, those with the largest difference of cosines first; cosine_a, cosine_b: [P].

    share: P over all pairs of rows of different groups.
    """

    pairs: Array
    cosine_a: Floats
    cosine_b: Floats
    share: float
    rows: int
    intervals: dict[str, Interval]


def blind_pairs(
    a: ArrayLike,
    b: ArrayLike,
    *,
    near: float = 0.95,
    far: float = 0.6,
    groups: ArrayLike | None = None,
    seed: int = 0,
    draws: int = 1000,
    level: float = 0.95,
) -> BlindPairs:
    """a [N, D], b [N, E] of any length but zero, by two encoders of the same rows.  groups: [N], near-duplicates.

    The interval of share resamples rows, or groups; a row that is drawn twice makes no pair with itself.
    ValueError on NaN, zero vectors, fewer than 2 groups, or unless near > far.
    """
    first, second = (unit(x, name) for x, name in zip(paired(a, b, 2), "ab", strict=True))
    if not near > far:
        raise ValueError(f"expected near > far, found near = {near} and far = {far}")
    code, count = codes(groups, len(first))
    if count < 2:
        raise ValueError("pairs are of different groups, and there is only one")
    pairs = _pairs(first, second, near, far, code)
    cosine = [np.sum(x[pairs[:, 0]] * x[pairs[:, 1]], 1) for x in (first, second)]
    order = np.argsort(cosine[1] - cosine[0], kind="stable")
    size = np.bincount(code, minlength=count)
    ends = code[pairs]

    def share(times: Array) -> dict[str, Array]:
        meetings = (times @ size) ** 2 - times**2 @ size**2
        found = np.array([np.sum(t[ends[:, 0]] * t[ends[:, 1]]) for t in times])
        return {"share": np.divide(2 * found, meetings, out=np.full(len(times), np.nan), where=meetings > 0)}

    return BlindPairs(
        pairs=pairs[order],
        cosine_a=cosine[0][order],
        cosine_b=cosine[1][order],
        share=float(share(np.ones((1, count), np.int64))["share"][0]),
        rows=len(first),
        intervals=many_intervals(share, count, seed=seed, draws=draws, level=level),
    )


def random_pairs(rows: int, count: int, *, groups: ArrayLike | None = None, seed: int = 0) -> Array:
    """[count, 2] different pairs i < j of rows of different groups, to compare with.  ValueError if there are fewer."""
    code, many = codes(groups, rows)
    size = np.bincount(code, minlength=many)
    there = (rows**2 - int(np.sum(size**2))) // 2
    if count > there:
        raise ValueError(f"{rows} rows of {many} groups have {there} pairs, found count = {count}")
    rng = np.random.default_rng(seed)
    found = np.zeros(0, np.int64)
    while len(found) < count:
        i, j = np.sort(rng.integers(rows, size=(2, 2 * count + 10)), axis=0)
        found = np.concatenate([found, (i * rows + j)[code[i] != code[j]]])
        found = found[np.sort(np.unique(found, return_index=True)[1])]
    return np.stack(np.divmod(found[:count], rows), 1)


def pair_quantiles(vectors: ArrayLike, quantiles: ArrayLike, *, most: int = 1_000_000, seed: int = 0) -> Floats:
    """[N, D] -> the cosines below which these shares of the pairs of rows lie; of at most `most` random pairs."""
    rows = unit(checked(vectors, "vectors", 2), "vectors")
    every = len(rows) * (len(rows) - 1) // 2
    if every <= most:
        i, j = np.triu_indices(len(rows), 1)
    else:
        i, j = random_pairs(len(rows), most, seed=seed).T
    step = max(1, _BLOCK // rows.shape[1])
    parts = [np.sum(rows[i[s : s + step]] * rows[j[s : s + step]], 1) for s in range(0, len(i), step)]
    return np.asarray(np.quantile(np.concatenate(parts), np.asarray(quantiles, np.float64)), np.float64)


def _pairs(a: Floats, b: Floats, near: float, far: float, code: Array) -> Array:
    found = []
    step = max(1, _BLOCK // len(a))
    for start in range(0, len(a), step):
        block, rest = slice(start, start + step), slice(start, None)
        blind = (a[block] @ a[rest].T >= near) & (b[block] @ b[rest].T <= far) & (code[block, None] != code[rest])
        i, j = np.nonzero(np.triu(blind, 1))
        found.append(np.stack([i, j], 1) + start)
    return np.concatenate(found)

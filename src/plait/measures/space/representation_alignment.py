"""Whether two encoders arrange the same rows alike, globally and among neighbours.

By cosine, with A(i) and B(i) the k nearest rows of row i in either space:

    mutual_knn = mean_i |A(i) and B(i)| / k
    cycle_knn  = share of rows i that are in A(j) for some j in B(i)
    lcs_knn    = mean_i (longest common subsequence of A(i) and B(i), the nearest first) / k

and CKNNA, linear CKA and unbiased CKA (`cknna`, `cka`).  lcs_knn is divided by k, which its authors do not.

Independent encoders do not score 0: `chance` is the mean over all ways of pairing the rows anew, k / (N - 1) for
mutual_knn.  Everything depends on N and k: compare at equal ones.

Source: Huh et al., "The Platonic Representation Hypothesis", arXiv:2405.07987; used to ask when alignment helps by
Tjandrasuwita et al., arXiv:2502.16282.   Relatives: cka, cknna, modality_gap.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import gammaln

from ..bootstrap import Interval
from ..estimate import Accounted
from . import cka as kernel
from ._jackknife import jackknife
from ._neighbours import Neighbours, enough, nearest
from ._rows import Array, Floats, paired, unit
from .cknna import cknna_and_chance

_RANGE = {
    "linear_cka": (0.0, 1.0),
    "unbiased_cka": (-1.0, 1.0),
    "mutual_knn": (0.0, 1.0),
    "cycle_knn": (0.0, 1.0),
    "lcs_knn": (0.0, 1.0),
    "cknna": (-1.0, 1.0),
}


@dataclass(frozen=True, eq=False)
class RepresentationAlignment(Accounted):
    """Numbers as in the module's docstring.  chance, intervals: of each of them, by its name."""

    linear_cka: float
    unbiased_cka: float
    mutual_knn: float
    cycle_knn: float
    lcs_knn: float
    cknna: float
    k: int
    rows: int
    chance: dict[str, float]
    intervals: dict[str, Interval]


def representation_alignment(
    a: ArrayLike,
    b: ArrayLike,
    *,
    k: int = 10,
    groups: ArrayLike | None = None,
    blocks: int = 20,
    seed: int = 0,
    level: float = 0.95,
) -> RepresentationAlignment:
    """a [N, D], b [N, E], pairs of any length but zero.  groups: [N], rows that belong together.

    Intervals leave out blocks of rows, or of groups (jackknife), and speak of tables of N rows: a bootstrap's repeated
    rows would be each other's neighbours in both spaces.  Those of the neighbour measures are 1.4 to 1.8 times as wide
    as they need be; all are NaN where too few rows would be left.
    ValueError on NaN, zero vectors, equal rows, or fewer rows than 4 or k + 1.
    """
    first, second = paired(a, b, 4)
    turned = [unit(x, name) for x, name in zip((first, second), "ab", strict=True)]
    spare = min(len(first) - 1, 2 * enough(k, len(first)) + 20)
    lists = [nearest(x, spare, seed=2 * seed + i) for i, x in enumerate(turned)]

    def numbers(rows: Array) -> dict[str, float]:
        if len(rows) < max(4, k + 1):
            return dict.fromkeys(_RANGE, float("nan"))
        left = [x.among(rows) if len(rows) < len(first) else x for x in lists]
        if min(x.rows.shape[1] for x in left) < k:
            left = [nearest(x[rows], k, seed=2 * seed + i) for i, x in enumerate(turned)]
        near = [x.first(k) for x in left]
        turns = [x[rows] for x in turned]
        return {
            "linear_cka": kernel.cka(first[rows], second[rows], unbiased=False),
            "unbiased_cka": kernel.cka(first[rows], second[rows]),
            "mutual_knn": float(mutual(*near).mean()),
            "cycle_knn": float(cycle(*near).mean()),
            "lcs_knn": float(common_order(*near).mean()),
            "cknna": cknna_and_chance(near, turns)[0],
        }

    near = [x.first(k) for x in lists]
    found = jackknife(numbers, len(first), groups=groups, blocks=blocks, seed=seed, level=level, within=_RANGE)
    return RepresentationAlignment(
        **numbers(np.arange(len(first))),
        k=k,
        rows=len(first),
        chance={
            "linear_cka": kernel.chance(first, second),
            "unbiased_cka": 0.0,
            "mutual_knn": k / (len(first) - 1),
            "cycle_knn": _cycle_chance(near[0]),
            "lcs_knn": _order_chance(*near, seed=seed),
            "cknna": cknna_and_chance(near, turned)[1],
        },
        intervals=found,
    )


def mutual(a: Neighbours, b: Neighbours) -> Floats:
    """[N] share of the neighbours that both have."""
    return np.isin(a.numbered(), b.numbered()).mean(1)


def cycle(a: Neighbours, b: Neighbours) -> Array:
    """[N] bool: from a row to a neighbour in b, from there to a neighbour in a, is there a way back to the row?"""
    return (a.rows[b.rows] == np.arange(len(a.rows))[:, None, None]).any((1, 2))


def common_order(a: Neighbours, b: Neighbours) -> Floats:
    """[N] length of the longest common subsequence of both lists, over k."""
    count, k = a.rows.shape
    best = np.zeros((count, k + 1), np.int64)
    for i in range(k):
        same = a.rows[:, i, None] == b.rows
        new = best.copy()
        for j in range(k):
            longer = np.maximum(best[:, j + 1], new[:, j])
            new[:, j + 1] = np.where(same[:, j], best[:, j] + 1, longer)
        best = new
    return best[:, k] / k


def _cycle_chance(a: Neighbours) -> float:
    """1 - mean C(N - 1 - d, k) / C(N - 1, k), d: of how many rows a row is a neighbour in a."""
    count, k = a.rows.shape
    others = count - 1 - np.bincount(a.rows.ravel(), minlength=count)
    none = np.full(count, -np.inf)
    possible = others >= k
    none[possible] = gammaln(others[possible] + 1) - gammaln(others[possible] - k + 1)
    none = none - gammaln(count) + gammaln(count - k)
    return float(1 - np.exp(none).mean())


def _order_chance(a: Neighbours, b: Neighbours, *, seed: int, draws: int = 10) -> float:
    """There is no closed form: a mean over random orders of the rows of b."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(draws):
        new = rng.permutation(len(b.rows))
        found.append(common_order(a, Neighbours(new[b.rows[np.argsort(new)]], b.cosines)).mean())
    return float(np.mean(found))

"""Finding a row's other modality among many.

Relevance goes by group: every gallery item of the query's group is a hit, so that an exact copy of the wanted item is
not counted as an error.  Ties are counted at their expectation over random order: an embedding that maps everything
to one point scores by chance, not 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from .bootstrap import mean_interval

Array = NDArray[Any]

TIE = 1e-6
"""Cosines closer than this are equal: matrix products round the same sum differently."""

_CHUNK = 16_000_000


@dataclass(frozen=True, eq=False)
class Ranks:
    """Where the best relevant item of each query stands.  All [Q'], queries with anything relevant in the gallery.

    query: which query.  ahead: irrelevant items that score higher.  tied: all items that score like the best relevant
    one.  wanted: how many of the tied are relevant, at least 1.  relevant: how many of the gallery are.
    """

    query: Array
    ahead: Array
    tied: Array
    wanted: Array
    relevant: Array
    gallery: int

    def recall(self, k: int) -> Array:
        """[Q'] chance that a relevant item is among the first k.

        1 - C(tied - wanted, s) / C(tied, s), where s = k - ahead places are left to the tied.
        """
        slots = np.clip(k - self.ahead, 0, self.tied)
        other = self.tied - self.wanted
        none = gammaln(other + 1) - gammaln(np.maximum(other - slots, 0) + 1)
        none = none - gammaln(self.tied + 1) + gammaln(self.tied - slots + 1)
        return np.where(slots > other, 1.0, -np.expm1(none))

    def chance(self, k: int) -> Array:
        """[Q'] what `recall` of a random order would be."""
        everything = np.full(len(self.query), self.gallery)
        none = np.zeros(len(self.query), np.int64)
        return Ranks(self.query, none, everything, self.relevant, self.relevant, self.gallery).recall(k)

    def expected(self) -> Array:
        """[Q'] expected rank of the first relevant item, from 1."""
        return self.ahead + (self.tied + 1) / (self.wanted + 1)


def rank(queries: Array, gallery: Array, query_groups: Array, gallery_groups: Array) -> Ranks:
    """queries [Q, E] and gallery [G, E] of any length but zero.  ValueError if shapes differ.

    groups: [Q] and [G]; or [Q, R] and [G, R], and an item that shares any of the R is relevant.
    """
    if queries.ndim != 2 or gallery.ndim != 2 or queries.shape[1] != gallery.shape[1]:
        raise ValueError(f"expected queries [Q, E] and gallery [G, E], found {queries.shape} and {gallery.shape}")
    if len(query_groups) != len(queries) or len(gallery_groups) != len(gallery):
        raise ValueError("every query and every gallery item needs a group")
    queries, gallery = _unit(queries), _unit(gallery)
    asked, held = (np.asarray(g).reshape(len(g), -1).T for g in (query_groups, gallery_groups))
    kept = np.flatnonzero(np.logical_or.reduce([np.isin(a, h) for a, h in zip(asked, held, strict=True)]))
    step = max(1, _CHUNK // max(1, len(gallery)))
    parts = [_place(queries, gallery, asked, held, kept[i : i + step]) for i in range(0, len(kept), step)]
    ahead, tied, wanted, relevant = np.concatenate(parts, 1) if parts else np.zeros((4, 0), np.int64)
    return Ranks(kept, ahead, tied, wanted, relevant, len(gallery))


def retrieval(
    ranks: Ranks, ks: Sequence[int] = (1, 5, 10), *, groups: Array | None = None, seed: int = 0
) -> dict[str, Any]:
    """What an evaluation records: recall@k, median_rank, gallery, queries, intervals {"recall@k": [low, high]},
    chance {"recall@k": of a random order}.

    groups: [Q], of all queries; which of them belong together in the bootstrap.
    """
    together = None if groups is None else np.asarray(groups)[ranks.query]
    rows = {f"recall@{k}": ranks.recall(k) for k in ks}
    found = len(ranks.query) > 0
    return {
        **{name: float(values.mean()) if found else float("nan") for name, values in rows.items()},
        "chance": {f"recall@{k}": float(ranks.chance(k).mean()) if found else float("nan") for k in ks},
        "median_rank": float(np.median(ranks.expected())) if found else float("nan"),
        "gallery": ranks.gallery,
        "queries": len(ranks.query),
        "intervals": {name: list(mean_interval(values, groups=together, seed=seed)) for name, values in rows.items()},
    }


def _place(queries: Array, gallery: Array, asked: Array, held: Array, chosen: Array) -> Array:
    scores = queries[chosen] @ gallery.T
    relevant = np.logical_or.reduce([a[chosen, None] == h for a, h in zip(asked, held, strict=True)])
    best = np.where(relevant, scores, -np.inf).max(1, keepdims=True)
    tied = np.abs(scores - best) <= TIE
    return np.stack([(scores > best + TIE).sum(1), tied.sum(1), (tied & relevant).sum(1), relevant.sum(1)])


def _unit(vectors: Array) -> Array:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)

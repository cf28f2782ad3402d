"""The k rows that are nearest to each row."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ._rows import Array, Floats

TIE = 1e-9
"""Cosines closer than this may come in either order."""

_BLOCK = 4_000_000


class Neighbours(NamedTuple):
    """rows [N, k], the nearest first, never the row itself; cosines [N, k]."""

    rows: Array
    cosines: Floats

    def first(self, k: int) -> Neighbours:
        """The k nearest of each."""
        return Neighbours(self.rows[:, :k], self.cosines[:, :k])

    def among(self, kept: Array) -> Neighbours:
        """As if only the rows `kept` [n], in order, were there, and numbered from 0.

        As many neighbours for each as the row has that is left with the fewest.
        """
        place = np.full(len(self.rows), -1)
        place[kept] = np.arange(len(kept))
        rows = place[self.rows[kept]]
        order = np.argsort(rows < 0, axis=1, kind="stable")
        least = int((rows >= 0).sum(1).min())
        taken = Neighbours(rows, self.cosines[kept])
        return Neighbours(*(np.take_along_axis(x, order, 1)[:, :least] for x in taken))

    def numbered(self) -> Array:
        """[N, k] a number for each pair of a row and its neighbour."""
        return self.rows + len(self.rows) * np.arange(len(self.rows))[:, None]


def nearest(unit: Floats, k: int, seed: int) -> Neighbours:
    """unit: [N, D] unit vectors; k < N.  By cosine.

    Ties are broken by chance, for each row anew and, with another seed, independently: lists of two collapsed
    embeddings then agree no more than by chance, where the order of the rows would make them agree fully.
    """
    rng = np.random.default_rng(seed)
    count = len(unit)
    rows, cosines = np.empty((count, k), np.int64), np.empty((count, k))
    step = max(1, _BLOCK // count)
    for start in range(0, count, step):
        block = slice(start, start + step)
        cosine = unit[block] @ unit.T
        shaken = cosine + TIE * rng.random(cosine.shape, np.float32)
        shaken[np.arange(len(shaken)), np.arange(start, start + len(shaken))] = -np.inf
        some = np.argpartition(-shaken, k - 1, 1)[:, :k]
        order = np.argsort(-np.take_along_axis(shaken, some, 1), 1)
        rows[block] = np.take_along_axis(some, order, 1)
        cosines[block] = np.take_along_axis(cosine, rows[block], 1)
    return Neighbours(rows, cosines)


def enough(k: int, rows: int) -> int:
    """k.  ValueError unless so many neighbours are there."""
    if not 1 <= k <= rows - 1:
        raise ValueError(f"{rows} rows have 1 to {rows - 1} neighbours each, found k = {k}")
    return k

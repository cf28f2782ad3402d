"""Cells that stand in for a row's own: which row gives its cell to which.  Rows of one group never give to each other:
their cells may be copies, and a copy would change nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def permuted(rows: Array, groups: Array, rng: np.random.Generator, name: str) -> Array:
    """A permutation of rows [n] in which nobody gets a cell of its own group, and groups move (nearly) whole.

    Groups [n] are laid end to end in random order and turned by more than the largest of them.  So every cell is
    used just once, and how often each kind of cell occurs stays as it was.  ValueError if a group is over half of all.
    """
    _, code, size = np.unique(groups, return_inverse=True, return_counts=True)
    count, largest = len(rows), int(size.max())
    if 2 * largest > count:
        raise ValueError(
            f"{name}: one group holds {largest} of the {count} rows that have it, so that its cells cannot all go to "
            "others; leave some of them out"
        )
    order = np.lexsort((rng.random(count), rng.permutation(len(size))[code]))
    out = np.empty_like(rows)
    out[order] = rows[np.roll(order, -int(rng.integers(largest, count - largest + 1)))]
    return out


def deals(rows: Array, groups: Array, count: int, seed: int, name: str) -> list[Array]:
    """`permuted` as often as `count`: the same for the same groups and seed, whoever asks."""
    rng = np.random.default_rng([seed, 1])
    return [permuted(rows, groups, rng, name) for _ in range(count)]


def of_another_class(rows: Array, groups: Array, truth: Array, rng: np.random.Generator) -> Array:
    """For each of rows [n] one of them whose class, and group, is another; -1 where there is none.

    groups, truth: [n].  A donor is drawn among all rows of other classes alike; where it is of the same group, none.
    """
    out = np.full(len(rows), -1)
    for c in np.unique(truth):
        other, mine = np.flatnonzero(truth != c), truth == c
        if len(other):
            out[mine] = rng.choice(other, mine.sum())
    found = (out >= 0) & (groups[out] != groups)
    return np.where(found, rows[out], -1)

"""Which modalities are there together."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Pattern = tuple[str, ...]


def patterns(have: Array, names: Sequence[str]) -> dict[Pattern, int]:
    """{the modalities of a row: how many rows have just these}, the most frequent first.  have: [N, M] bool.

    The empty pattern, rows with nothing, is one of them.
    """
    if have.ndim != 2 or have.shape[1] != len(names):
        raise ValueError(f"expected [N, {len(names)}] for the modalities {', '.join(names)}, found {have.shape}")
    found, count = np.unique(have.astype(bool), axis=0, return_counts=True)
    named = [
        (tuple(n for n, there in zip(names, row, strict=True) if there), int(c))
        for row, c in zip(found, count, strict=True)
    ]
    order = {name: i for i, name in enumerate(names)}
    return dict(sorted(named, key=lambda item: (-item[1], -len(item[0]), [order[n] for n in item[0]])))


def subsets(names: Sequence[str], seed: int = 0, exhaustive: int = 6) -> list[Pattern]:
    """Every combination of modalities but the empty one, the largest first.

    Above `exhaustive` modalities: all, each left out, each alone, all pairs as long as they fit, and others drawn at
    random, 2**exhaustive - 1 in total (or more, where the first three kinds alone are more).
    """
    names = list(names)
    if len(names) <= exhaustive:
        return [c for size in range(len(names), 0, -1) for c in itertools.combinations(names, size)]
    most, count = 2**exhaustive - 1, len(names)
    chosen = dict.fromkeys(c for size in (count, count - 1, 1) for c in itertools.combinations(range(count), size))
    pairs = list(itertools.combinations(range(count), 2))
    if len(chosen) + len(pairs) <= most:
        chosen.update(dict.fromkeys(pairs))
    rng = np.random.default_rng(seed)
    while len(chosen) < most:
        size = int(rng.integers(2, count - 1))
        chosen[tuple(sorted(rng.choice(count, size, replace=False).tolist()))] = None
    return [tuple(names[i] for i in c) for c in sorted(chosen, key=lambda c: (-len(c), c))]

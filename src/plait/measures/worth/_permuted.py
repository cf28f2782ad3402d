"""Orders of rows under which rows, or groups of them, could as well have come."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def permuted_rows(size: int, count: int, *, groups: Array | None = None, seed: int | list[int] = 0) -> Array:
    """[B, N] permutations of the rows; groups [N] change places whole, with groups of equal size."""
    if groups is not None and len(groups) != size:
        raise ValueError(f"expected a group for each of the {size} rows, found {len(groups)}")
    rng = np.random.default_rng(seed)
    code = np.arange(size) if groups is None else np.unique(groups, return_inverse=True)[1]
    order, rows = np.argsort(code, kind="stable"), np.bincount(code)
    start = np.cumsum(rows) - rows
    found = np.empty((count, size), np.int64)
    for length in np.unique(rows):
        members = order[start[rows == length][:, None] + np.arange(length)]
        for b in range(count):
            found[b, members] = members[rng.permutation(len(members))]
    return found

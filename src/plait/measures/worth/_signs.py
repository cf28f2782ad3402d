"""Whether paired differences are above 0: how often random signs give as high a mean.

Groups of rows flip as one.  Exact where the two arms could be swapped within a group.  Source: Fisher, The design of
experiments, 1935; + 1 counts the signs as they are among the draws (Phipson & Smyth, arXiv:1603.05766).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
_CHUNK = 2_000_000


def sign_flip_p(differences: Array, *, groups: Array | None = None, seed: int = 0, draws: int = 4000) -> float:
    """One-sided p of differences [N] with groups [N].  NaN on fewer than 2 groups."""
    code = np.arange(len(differences)) if groups is None else np.unique(groups, return_inverse=True)[1]
    sums = np.bincount(code, differences)
    if len(sums) < 2:
        return float("nan")
    rng = np.random.default_rng(seed)
    bar = sums.sum() - 1e-9 * np.abs(sums).sum()
    step = max(1, _CHUNK // len(sums))
    sizes = [min(step, draws - start) for start in range(0, draws, step)]
    reached = sum(int(np.sum((2 * rng.integers(2, size=(n, len(sums))) - 1) @ sums >= bar)) for n in sizes)
    return (1 + reached) / (1 + draws)

"""Intervals for measures that rows drawn twice would break.

A bootstrap resample has many of its rows more than once.  A twin is the nearest neighbour of its twin in every space,
and it adds a row but no rank, so neighbourhoods and ranks of resamples are not those of tables.  Leaving out makes no
twins:

    se^2 = (B - 1) / B sum_b (s_b - mean s)^2,     s_b: the measure without the b-th of B blocks of rows

and the interval is the measure itself +- t(B - 1) se.  It speaks of the mean of the measure over tables of this many
rows, whatever its bias for infinitely many.  On average it is rather too wide than too narrow.

Source: Shao & Wu, "A general theory for jackknife variance estimation", The Annals of Statistics 1989; Efron & Stein,
"The jackknife estimate of variance", ibid. 1981.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

from ..bootstrap import Interval, codes
from ._rows import Array


def jackknife(
    statistic: Callable[[Array], Mapping[str, float]],
    size: int,
    *,
    groups: ArrayLike | None = None,
    blocks: int = 20,
    seed: int = 0,
    level: float = 0.95,
    within: Mapping[str, tuple[float, float]],
) -> dict[str, Interval]:
    """Interval of each number that `statistic(rows)` gives; rows: [n] of 0 .. size - 1, in order, without repeats.

    Whole groups [size] are left out together.  With fewer groups than blocks, one at a time.  NaN on fewer than 3, or
    where the statistic is NaN without a block.  within: the range of each measure, which its interval does not leave.
    """
    code, count = codes(groups, size)
    whole, blocks = statistic(np.arange(size)), min(blocks, count)
    if blocks < 3:
        return {name: (float("nan"), float("nan")) for name in whole}
    block = np.random.default_rng(seed).permutation(np.arange(count) % blocks)[code]
    without = [statistic(np.flatnonzero(block != b)) for b in range(blocks)]
    wide = float(stdtrit(blocks - 1, (1 + level) / 2) * np.sqrt((blocks - 1) / blocks))
    found = {}
    for name, value in whole.items():
        left = np.array([part[name] for part in without])
        half = wide * float(np.sqrt(np.sum((left - left.mean()) ** 2)))
        low, high = np.clip([value - half, value + half], *within[name])
        found[name] = (float(low), float(high))
    return found

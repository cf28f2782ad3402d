"""What each row has to do with how well risks order the times to an event.

    C = sum_i c_i / sum_i n_i,     v_i = C + 2 (c_i - C n_i) / n,     n = mean_i n_i

of row i: n_i comparable pairs it is in, c_i of them in the right order, ties counting half.  The mean of v is Harrell's
C, and v_i - C is the influence of row i on it, so that resampling v gives C an interval, and v of one model minus v of
another the difference of both: what is asked of a measure that is a mean over rows can be asked of C.
Source: Harrell et al., JAMA 1982 (C); Hoeffding, "A class of statistics with asymptotically normal distribution",
Ann. Math. Statist. 1948 (the projection of such a mean over pairs on single rows).
Limits: intervals rest on many rows, as the projection leaves out how two rows act together; v may lie outside [0, 1].
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..trust._checked import finite

Array = NDArray[Any]
TIED = 1e-8
"""Risks that are nearer are tied."""
_CHUNK = 4_000_000
"""Pairs at a time."""


def concordance_rows(predicted: Array, truth: Array, *, later: Array | None = None) -> Array:
    """[P] values whose mean is Harrell's C; NaN where no pair is comparable.

    predicted: [P] risks, higher means an earlier event.  truth: [P, 2], time and event (1 seen, 0 censored).
    later: [P] the risks of rows as those of a pair that come later, where models differ; `predicted` if None.
    ValueError for bad input.
    """
    truth = finite(truth, "truth", None, 2)
    early = finite(predicted, "predicted", len(truth))
    late = early if later is None else finite(later, "later", len(truth))
    time, event = truth[:, 0], truth[:, 1] > 0.5
    count, right = np.zeros(len(truth)), np.zeros(len(truth))
    first = np.flatnonzero(event)
    for rows in np.array_split(first, max(1, len(first) * len(truth) // _CHUNK)):
        # A row that is censored at the time of an event outlives it.
        pairs = (time[rows, None] < time) | ((time[rows, None] == time) & ~event)
        apart = early[rows, None] - late
        order = np.where(pairs, np.where(np.abs(apart) <= TIED, 0.5, apart > 0), 0.0)
        for total, each in ((count, pairs), (right, order)):
            total[rows] += each.sum(1)
            total += each.sum(0)
    if not count.any():
        return np.full(len(truth), np.nan)
    c = right.sum() / count.sum()
    return np.asarray(c + 2 * (right - c * count) / count.mean())

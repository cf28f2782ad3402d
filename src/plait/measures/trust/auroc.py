"""How well a score tells some rows from others."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import bootstrap, classification
from ..estimate import Estimate

Array = NDArray[Any]


def auroc(score: Array, positive: Array, *, groups: Array | None = None, seed: int = 0, draws: int = 1000) -> Estimate:
    """Share of pairs of a positive and another row in which the positive one scores higher, ties counting half.

    score: [P]; positive: [P] bool.  NaN where one of the two kinds is missing.  Interval: rows, or groups, resampled;
    Resamples cannot see what did not happen once: where all pairs are in order, or none is, the far end is the exact
    binomial one of as many pairs as share no row or group; these are independent, so it covers at least as often.
    NaN where every resample says the same for another reason.
    """
    both, truth = np.stack([-score, score], 1), positive.astype(np.int64)
    value = classification.auc(both, truth, np.ones((1, len(score)), np.int64))[0]
    found = bootstrap.many_intervals(
        lambda times: {"auroc": classification.auc(both, truth, times.astype(np.float64))},
        len(score),
        groups=groups,
        seed=seed,
        draws=draws,
    )
    low, high = found["auroc"]
    if value in (0.0, 1.0):
        low, high = bootstrap.mean_interval(np.full(_apart(positive, groups), value))
    return Estimate(float(value), (low, high) if low < high else (float("nan"), float("nan")))


def _apart(positive: Array, groups: Array | None) -> int:
    """The most pairs of a positive and another row of which no two share a group."""
    code, count = bootstrap.codes(groups, len(positive))
    has, lacks = (np.bincount(code, rows, count) > 0 for rows in (positive, ~positive))
    return int(min(has.sum(), lacks.sum(), (has | lacks).sum() // 2))

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
    NaN where every resample says the same, as when all pairs are right: that cannot tell how sure it is.
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
    return Estimate(float(value), (low, high) if low < high else (float("nan"), float("nan")))

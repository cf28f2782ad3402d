"""Ridge regression of many targets at once, each with the penalty that suits it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ._rows import Floats

PENALTIES = (*(10.0 ** (power / 2) for power in range(-8, 9)), np.inf)
"""Tried by default.  For features of variance 1 in all; infinity is the mean."""


def ridge(features: Floats, targets: Floats, new: Floats, penalties: Sequence[float] = PENALTIES) -> Floats:
    """features [N, D], targets [N, S], new [M, D] -> [M, S] predictions.

    For each target the penalty with the least leave-one-out error on the N rows, which has a closed form:
    residual / (1 - leverage).  A penalty is multiplied by N.  Neither intercept nor infinite penalty shrink the mean.
    """
    centre, mean = features.mean(0), targets.mean(0)
    left, singular, right = np.linalg.svd(features - centre, full_matrices=False)
    use = singular > 1e-10 * max(float(singular[0]), 1e-300)
    left, singular, right = left[:, use], singular[use], right[use]
    inside, ahead = left.T @ (targets - mean), (new - centre) @ right.T / singular
    best = np.full(targets.shape[1], np.inf)
    out = np.tile(mean, (len(new), 1))
    for penalty in penalties:
        kept = singular**2 / (singular**2 + penalty * len(features))
        leverage = left**2 @ kept + 1 / len(features)
        residual = targets - mean - left @ (kept[:, None] * inside)
        error = np.mean((residual / np.maximum(1 - leverage, 1e-9)[:, None]) ** 2, 0)
        better = error < best
        best[better] = error[better]
        out[:, better] = mean[better] + ahead @ (kept[:, None] * inside[:, better])
    return out

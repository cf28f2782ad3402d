"""How well risks order the times to an event.

predicted: [P], higher means an earlier event.  truth: [P, 2], time and event (1 seen, 0 censored at that time).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from plait.core.extras import need

Array = NDArray[Any]


def rows(predicted: Array, truth: Array) -> dict[str, Array]:
    """No measure of this kind is a mean over rows."""
    return {}


def others(predicted: Array, truth: Array) -> dict[str, float]:
    """Harrell's C: the share of comparable pairs in which the earlier event has the higher risk, ties counting half.

    NaN where no pair is comparable, or a risk is NaN; infinite risks are ties above all others.
    Source: Harrell et al., JAMA 1982.  MissingExtra without scikit-survival.
    """
    if predicted.ndim != 1 or truth.shape != (len(predicted), 2):
        raise ValueError(f"expected risks [P] and times with events [P, 2], found {predicted.shape} and {truth.shape}")
    sksurv = need("sksurv.metrics", "survival")
    time, event = truth[:, 0], truth[:, 1] > 0.5
    if not _comparable(time, event) or np.isnan(predicted).any():
        return {"c_index": float("nan")}
    risk = np.nan_to_num(predicted.astype(np.float64))
    return {"c_index": float(sksurv.concordance_index_censored(event, time, risk)[0])}


def _comparable(time: Array, event: Array) -> bool:
    """Whether somebody outlives an event: has a later time, or is censored at the very time of it."""
    if not event.any():
        return False
    first = time[event].min()
    return bool((time > first).any() or (time[~event] == first).any())

"""A number with its interval."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..bootstrap import Interval, mean_interval
from ._checked import alike

Array = NDArray[Any]


@dataclass(frozen=True)
class Estimate:
    """value: on the rows themselves.  interval: (low, high), 95 % unless said otherwise; NaN where there is none."""

    value: float
    interval: Interval


def mean(values: Array, *, groups: Array | None = None, seed: int = 0, exact: bool = True) -> Estimate:
    """The mean of row values [P] that are not NaN; NaN if there is none.  groups, exact: as in `mean_interval`."""
    known, together = ~np.isnan(values), alike(groups, len(values))
    if not known.any():
        return Estimate(float("nan"), (float("nan"), float("nan")))
    chosen = None if together is None else together[known]
    interval = mean_interval(values[known], groups=chosen, seed=seed, exact=exact)
    return Estimate(float(values[known].mean()), interval)

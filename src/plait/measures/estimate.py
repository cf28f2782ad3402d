"""A number with its interval, and results as plain data."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plait.core.plain import plain

from .bootstrap import Interval, codes, mean_interval

Array = NDArray[Any]


@dataclass(frozen=True)
class Estimate:
    """value: on the rows themselves.  interval: (low, high), 95 % unless said otherwise; NaN where there is none."""

    value: float
    interval: Interval


class Accounted:
    """Base of results that are dataclasses: `account()` gives them as plain data."""

    def account(self) -> dict[str, Any]:
        """For JSON, which has no NaN or infinity: those become None."""
        return {field.name: plain(getattr(self, field.name)) for field in dataclasses.fields(self)}  # type: ignore[arg-type]


def mean(values: Array, *, groups: Array | None = None, seed: int = 0, exact: bool = True) -> Estimate:
    """The mean of row values [P] that are not NaN; NaN if there is none.  groups, exact: as in `mean_interval`."""
    known = ~np.isnan(values)
    together = codes(groups, len(values))[0]
    if not known.any():
        return Estimate(float("nan"), (float("nan"), float("nan")))
    interval = mean_interval(values[known], groups=together[known], seed=seed, exact=exact)
    return Estimate(float(values[known].mean()), interval)

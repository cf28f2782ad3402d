"""A number with its interval, and results as plain data."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
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


class Accounted:
    """Base of results: `account()` gives them as plain data."""

    def account(self) -> dict[str, Any]:
        """Dicts, lists, numbers and strings, for JSON, which has no NaN or infinity: those become None."""
        return {field.name: plain(getattr(self, field.name)) for field in dataclasses.fields(self)}  # type: ignore[arg-type]


def plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def mean(values: Array, *, groups: Array | None = None, seed: int = 0, exact: bool = True) -> Estimate:
    """The mean of row values [P] that are not NaN; NaN if there is none.  groups, exact: as in `mean_interval`."""
    known, together = ~np.isnan(values), alike(groups, len(values))
    if not known.any():
        return Estimate(float("nan"), (float("nan"), float("nan")))
    chosen = None if together is None else together[known]
    interval = mean_interval(values[known], groups=chosen, seed=seed, exact=exact)
    return Estimate(float(values[known].mean()), interval)

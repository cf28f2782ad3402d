"""Who is observed, and with what chance, in the table and in resamples of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._crossfit import cross_fitted, folds, standard

Array = NDArray[Any]


def seen(values: Array, observed: Array) -> tuple[Array, Array]:
    """-> observed [N] as 0 and 1, values [N] with 0 where nothing was observed.  ValueError if they do not fit."""
    o, v = np.asarray(observed, bool), np.asarray(values, np.float64)
    if v.ndim != 1 or v.shape != o.shape or not o.any():
        raise ValueError(f"expected values [N] and observed [N], one or more observed, found {v.shape} and {o.shape}")
    if not np.isfinite(v[o]).all():
        raise ValueError(
            f"{int((~np.isfinite(v[o])).sum())} of the observed values are not finite: say they are absent"
        )
    return o.astype(np.float64), np.where(o, v, 0.0)


def chances(
    observed: Array,
    features: Array | None,
    propensity: Array | None,
    *,
    groups: Array | None,
    split: int,
    penalty: float,
    seed: int,
) -> Callable[[Array], Array]:
    """-> a function from how often each row counts [D, N] to the chance of being observed [D, N].

    From features [N, F] it is fitted anew in each resample, a row's copies staying in its fold; a known propensity [N]
    stays.  ValueError unless just one of the two is given.
    """
    if features is None and propensity is not None:
        known = np.asarray(propensity, np.float64)
        if known.shape != observed.shape or not ((known >= 0) & (known <= 1)).all():
            raise ValueError(f"expected propensities [{len(observed)}] from 0 to 1, found {known.shape}: {known}")
        return lambda times: np.broadcast_to(known, (len(times), len(known)))
    if features is None or propensity is not None:
        raise ValueError("expected features, to estimate who is observed from, or the propensity itself")
    x, fold = standard(features, len(observed)), folds(len(observed), split, groups=groups, seed=seed)
    return lambda times: cross_fitted(x, observed[None], fold, times, penalty)

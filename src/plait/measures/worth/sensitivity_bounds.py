"""How far a mean can lie from its estimate when cells are missing for reasons that nobody wrote down.

If the odds of being observed, given all that matters, differ from those given what is known by a factor of at most
gamma, the weight of an observed row lies between

    1 + (1 - p) / (gamma p)   and   1 + gamma (1 - p) / p,        p = P(observed | what is known)

and the extremes of sum w v / sum w give the highest values one end of their weights and the lowest the other, so that
sorting finds them.  gamma = 1 is the inverse probability weighted mean.  No data say what gamma is: compare it with the
factor by which the strongest known feature moves the odds, and report `tipping_gamma`, at which a conclusion falls.

The worst case needs no gamma, only the range of the values: absent rows are all lowest, or all highest.  Where it is
narrower than the bounds, it holds.

Source: Zhao, Small & Bhattacharya, JRSS B 2019, arXiv:1711.11286 (also for the interval: percentiles of both ends over
resamples, with propensities fitted anew); Tan, JASA 2006; worst case: Manski, American Economic Review 1990.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..bootstrap import Interval, many_intervals, mean_interval
from ._observed import chances, seen

Array = NDArray[Any]


@dataclass(frozen=True)
class Bounds:
    """What the mean of all rows lies between; interval: the same with the error of sampling rows."""

    low: float
    high: float
    interval: Interval


def sensitivity_bounds(
    values: Array,
    observed: Array,
    features: Array | None = None,
    *,
    gammas: Sequence[float] = (1.0, 1.5, 2.0, 3.0),
    propensity: Array | None = None,
    groups: Array | None = None,
    clip: float = 0.01,
    split: int = 5,
    penalty: float = 1.0,
    seed: int = 0,
    draws: int = 500,
    level: float = 0.95,
) -> dict[float, Bounds]:
    """{gamma: bounds of the mean over all rows}.

    values, observed, features, propensity, groups: [N] and [N, F] as of `inverse_probability_weighting`, which gives
    the estimate itself.  ValueError on a gamma below 1.
    """
    if not all(np.isfinite(gamma) and gamma >= 1 for gamma in gammas):
        raise ValueError(f"expected factors of odds, each 1 or more, found {list(gammas)}")
    o, v = seen(values, observed)
    there = o > 0
    chance = chances(o, features, propensity, groups=groups, split=split, penalty=penalty, seed=seed)

    def resampled(times: Array) -> dict[str, Array]:
        p = np.maximum(chance(times)[:, there], clip)
        ends = {gamma: _extremes(v[there], p, gamma, times[:, there]) for gamma in gammas}
        return {f"{side} {gamma}": ends[gamma][k] for gamma in gammas for k, side in enumerate(("low", "high"))}

    at = {name: float(value[0]) for name, value in resampled(np.ones((1, len(o)))).items()}
    ends = many_intervals(resampled, len(o), groups=groups, seed=seed, draws=draws, level=level)
    return {g: Bounds(at[f"low {g}"], at[f"high {g}"], (ends[f"low {g}"][0], ends[f"high {g}"][1])) for g in gammas}


def extremes(values: Array, propensity: Array, gamma: float) -> tuple[float, float]:
    """Lowest and highest weighted mean of observed values [P] with propensities [P], above 0 and at most 1."""
    if len(values) != len(propensity) or not ((propensity > 0) & (propensity <= 1)).all():
        raise ValueError(f"expected a propensity above 0 and at most 1 for each value, found {propensity}")
    low, high = _extremes(np.asarray(values, np.float64), propensity[None], gamma, np.ones((1, len(values))))
    return float(low[0]), float(high[0])


def tipping_gamma(values: Array, propensity: Array, reference: float = 0.0, *, most: float = 1e4) -> float:
    """The smallest gamma at which the bounds of observed values [P] contain the reference; infinite above `most`.

    1 where the estimate is the reference itself.
    """

    def contains(log: float) -> bool:
        low, high = extremes(values, propensity, float(np.exp(log)))
        return low <= reference <= high

    below, above = 0.0, float(np.log(most))
    if contains(below) or not contains(above):
        return 1.0 if contains(below) else float("inf")
    while above - below > 1e-9:
        middle = (below + above) / 2
        below, above = (below, middle) if contains(middle) else (middle, above)
    return float(np.exp(above))


def worst_case(
    values: Array,
    observed: Array,
    lowest: float,
    highest: float,
    *,
    groups: Array | None = None,
    seed: int = 0,
    level: float = 0.95,
) -> Bounds:
    """Bounds of the mean over all rows that hold whatever the reason; values [N] lie in lowest .. highest.

    ValueError if an observed one does not.
    """
    o, v = seen(values, observed)
    if v[o > 0].min() < lowest or v[o > 0].max() > highest:
        raise ValueError(f"expected values in {lowest} .. {highest}, found {v[o > 0].min()} .. {v[o > 0].max()}")
    filled = [np.where(o > 0, v, end) for end in (lowest, highest)]
    ends = [mean_interval(f, groups=groups, seed=seed, level=level, exact=False) for f in filled]
    return Bounds(float(filled[0].mean()), float(filled[1].mean()), (ends[0][0], ends[1][1]))


def _extremes(v: Array, p: Array, gamma: float, times: Array) -> tuple[Array, Array]:
    """v: [P]; p, times: [D, P] -> lowest and highest [D]; NaN in a resample without observed rows."""
    order = np.argsort(v)
    v, odds, times = v[order], ((1 - p) / p)[:, order], times[:, order]
    light, heavy = times * (1 + odds / gamma), times * (1 + odds * gamma)

    def means(first: Array, then: Array) -> Array:
        """[D, P + 1] weighted means in which the lowest k values have the weight `first`, the others `then`."""
        with np.errstate(invalid="ignore"):
            return _switched(first * v, then * v) / _switched(first, then)

    return means(heavy, light).min(1), means(light, heavy).max(1)


def _switched(first: Array, then: Array) -> Array:
    """[D, P + 1] sums of the first k of one and the rest of the other."""
    start = np.zeros((len(first), 1))
    forward = np.concatenate([start, np.cumsum(first, 1)], 1)
    return forward + then.sum(1, keepdims=True) - np.concatenate([start, np.cumsum(then, 1)], 1)

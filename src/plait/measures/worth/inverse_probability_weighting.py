"""What a mean would be if every row had the cells, from the rows that have them.

    mean = sum_i o_i w_i v_i / sum_i o_i w_i,        w_i = 1 / P(o_i = 1 | what is known of row i)

A gain measured on complete rows is that of complete rows, and those are not like the others where a modality is taken
for a reason.  Weighting undoes that if the reason is in `features` (missing at random) and every kind of row has some
chance of being complete.  Self-masking (a cell that is missing because of what it would show) it does not undo:
see `sensitivity_bounds`.  A model that is to serve all rows wants the same weights in its training too.

Propensities are cross-fitted logistic regressions: what depends on features by more than their sum needs such columns.
The interval resamples rows (or groups) and fits the propensities anew in each resample.

Source: Choi et al., "ICYM2I: The illusion of multimodal informativeness under missingness", arXiv:2505.16953; the
ratio: Hajek 1971; effective sample size: Kish, Survey sampling, 1965.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..bootstrap import Interval, many_intervals
from ._observed import chances, seen

Array = NDArray[Any]


@dataclass(frozen=True)
class Overlap:
    """lowest, highest: propensities of the observed rows before clipping.  clipped: share of them that were raised.

    effective: how many rows of equal weight would be as precise (Kish).  heaviest: largest share of one row.
    total: sum of weights per row of the table, about 1 where propensities are right (the share observed where
    stabilised).
    """

    rows: int
    observed: int
    lowest: float
    highest: float
    clipped: float
    effective: float
    heaviest: float
    total: float


@dataclass(frozen=True, eq=False)
class WeightedMean:
    """mean: of all rows, by weighting; naive: of the observed rows as they are; shift: mean - naive.

    propensity, weight: [N]; weight is 0 where nothing was observed.
    """

    mean: float
    interval: Interval
    naive: float
    naive_interval: Interval
    shift: float
    shift_interval: Interval
    propensity: Array
    weight: Array
    overlap: Overlap

    def account(self) -> dict[str, Any]:
        """Plain data without what is of rows."""
        said = {"mean": self.interval, "naive": self.naive_interval, "shift": self.shift_interval}
        numbers = {n: {"value": getattr(self, n), "low": low, "high": high} for n, (low, high) in said.items()}
        return {**numbers, "overlap": asdict(self.overlap)}


def inverse_probability_weighting(
    values: Array,
    observed: Array,
    features: Array | None = None,
    *,
    propensity: Array | None = None,
    groups: Array | None = None,
    clip: float = 0.01,
    stabilised: bool = False,
    split: int = 5,
    penalty: float = 1.0,
    seed: int = 0,
    draws: int = 500,
    level: float = 0.95,
) -> WeightedMean:
    """values: [N], such as whether a row is right, or how much more it is so with a modality; read where observed.

    observed: [N] bool.  features: [N, F], what is known of every row and may say who is observed (the label too);
    or propensity: [N], where it is known.  groups: [N].  clip: propensities below it are raised to it.  split: folds.
    ValueError unless just one of features and propensity is given, all finite, and some row is observed.
    """
    o, v = seen(values, observed)
    chance = chances(o, features, propensity, groups=groups, split=split, penalty=penalty, seed=seed)

    def resampled(times: Array) -> dict[str, Array]:
        counted = times * o
        weighted = counted / np.maximum(chance(times), clip)
        with np.errstate(invalid="ignore"):
            naive, mean = counted @ v / counted.sum(1), weighted @ v / weighted.sum(1)
        return {"mean": mean, "naive": naive, "shift": mean - naive}

    fitted = chance(np.ones((1, len(o))))[0]
    weight = observation_weights(fitted, observed, clip=clip, stabilised=stabilised)
    ends = many_intervals(resampled, len(o), groups=groups, seed=seed, draws=draws, level=level)
    mean, naive = weighted_mean(v, weight), weighted_mean(v, o)
    return WeightedMean(
        mean=mean,
        interval=ends["mean"],
        naive=naive,
        naive_interval=ends["naive"],
        shift=mean - naive,
        shift_interval=ends["shift"],
        propensity=fitted,
        weight=weight,
        overlap=overlap(fitted, observed, weight, clip=clip),
    )


def observation_propensity(
    observed: Array,
    features: Array,
    *,
    groups: Array | None = None,
    split: int = 5,
    penalty: float = 1.0,
    seed: int = 0,
) -> Array:
    """[N] chance of being observed given features [N, F], by logistic regressions on the other folds.

    Columns that do not vary say nothing; without any other it is the share observed.
    """
    o = np.asarray(observed, np.float64)
    return chances(o, features, None, groups=groups, split=split, penalty=penalty, seed=seed)(np.ones((1, len(o))))[0]


def observation_weights(propensity: Array, observed: Array, *, clip: float = 0.01, stabilised: bool = False) -> Array:
    """[N] 1 / propensity of observed rows, 0 of the others; stabilised: times the share observed.

    ValueError on propensities that are not above 0 and at most 1 after clipping.
    """
    p, o = np.maximum(np.asarray(propensity, np.float64), clip), np.asarray(observed, bool)
    if p.shape != o.shape or not ((p > 0) & (p <= 1)).all():
        raise ValueError(f"expected propensities [{len(o)}] above 0 and at most 1, found {p.shape}: {propensity}")
    return np.where(o, (o.mean() if stabilised else 1.0) / p, 0.0)


def weighted_mean(values: Array, weight: Array) -> float:
    """sum w v / sum w, of values [N] with weights [N]."""
    return float(weight @ values / weight.sum())


def effective_sample_size(weight: Array) -> float:
    """(sum w)^2 / sum w^2, in rows."""
    return float(weight.sum() ** 2 / np.sum(weight**2))


def overlap(propensity: Array, observed: Array, weight: Array, *, clip: float = 0.01) -> Overlap:
    """How far weighting is asked to reach; all [N]."""
    o = np.asarray(observed, bool)
    return Overlap(
        rows=len(o),
        observed=int(o.sum()),
        lowest=float(propensity[o].min()),
        highest=float(propensity[o].max()),
        clipped=float(np.mean(propensity[o] < clip)),
        effective=effective_sample_size(weight),
        heaviest=float(weight.max() / weight.sum()),
        total=float(weight.sum() / len(o)),
    )

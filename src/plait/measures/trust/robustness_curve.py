"""How a model holds up as its cells are damaged, and whether that is more than its accuracy explains.

    area        int_0^1 accuracy(s) ds, s = strength / the largest one          retained = area / accuracy(0)
    effective   rho = accuracy(damaged) - beta(accuracy(clean))                 beyond what models of that accuracy show
    relative    tau = accuracy(damaged, with) - accuracy(damaged, without)      an intervention against its own baseline

beta is a line through the baselines' pairs of accuracies on the logit scale.  A model may be more accurate on damaged
rows just because it is more accurate: rho takes that out; and one can raise rho by losing clean accuracy, so that an
intervention helps only where rho and tau are both above 0.
Source: Taori et al., "Measuring robustness to natural distribution shifts in image classification", arXiv:2007.00644.
Limits: beta holds within the range of the baselines; outside it, it is a guess, and `extrapolated` says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import trapezoid
from scipy.special import expit, logit

from .. import bootstrap
from ..estimate import Accounted, Estimate, mean
from ._checked import finite

Array = NDArray[Any]


@dataclass(frozen=True)
class RobustnessCurve(Accounted):
    """level: {strength: mean score}.  area: in the score's unit.  retained: area over that of strength 0; NaN if 0.

    worst: what is lost between strength 0 and the strength where least is left.
    """

    level: Mapping[float, Estimate]
    area: Estimate
    retained: Estimate
    worst: Estimate


@dataclass(frozen=True)
class EffectiveRobustness(Accounted):
    """expected: beta at the model's clean accuracy.  effective: what it has above that.

    extrapolated: whether its clean accuracy lies outside the baselines'.
    """

    expected: float
    effective: float
    extrapolated: bool


def robustness_curve(
    scores: Mapping[float, Array], *, groups: Array | None = None, seed: int = 0, draws: int = 1000
) -> RobustnessCurve:
    """scores: {strength: [P]}, for each strength, 0 among them, a score of the same rows: whether each is right.

    Intervals: rows are resampled, or `groups` [P] of rows that belong together, the same at every strength.
    ValueError without strength 0 or a second one, for other rows, or NaN.
    """
    strengths = sorted(scores)
    if len(strengths) < 2 or strengths[0] != 0:
        raise ValueError(f"scores: expected strength 0 and others above it, found {strengths}")
    rows = len(scores[0])
    if not rows:
        raise ValueError("scores: expected at least one row, found none")
    table = np.stack([finite(scores[s], f"scores of strength {s}", rows) for s in strengths])

    def statistic(chosen: Array) -> dict[str, float]:
        curve = table[:, chosen].mean(1)
        area = area_under(strengths, curve)
        retained = area / curve[0] if curve[0] else float("nan")
        return {"area": area, "retained": retained, "worst": float(curve[0] - curve.min())}

    ends = bootstrap.intervals(statistic, rows, groups=groups, seed=seed, draws=draws)
    found = {name: Estimate(value, ends[name]) for name, value in statistic(np.arange(rows)).items()}
    by = {s: mean(row, groups=groups, seed=seed) for s, row in zip(strengths, table, strict=True)}
    return RobustnessCurve(by, found["area"], found["retained"], found["worst"])


def area_under(strengths: list[float], curve: Array) -> float:
    """By the trapezoid rule, over strengths brought to 0 .. 1: a constant curve has its own value."""
    at = np.asarray(strengths, np.float64)
    return float(trapezoid(curve, (at - at[0]) / (at[-1] - at[0])))


def effective_robustness(
    clean: float, damaged: float, baseline_clean: Array, baseline_damaged: Array
) -> EffectiveRobustness:
    """clean, damaged: accuracies of the model; baselines [K]: of models without its intervention, on the same rows.

    ValueError for accuracies not strictly between 0 and 1, which have no logit, or fewer than two different baselines.
    """
    one, two = finite(baseline_clean, "baseline_clean", None), finite(baseline_damaged, "baseline_damaged", None)
    if one.shape != two.shape:
        raise ValueError(f"expected a pair of accuracies of each baseline, found {len(one)} and {len(two)}")
    everything = np.concatenate([one, two, [clean, damaged]])
    if not ((everything > 0) & (everything < 1)).all():
        raise ValueError(f"accuracies: expected values between 0 and 1, neither of them, found {everything}")
    if len(np.unique(one)) < 2:
        raise ValueError(f"baseline_clean: expected two different accuracies or more, found {one}")
    across = logit(one) - logit(one).mean()
    slope = across @ logit(two) / (across @ across)
    expected = float(expit(logit(two).mean() + slope * (logit(clean) - logit(one).mean())))
    return EffectiveRobustness(expected, damaged - expected, not bool(one.min() <= clean <= one.max()))


def relative_robustness(with_it: Array, without: Array, *, groups: Array | None = None, seed: int = 0) -> Estimate:
    """tau.  with_it, without: [P], scores of the same damaged rows by the model with an intervention, and by the same
    without.  Paired: rows are resampled, or `groups` [P] of rows, for both alike."""
    one = finite(with_it, "with_it", None)
    return mean(one - finite(without, "without", len(one)), groups=groups, seed=seed, exact=False)

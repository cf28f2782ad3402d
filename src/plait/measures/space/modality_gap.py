"""The modality gap: how far apart two modalities lie in the space that they share.

Of unit vectors a_i, b_i, with mean(i != j) over rows of different groups:

    within_a = mean(i != j) a_i . a_j          how narrow the cone of a modality is; 1: all point the same way
    paired   = mean a_i . b_i                  what training pulls together
    unpaired = mean(i != j) a_i . b_j
    distance = sqrt(max(0, within_a + within_b - 2 unpaired))      between the two mean directions
    relative = distance / sqrt(2 - 2 unpaired)                     0 to 1

The distance is that of Liang et al. without its bias: the plain distance between the means of N rows,
`centroid_distance`, is positive also where there is no gap, by about the spread of a - b over sqrt(N).  The divisor of
`relative` is the root mean square distance of unpaired rows, so its square is the share of it that lies between the
means.  `separability` is the accuracy of a logistic regression that tells the modalities apart, on pairs that it was
not fitted on: 0.5 where they cannot be told apart.  A small distance along a direction without spread separates fully.

Source: Liang et al., "Mind the Gap", arXiv:2203.02053 (distance of means, cone); separability and the share are common
companions.   Relatives: gap_correction (remedies), alignment_uniformity.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ..bootstrap import Interval, codes, many_intervals, mean_interval
from ..estimate import Accounted
from ._rows import Array, Floats, group_sums, paired, unit


@dataclass(frozen=True, eq=False)
class ModalityGap(Accounted):
    """Numbers as in the module's docstring.  intervals: of each of them, by its name."""

    distance: float
    relative: float
    within_a: float
    within_b: float
    paired: float
    unpaired: float
    separability: float
    rows: int
    intervals: dict[str, Interval]


def modality_gap(
    a: ArrayLike,
    b: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    folds: int = 5,
    seed: int = 0,
    draws: int = 1000,
    level: float = 0.95,
) -> ModalityGap:
    """a, b: [N, D], pairs, of any length but zero.  groups: [N], rows that belong together.

    Intervals resample pairs, or groups of them; that of separability resamples what the classifiers, once fitted, say
    of held-out pairs.  ValueError on NaN, zero vectors, unequal shapes, or fewer groups than folds.
    """
    first, second = (unit(x, name) for x, name in zip(paired(a, b, 2, widths=True), "ab", strict=True))
    code, count = codes(groups, len(first))
    summed = _Sums(first, second, code, count)
    right = held_out_accuracy(first, second, groups=groups, folds=folds, seed=seed)
    numbers = {name: float(value[0]) for name, value in summed.statistics(np.ones((1, count))).items()}
    found = many_intervals(summed.statistics, count, seed=seed, draws=draws, level=level)
    found["separability"] = mean_interval(right, groups=code, seed=seed, draws=draws, level=level)
    return ModalityGap(**numbers, separability=float(right.mean()), rows=len(first), intervals=found)


def centroid_distance(a: ArrayLike, b: ArrayLike) -> float:
    """|mean a / |a| - mean b / |b||, 0 to 2: the gap as published, biased upward on few rows."""
    first, second = (unit(x, name) for x, name in zip(paired(a, b, widths=True), "ab", strict=True))
    return float(np.linalg.norm((first - second).mean(0)))


def held_out_accuracy(
    a: Floats, b: Floats, *, groups: ArrayLike | None = None, folds: int = 5, seed: int = 0
) -> Floats:
    """[N] how much of each pair a linear classifier gets right that was fitted on the other folds: 0, 0.5 or 1.

    Both rows of a pair, and all of a group, are in one fold: with its twin of the other label in training, a row would
    be told wrong more often than by chance.
    """
    from sklearn.linear_model import LogisticRegression

    code, count = codes(groups, len(a))
    if count < folds or folds < 2:
        raise ValueError(f"expected 2 folds or more and at least as many groups, found {folds} folds, {count} groups")
    fold = np.random.default_rng(seed).permutation(np.arange(count) % folds)[code]
    right = np.empty(len(a))
    for held in range(folds):
        inside = np.concatenate([a[fold != held], b[fold != held]])
        centre = inside.mean(0)
        # One scale for all coordinates: a scale for each would make the result depend on how the space is rotated.
        scale = max(float(np.sqrt(np.mean((inside - centre) ** 2))), 1e-12)
        label = np.repeat([0, 1], len(inside) // 2)
        model = LogisticRegression(max_iter=1000).fit((inside - centre) / scale, label)
        said = [model.decision_function((x[fold == held] - centre) / scale) for x in (a, b)]
        right[fold == held] = ((said[0] < 0) * 1.0 + (said[1] > 0) + (said[0] == 0) * 0.5 + (said[1] == 0) * 0.5) / 2
    return right


class _Sums:
    """Sums over groups, from which all means over rows of different groups follow, for any count of each group.

    In a resample a group that is drawn twice would meet itself; leaving those meetings out keeps the means unbiased.
    """

    def __init__(self, a: Floats, b: Floats, code: Array, count: int) -> None:
        size = np.bincount(code, minlength=count).astype(np.float64)
        self.a, self.b, self.size = group_sums(a, code, count), group_sums(b, code, count), size
        # Of differences, not as a difference of sums: it is then 0 to the last bit where a equals b.
        self.apart = group_sums(a - b, code, count)
        self.pairs = np.bincount(code, (a * b).sum(1), count)

    def statistics(self, times: Array) -> dict[str, Array]:
        """times: [d, G], how often each group is there.  -> {name: [d]}; NaN where only one group is."""
        weight = times.astype(np.float64)
        total = weight @ self.size
        meetings = total**2 - weight**2 @ self.size**2
        meetings[meetings <= 0] = np.nan

        def across(x: Floats, y: Floats) -> Floats:
            met: Floats = ((weight @ x) * (weight @ y)).sum(1) - weight**2 @ (x * y).sum(1)
            return met / meetings

        unpaired, square = across(self.a, self.b), across(self.apart, self.apart)
        distance = np.sqrt(np.maximum(square, 0))
        spread = np.sqrt(np.maximum(2 - 2 * unpaired, 0))
        return {
            "distance": distance,
            "relative": np.divide(distance, spread, out=np.zeros_like(distance), where=distance > 0),
            "within_a": across(self.a, self.a),
            "within_b": across(self.b, self.b),
            "paired": weight @ self.pairs / total,
            "unpaired": unpaired,
        }

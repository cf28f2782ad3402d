"""Which recorded sites need a joint representation, and which are explained by one modality or by a sum of them.

Each site (a column of numbers, one per stimulus: an electrode, a voxel, a unit of another network) is predicted by
ridge regression, on rows held out in folds, from

    each modality's features alone;
    `sum`:      the features of all modalities side by side, the linear sum of both;
    `joint`:    the joint representation;
    `additive`: the joint representation as ridge predicts it from the features in `sum`: its part linear in them.

A site is flagged where `joint` has the smaller held-out error than every other, by one-sided t-tests over rows: its
p-value is the largest of them, corrected for the number of sites.  `additive` is a control that the paper lacks: a
joint representation that is only a handier summary of the modalities predicts better than `sum` from few rows, and
there is no integration in it.  With fewer rows than columns of features the two cannot be told apart.

    r2 = 1 - sum (y - prediction)^2 / sum (y - training mean)^2        gain = r2 of joint - r2 of its nearest rival

With all penalties infinite every model predicts the training mean and r2 is 0.  Rows have to be independent: where they
are moments of one recording, give stretches of time as groups, long against its memory.
Source: Subramaniam et al., "Revealing Vision-Language Integration in the Brain", arXiv:2406.14481.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtr, stdtrit

from ..bootstrap import Interval, codes, mean_interval
from ..estimate import Accounted
from ..multiple_testing import Correction, adjusted
from ._ridge import PENALTIES, ridge
from ._rows import Array, Floats, checked, group_sums


@dataclass(frozen=True, eq=False)
class EncodingModel(Accounted):
    """r2: {modality, sum, additive, joint: [S]}.  rival [S]: the model that joint beats with the least certainty.

    gain [S] over that one and its interval [S, 2].  p [S]: corrected.  share: of the sites that are flagged, of which
    the interval resamples sites.
    """

    r2: dict[str, Floats]
    rival: tuple[str, ...]
    gain: Floats
    gain_interval: Floats
    p: Floats
    flagged: Array
    share: float
    intervals: dict[str, Interval]


def encoding_model(
    modalities: Mapping[str, ArrayLike],
    joint: ArrayLike,
    sites: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    penalties: Sequence[float] = PENALTIES,
    folds: int = 5,
    alpha: float = 0.05,
    correction: Correction = "fdr",
    seed: int = 0,
    level: float = 0.95,
) -> EncodingModel:
    """modalities: {name: [N, D_m]}, joint [N, D], sites [N, S].  groups: [N], each in one fold, and one unit of the
    tests.

    ValueError on NaN, unequal numbers of rows, fewer than 2 modalities, names that are taken, a site that does not
    vary, or fewer groups than folds.
    """
    given = {name: checked(x, name) for name, x in modalities.items()}
    target, fused = checked(sites, "sites"), checked(joint, "joint")
    if len(given) < 2 or set(given) & {"sum", "additive", "joint"}:
        raise ValueError(f"expected 2 modalities or more, none named sum, additive or joint; found {', '.join(given)}")
    lengths = {name: len(x) for name, x in {**given, "joint": fused, "sites": target}.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"expected equally many rows, found {lengths}")
    still = np.flatnonzero(target.max(0) - target.min(0) == 0)
    if len(still):
        raise ValueError(f"sites: column {still[0]} is the same in all rows and cannot be explained; leave it out")
    code, count = codes(groups, len(target))
    if count < folds or folds < 2:
        raise ValueError(f"expected 2 folds or more and at least as many groups, found {folds} folds, {count} groups")

    fold = np.random.default_rng(seed).permutation(np.arange(count) % folds)[code]
    errors = held_out_errors(given, fused, target, fold, penalties)
    total = {name: e.sum(0) for name, e in errors.items()}
    base = total.pop("mean")
    r2 = {name: 1 - t / base for name, t in total.items()}
    rivals = [name for name in r2 if name != "joint"]
    apart = np.stack([group_sums(errors[name] - errors["joint"], code, count) for name in rivals])
    p, wide = _t_test(apart, level)
    hardest = p.argmax(0)
    every = np.arange(target.shape[1])
    corrected = adjusted(p[hardest, every], correction)
    flagged = corrected <= alpha
    middle, half = apart.sum(1)[hardest, every] / base, wide[hardest, every] / base
    return EncodingModel(
        r2=r2,
        rival=tuple(rivals[h] for h in hardest),
        gain=middle,
        gain_interval=np.stack([middle - half, middle + half], 1),
        p=corrected,
        flagged=flagged,
        share=float(flagged.mean()),
        intervals={"share": mean_interval(flagged, seed=seed, level=level)},
    )


def held_out_errors(
    modalities: Mapping[str, Floats], joint: Floats, sites: Floats, fold: Array, penalties: Sequence[float] = PENALTIES
) -> dict[str, Floats]:
    """{modality, sum, additive, joint, mean: [N, S]} squared errors; rows of one fold [N] are held out together."""
    names = [*modalities, "sum", "additive", "joint", "mean"]
    out = {name: np.empty(sites.shape) for name in names}
    for f in np.unique(fold):
        inside, held = fold != f, fold == f
        ready = {name: _scaled(x[inside], x) for name, x in modalities.items()}
        # Each modality has the same variance in all, whatever its width, so that one penalty is fair to both.
        ready["sum"] = np.concatenate(list(ready.values()), 1) / np.sqrt(len(modalities))
        ready["joint"] = _scaled(joint[inside], joint)
        linear = ridge(ready["sum"][inside], ready["joint"][inside], ready["sum"], penalties)
        ready["additive"] = _scaled(linear[inside], linear)
        for name, x in ready.items():
            out[name][held] = (sites[held] - ridge(x[inside], sites[inside], x[held], penalties)) ** 2
        out["mean"][held] = (sites[held] - sites[inside].mean(0)) ** 2
    return out


def _scaled(train: Floats, rows: Floats) -> Floats:
    """Columns of mean 0 and variance 1 / D on the training rows; those that do not vary there become 0."""
    spread = train.std(0)
    moves = spread > 1e-12 * np.abs(train).max(0)
    divisor = np.where(moves, spread, np.inf) * np.sqrt(max(1, int(moves.sum())))
    scaled: Floats = (rows - train.mean(0)) / divisor
    return scaled


def _t_test(apart: Floats, level: float) -> tuple[Floats, Floats]:
    """apart [R, G, S], sums over groups -> [R, S] one-sided p-values, and half of the interval's width of their sum."""
    count = apart.shape[1]
    error = np.sqrt(count * apart.var(1, ddof=1))
    total = apart.sum(1)
    t = np.divide(total, error, out=np.zeros_like(total), where=error > 0)
    return stdtr(count - 1, -t), float(stdtrit(count - 1, (1 + level) / 2)) * error

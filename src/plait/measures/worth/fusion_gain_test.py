"""Does fusing modalities beat the best single one?

    gain = mean over rows of  fused_i - best_{fold(i)},i         best_k: the single with the highest mean outside fold k

The best single is chosen on other rows than those that judge: the highest of several means on the same rows is too high
by luck, and hides a gain.  Choosing has a price of its own: where two singles are equally good, folds choose alike and
err alike, so that standard errors of the row differences are too small (5 % tests of no gain reject in 7 to 9 % of the
cases at 5 to 10 folds).  Here every resample of rows, or groups, chooses anew, and the interval is

    gain +- t(.975, G - 1) se,        se: the standard deviation of the gain over resamples, G groups

which keeps the level and errs to the safe side where singles are nearly equal.

Values are of held-out rows, means over repeats where models were trained several times, of models of about equal size,
tuned alike.  The interval is for the models as they are: where their training sets overlap it does not see how much
another training would differ.

The question: Narazani et al., "Is a PET all you need? A multi-modal study for Alzheimer's disease using 3D CNNs",
arXiv:2207.02094.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from ..bootstrap import Interval, many_intervals
from ._crossfit import folds

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class FusionGain:
    """p: one-sided, of `the gain is 0 or less`.  fused, singles: means.

    chosen: {place of the fold in their order: the best single outside of it}.
    same_rows: the gain over the best single of the judging rows, which is too low.
    differences: [N], fused minus the chosen single.
    """

    gain: float
    se: float
    interval: Interval
    p: float
    fused: float
    singles: dict[str, float]
    chosen: dict[int, str]
    same_rows: float
    differences: Array

    def account(self) -> dict[str, Any]:
        """Plain data without what is of rows."""
        said = asdict(self)
        del said["differences"]
        return {**said, "interval": list(self.interval)}


def fusion_gain_test(
    fused: Array,
    singles: Mapping[str, Array],
    *,
    fold: Array | None = None,
    groups: Array | None = None,
    split: int = 5,
    seed: int = 0,
    draws: int = 2000,
    level: float = 0.95,
) -> FusionGain:
    """fused: [N], what each row scores (higher is better) with all modalities; singles: {modality: [N]} with one.

    fold: [N] codes, in which the best is chosen on the other folds; by default `split` random ones.  groups: [N], rows
    that belong together, each whole in one fold.  ValueError if shapes differ, numbers are not finite, there are fewer
    than 2 folds, or a group lies in several.
    """
    arms = _arms(fused, singles)
    size = arms.shape[1]
    code = folds(size, split, groups=groups, seed=seed) if fold is None else _codes(fold, groups, size)
    names, met = list(singles), []

    def resampled(times: Array) -> dict[str, Array]:
        met.append(_gains(arms, code, times) / times.sum(1))
        return {"gain": met[-1]}

    many_intervals(resampled, size, groups=groups, seed=seed, draws=draws)
    se = float(np.concatenate(met).std(ddof=1))
    best = {k: int(arms[1:, code != k].mean(1).argmax()) for k in range(code.max() + 1)}
    differences = arms[0] - arms[1 + np.array([best[k] for k in code]), np.arange(size)]
    gain, df = float(differences.mean()), len(np.unique(np.arange(size) if groups is None else groups)) - 1
    half = float(stdtrit(df, (1 + level) / 2)) * se
    means = arms.mean(1).tolist()
    return FusionGain(
        gain=gain,
        se=se,
        interval=(gain - half, gain + half),
        p=float(stdtr(df, -gain / se)) if se else float(gain <= 0),
        fused=means[0],
        singles=dict(zip(names, means[1:], strict=True)),
        chosen={k: names[j] for k, j in best.items()},
        same_rows=means[0] - max(means[1:]),
        differences=differences,
    )


def _gains(arms: Array, code: Array, times: Array) -> Array:
    """[D] sums of differences in resamples, the best single chosen in each; times: [D, N]."""
    total = np.zeros(len(times))
    for k in range(code.max() + 1):
        inside = code == k
        best = (times[:, ~inside] @ arms[1:, ~inside].T).argmax(1)
        lead = times[:, inside] @ (arms[0, inside] - arms[1:, inside]).T
        total += np.take_along_axis(lead, best[:, None], 1)[:, 0]
    return total


def _arms(fused: Array, singles: Mapping[str, Array]) -> Array:
    """[1 + M, N], the fused one first."""
    shapes = {"fused": np.shape(fused), **{name: np.shape(v) for name, v in singles.items()}}
    if not singles or len(set(shapes.values())) > 1 or len(np.shape(fused)) != 1 or len(fused) < 2:
        raise ValueError(f"expected values [N] of the fused model and of one single or more, found {shapes}")
    arms = np.stack([np.asarray(v, np.float64) for v in (fused, *singles.values())])
    if not np.isfinite(arms).all():
        raise ValueError("values are not all finite: give rows that every model has judged")
    return arms


def _codes(fold: Array, groups: Array | None, size: int) -> Array:
    names, code = np.unique(fold, return_inverse=True)
    if len(code) != size or len(names) < 2:
        raise ValueError(f"expected a fold for each of {size} rows, 2 or more, found {len(names)} for {len(code)}")
    together = code if groups is None else np.unique(groups, return_inverse=True)[1]
    if len(together) != size:
        raise ValueError(f"expected a group for each of the {size} rows, found {len(together)}")
    if len(np.unique(together * len(names) + code)) > len(np.unique(together)):
        raise ValueError("a group lies in several folds: rows that belong together would choose and judge")
    return code

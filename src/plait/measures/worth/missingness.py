"""Whether what is known of a row tells which modalities it has.

For each modality: how well logistic regressions, each judged on rows that it did not see, tell the rows that have it
from those that have not (AUC within folds: .5 is chance), and how often labels dealt out anew do as well:

    p = (1 + how many permuted AUCs >= AUC) / (1 + permutations)

A small p rules out missing completely at random: complete rows are not like the others, and how much that matters is
said by `inverse_probability_weighting`.  A large p is no proof: regressions see what depends on the sum of features
(give squares and products as columns where more is suspected), and nobody sees what depends on the absent cell:
`sensitivity_bounds`.

An AUC pooled over folds would lie below .5 by chance: the rows that a fold has too many of, the others have too few of.
With groups, labels are dealt out whole among groups of equal size; a group whose size no other has keeps its own.

`littles_test` asks the same of tables of numbers with gaps.  Source: classifier two-sample tests, Lopez-Paz & Oquab,
arXiv:1610.06545; several modalities: Holm, Scandinavian Journal of Statistics 1979.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..bootstrap import Interval, many_intervals
from ..multiple_testing import adjusted
from ._crossfit import cross_fitted, folds, standard
from ._permuted import permuted_rows

Array = NDArray[Any]


@dataclass(frozen=True)
class Told:
    """share: of rows that have the modality.  auc: with its interval, rows or groups resampled and fitted anew.

    p: of being told by chance; holm: the same, adjusted for all modalities.  All but share are NaN where none or all
    rows have it.
    """

    share: float
    auc: float
    interval: Interval
    p: float
    holm: float


def missingness(
    have: Array,
    names: Sequence[str],
    features: Array,
    *,
    label: Array | None = None,
    groups: Array | None = None,
    split: int = 5,
    permutations: int = 200,
    penalty: float = 1.0,
    draws: int = 500,
    seed: int = 0,
) -> dict[str, Told]:
    """{modality: how well it is told who has it}.

    have: [N, M] bool.  features: [N, F], known of every row.  label: [N], put in beside them: floats as a number,
    anything else as classes.  groups: [N], rows that belong together.  ValueError if these do not fit, or are not
    finite.
    """
    there = np.asarray(have, bool)
    if there.ndim != 2 or there.shape[1] != len(names):
        raise ValueError(f"expected [N, {len(names)}] for the modalities {', '.join(names)}, found {there.shape}")
    x = standard(features, len(there))
    if label is not None:
        x = np.column_stack([x, standard(_coded(np.asarray(label)), len(there))])
    fold = folds(len(there), split, groups=groups, seed=seed)
    found = {}
    for j, name in enumerate(names):
        y = there[:, j].astype(np.float64)
        if 0 < y.sum() < len(y):
            labels = np.vstack([y, y[permuted_rows(len(y), permutations, groups=groups, seed=[seed, j])]])
            aucs = fold_auc(cross_fitted(x, labels, fold, penalty=penalty), labels, fold)
            p = (1 + np.sum(aucs[1:] >= aucs[0] - 1e-12)) / (1 + permutations)
            ends = many_intervals(_resampled(x, y, fold, penalty), len(y), groups=groups, seed=seed, draws=draws)
            found[name] = float(aucs[0]), ends["auc"], float(p)
    holm = dict(zip(found, adjusted([p for *_, p in found.values()], "holm").tolist(), strict=True))
    nothing = (float("nan"), (float("nan"), float("nan")), float("nan"))
    return {
        name: Told(float(there[:, j].mean()), *found.get(name, nothing), holm.get(name, float("nan")))
        for j, name in enumerate(names)
    }


def fold_auc(score: Array, y: Array, fold: Array, times: Array | None = None) -> Array:
    """[B] chance that of two rows of a fold the one with y = 1 scores higher, ties half; over all such pairs.

    score, y: [B, N], y of 0 and 1; fold: [N]; times: [B, N], how often each row counts.  NaN where no fold has both.
    """
    counted = np.ones(score.shape) if times is None else times
    above, pairs = np.zeros(len(score)), np.zeros(len(score))
    for k in np.unique(fold):
        order = np.argsort(score[:, fold == k], 1, kind="stable")
        s, label, n = (np.take_along_axis(v[:, fold == k], order, 1) for v in (score, y, counted))
        zeros = np.cumsum(n * (1 - label), 1)
        place = np.broadcast_to(np.arange(s.shape[1]), s.shape)
        edge = np.diff(s, axis=1) > 0
        ends = np.concatenate([edge, np.ones((len(s), 1), bool)], 1)
        last = np.minimum.accumulate(np.where(ends, place, s.shape[1])[:, ::-1], 1)[:, ::-1]
        starts = np.concatenate([np.ones((len(s), 1), bool), edge], 1)
        first = np.maximum.accumulate(np.where(starts, place, 0), 1)
        below = np.take_along_axis(zeros - n * (1 - label), first, 1)
        above += np.sum(n * label * (below + np.take_along_axis(zeros, last, 1)) / 2, 1)
        pairs += np.sum(n * label, 1) * zeros[:, -1]
    return np.divide(above, pairs, out=np.full(len(score), np.nan), where=pairs > 0)


def _resampled(x: Array, y: Array, fold: Array, penalty: float) -> Callable[[Array], dict[str, Array]]:
    def auc(times: Array) -> dict[str, Array]:
        return {
            "auc": fold_auc(cross_fitted(x, y[None], fold, times, penalty), y[None].repeat(len(times), 0), fold, times)
        }

    return auc


def _coded(label: Array) -> Array:
    """[N] numbers, or [N, C] of 0 and 1."""
    return label if label.dtype.kind == "f" else (label[:, None] == np.unique(label)).astype(np.float64)

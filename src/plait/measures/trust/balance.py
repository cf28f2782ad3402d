"""Whether joint training brings out of each modality what it holds.

    shortfall_m   = score(trained alone) - score(probe of the jointly trained encoder)      paired, row by row; the
                    accuracy, or any other score that is a mean over rows, more being better
    discrepancy_m = mean over k of  mean p_m(truth) / mean p_k(truth)   on the rows that have both; 1: balanced
    gap           = max_m phi_m - min_m phi_m      of contributions phi, such as Shapley values of the accuracy
    cos_mk        = <g_m, g_k> / (|g_m| |g_k|)     of the gradients in shared parameters; below 0: conflict
    similarity_mk = 2 |g_m| |g_k| / (|g_m|^2 + |g_k|^2)

A large shortfall says that a modality learned less in company; a modality that is merely weak has none.  The
discrepancy cannot tell the two apart.
Sources: upper bounds, Wang et al., arXiv:1905.12681; discrepancy, Peng et al., arXiv:2203.15332 (two modalities; for
more, the mean of the pairs); Shapley values of the accuracy, Xu et al., "BalanceBenchmark", arXiv:2502.10816;
conflict, Yu et al., "Gradient surgery for multi-task learning", arXiv:2001.06782.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..estimate import Accounted, Estimate, mean
from ._checked import codes, finite, presence, singles

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Balance(Accounted):
    """Of each of M modalities, over the rows that have it.  probe, alone: the score.  shortfall: alone minus probe.

    discrepancy: [M]; NaN for a modality that no row has together with another, and of other answers than classes.
    """

    rows: list[int]
    probe: list[Estimate]
    alone: list[Estimate]
    shortfall: list[Estimate]
    discrepancy: Array


@dataclass(frozen=True, eq=False)
class GradientConflict(Accounted):
    """cosine, similarity: [M, M].  conflicting: share of the pairs that have a cosine in which it is below 0.

    A zero gradient has no direction: its cosines are NaN.  Its similarity to another is 0, to a zero one NaN.
    """

    cosine: Array
    similarity: Array
    conflicting: float


def balance(
    probe: Array,
    alone: Array,
    truth: Array,
    have: Array | None = None,
    *,
    groups: Array | None = None,
    seed: int = 0,
) -> Balance:
    """probe: predictions [N, M, C] of probes on jointly trained encoders.  alone: those of models trained on one
    modality, on the same held-out rows.  truth: codes [N].  have: [N, M] bool; absent cells are not looked at.

    Intervals: rows are resampled, or `groups` [N] of rows that belong together.  ValueError for bad input.
    """
    probed, there = singles(probe, have, "probe")
    apart, _ = singles(alone, have, "alone")
    if probed.shape != apart.shape:
        raise ValueError(f"expected equal shapes, found {list(probed.shape)} of probes and {list(apart.shape)} alone")
    truth = codes(truth, "truth", probed.shape[0], probed.shape[2])
    one, two = ((single.argmax(2) == truth[:, None]).astype(np.float64) for single in (probed, apart))
    found = balance_of(one, two, there, groups=groups, seed=seed)
    return replace(found, discrepancy=discrepancy_ratio(probe, truth, have))


def balance_of(
    probe: Array, alone: Array, have: Array | None = None, *, groups: Array | None = None, seed: int = 0
) -> Balance:
    """As `balance`, of any score: probe, alone: [N, M], the score of each row, more being better; such as minus the
    absolute error of a number.
    """
    if probe.shape != alone.shape or probe.ndim != 2:
        raise ValueError(f"expected scores [N, M], found {list(probe.shape)} of probes and {list(alone.shape)} alone")
    there = presence(have, *probe.shape)
    one, two = (np.where(there, finite(np.where(there, v, 0), "scores", None, None), np.nan) for v in (probe, alone))
    columns = range(there.shape[1])
    return Balance(
        rows=there.sum(0).tolist(),
        probe=[mean(one[:, m], groups=groups, seed=seed) for m in columns],
        alone=[mean(two[:, m], groups=groups, seed=seed) for m in columns],
        shortfall=[mean(two[:, m] - one[:, m], groups=groups, seed=seed, exact=False) for m in columns],
        discrepancy=np.full(len(columns), np.nan),
    )


def discrepancy_ratio(predicted: Array, truth: Array, have: Array | None = None) -> Array:
    """[M] how far each modality is ahead.  predicted: [N, M, C]; truth: codes [N]; have: [N, M] bool.

    Infinite where another one gives the truth no probability at all on the rows that have both.
    """
    single, there = singles(predicted, have, "predicted")
    truth = codes(truth, "truth", single.shape[0], single.shape[2])
    score = np.take_along_axis(single, truth[:, None, None], 2)[:, :, 0]
    # [m, k]: summed score of m on the rows that also have k.  The count of rows cancels in the ratio.
    total = score.T @ there
    both = (there.T.astype(np.int64) @ there > 0) & ~np.eye(there.shape[1], dtype=bool)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(both, total / total.T, 0)
        return ratio.sum(1) / np.where(both.any(1), both.sum(1), np.nan)


def contribution_gap(contributions: Array) -> float:
    """The largest contribution minus the smallest, in their unit.  contributions: [M]; |phi_1 - phi_2| for two."""
    found = finite(contributions, "contributions", None)
    if not len(found):
        raise ValueError("contributions: expected one of each modality, found none")
    return float(found.max() - found.min())


def gradient_conflict(gradients: Array) -> GradientConflict:
    """gradients: [M, D], of each modality's loss in the same shared parameters, at the same step and batch.

    `conflicting` is NaN where no two gradients have a direction.  ValueError for NaN.
    """
    found = finite(gradients, "gradients", None, None)
    length = np.linalg.norm(found, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        unit = found / length[:, None]
        similarity = 2 * np.outer(length, length) / (length[:, None] ** 2 + length**2)
    # Rounding may leave parallel gradients a little above 1.
    cosine = np.clip(unit @ unit.T, -1, 1)
    pairs = cosine[np.triu_indices(len(found), 1)]
    pairs = pairs[~np.isnan(pairs)]
    return GradientConflict(cosine, similarity, float((pairs < 0).mean()) if len(pairs) else float("nan"))

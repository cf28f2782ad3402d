"""How far a row is from what a model was trained on.  Every score here is higher for rows that are further away.

    uncertain_top   1 - max_c p_c                      Hendrycks & Gimpel, arXiv:1610.02136
    entropy         -sum_c p_c ln p_c, nats
    energy          -T ln sum_c exp(l_c / T)           from logits l; Liu et al., arXiv:2010.03759
    k_nearest       |z - its k-th nearest training z|  unit length; Sun et al., arXiv:2204.06507
    mahalanobis     min_c (x - m_c)' S^-1 (x - m_c)    one S for all classes; Lee et al., arXiv:1807.03888

The first three ask the classifier and need no training rows; energy also sees the size of logits, which softmax takes
away.  The last two ask an embedding.  `out_of_distribution` then says how well a score tells known outliers from rows
that are none; the 95 % of FPR@95 are those inside that pass.
Limits: which score is best depends on the outliers; k and shrinkage chosen on the outliers one tests on flatter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr, logsumexp

from .. import bootstrap
from ..estimate import Accounted, Estimate
from ._checked import finite, probabilities
from .auroc import auroc

Array = NDArray[Any]
_CHUNK = 16_000_000


@dataclass(frozen=True)
class OutOfDistribution(Accounted):
    """auroc: share of pairs in which the outlier scores higher; 0.5: by chance.  fpr95: share of outliers that pass
    where the threshold lets 95 % of the rows inside pass; 0.95: by chance."""

    inside: int
    outliers: int
    auroc: Estimate
    fpr95: Estimate


def out_of_distribution(
    inside: Array, outliers: Array, *, groups: Array | None = None, seed: int = 0, draws: int = 1000
) -> OutOfDistribution:
    """Scores [P] of rows like the training rows, but not among them, and scores [Q] of known outliers.

    Intervals: all P + Q rows are resampled, or `groups` [P + Q] of them.  ValueError without rows, or for NaN.
    """
    inside, outliers = finite(inside, "inside", None), finite(outliers, "outliers", None)
    if not len(inside) or not len(outliers):
        raise ValueError(f"expected scores of both kinds of rows, found {len(inside)} inside, {len(outliers)} outliers")
    score, positive = np.concatenate([inside, outliers]), np.arange(len(inside) + len(outliers)) >= len(inside)

    def statistic(rows: Array) -> Mapping[str, float]:
        out = positive[rows]
        return {"fpr95": false_positive_rate(score[rows][~out], score[rows][out])}

    ends = bootstrap.intervals(statistic, len(score), groups=groups, seed=seed, draws=draws)
    return OutOfDistribution(
        len(inside),
        len(outliers),
        auroc(score, positive, groups=groups, seed=seed, draws=draws),
        Estimate(false_positive_rate(inside, outliers), ends["fpr95"]),
    )


def false_positive_rate(inside: Array, outliers: Array, passing: float = 0.95) -> float:
    """Share of the outliers [Q] at or below the score that the share `passing` of inside [P] does not exceed.

    Rows tied with the threshold pass at random, in the share that is needed.  NaN where one of the two is empty.
    """
    if not len(inside) or not len(outliers):
        return float("nan")
    levels = np.unique(np.concatenate([inside, outliers]))
    true = np.searchsorted(np.sort(inside), levels, "right") / len(inside)
    false = np.searchsorted(np.sort(outliers), levels, "right") / len(outliers)
    at = int(np.argmax(true >= passing - 1e-12))
    before = (true[at - 1], false[at - 1]) if at else (0.0, 0.0)
    share = min(1.0, (passing - before[0]) / (true[at] - before[0]))
    return float(before[1] + share * (false[at] - before[1]))


def uncertain_top(predicted: Array) -> Array:
    """[N] one minus the highest probability of predicted [N, C]."""
    return 1 - probabilities(predicted, "predicted", None, None).max(1)


def entropy(predicted: Array) -> Array:
    """[N] entropy of predicted [N, C] in nats, 0 .. ln C."""
    return entr(probabilities(predicted, "predicted", None, None)).sum(1)


def energy(logits: Array, temperature: float = 1.0) -> Array:
    """[N] free energy of logits [N, C]; a shift of all logits of a row shifts it by as much, downwards."""
    if not temperature > 0:
        raise ValueError(f"temperature: expected more than 0, found {temperature}")
    return -temperature * logsumexp(finite(logits, "logits", None, None) / temperature, axis=1)


def k_nearest(embeddings: Array, training: Array, k: int = 10) -> Array:
    """[N] distance, 0 .. 2, of embeddings [N, D] to the k-th nearest of training [P, D], all brought to unit length.

    A row that is itself in training finds itself first.  ValueError for a zero vector, or fewer than k training rows.
    """
    training = _unit(finite(training, "training", None, None), "training")
    embeddings = _unit(finite(embeddings, "embeddings", None, training.shape[1]), "embeddings")
    if not 1 <= k <= len(training):
        raise ValueError(f"k: expected 1 .. {len(training)} (the training rows), found {k}")
    step = max(1, _CHUNK // len(training))
    nearest = [
        np.partition(embeddings[i : i + step] @ training.T, -k, axis=1)[:, -k] for i in range(0, len(embeddings), step)
    ]
    return np.sqrt(np.maximum(2 - 2 * np.concatenate(nearest), 0)) if nearest else np.zeros(0)


def mahalanobis(embeddings: Array, training: Array, truth: Array, shrinkage: float | None = None) -> Array:
    """[N] squared distance of embeddings [N, D] to the nearest class mean of training [P, D] with codes truth [P].

    S = (1 - shrinkage) covariance within classes + shrinkage (its trace / D) I.  shrinkage None: that of Ledoit & Wolf,
    Journal of Multivariate Analysis 2004, estimated from the training rows.  0 needs more rows than D: ValueError else.
    """
    training = finite(training, "training", None, None)
    embeddings = finite(embeddings, "embeddings", None, training.shape[1])
    truth = np.asarray(truth)
    if truth.shape != training.shape[:1] or not len(truth):
        raise ValueError(f"truth: expected a class for each of {len(training)} training rows, found {truth.shape}")
    if shrinkage is not None and not 0 <= shrinkage <= 1:
        raise ValueError(f"shrinkage: expected 0 .. 1, found {shrinkage}")
    _, code = np.unique(truth, return_inverse=True)
    means = np.stack([training[code == c].mean(0) for c in range(code.max() + 1)])
    within = training - means[code]
    if shrinkage is None:
        from sklearn.covariance import ledoit_wolf_shrinkage

        shrinkage = float(ledoit_wolf_shrinkage(within, assume_centered=True))
    spread, directions = np.linalg.eigh(within.T @ within / len(within))
    if spread[-1] <= 0:
        raise ValueError("training: all rows of a class are equal, so that no distance has a scale")
    spread = (1 - shrinkage) * spread + shrinkage * spread.mean()
    if spread[0] <= 1e-12 * spread[-1]:
        raise ValueError(
            f"training: {len(training)} rows do not vary in all {training.shape[1]} directions; use shrinkage above 0"
        )
    # In coordinates where S is the identity.
    scaled = directions / np.sqrt(spread)
    rows, centres = embeddings @ scaled, means @ scaled
    found = np.full(len(rows), np.inf)
    for centre in centres:
        np.minimum(found, ((rows - centre) ** 2).sum(1), out=found)
    return found


def _unit(vectors: Array, name: str) -> Array:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    if (length == 0).any():
        raise ValueError(f"{name}: {int((length == 0).sum())} rows are zero vectors, which have no direction")
    return vectors / length

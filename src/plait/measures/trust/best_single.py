"""Whether a task can be answered from one modality: then it says little about fusion.

    gain = score(the best single modality) - score(answering without looking)

with the accuracy as score and the most frequent class as the answer without looking, or any score that is a mean over
rows, more being better, and any such answer.
The best of several is flattered where it is chosen on the rows it is judged on.  So rows are halved; each half is
answered by the modality, and the class, that was best in the other.  Related: Thomason et al., "Shifting the baseline",
arXiv:1811.00613.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..estimate import Accounted, Estimate, mean
from ._checked import codes, finite, singles

Array = NDArray[Any]


@dataclass(frozen=True)
class BestSingle(Accounted):
    """score: of M modalities; best: which is highest.  unseen: the score of answering without looking.

    gain: of the modality over that answer, both chosen on other rows; it may be below 0.
    """

    score: list[Estimate]
    best: int
    unseen: Estimate
    gain: Estimate


def best_single(
    predicted: Array,
    truth: Array,
    have: Array | None = None,
    *,
    groups: Array | None = None,
    seed: int = 0,
) -> BestSingle:
    """Of classes, by the accuracy.  predicted: [N, M, C], of models of one modality each, on held-out rows.

    truth: codes [N].  have: [N, M] bool.  A row without a modality is answered with the most frequent class of the
    other half, which is all one could say there; where the rows that were learned from are known, take their class,
    and `best_of`.
    Intervals: rows are resampled, or `groups` [N] of rows, which are not halved either.  ValueError on fewer than two.
    """
    single, there = singles(predicted, have, "predicted")
    rows, modalities, classes = single.shape
    truth = codes(truth, "truth", rows, classes)
    said = single.argmax(2)

    def answered(other: Array) -> tuple[Array, Array]:
        usual = np.bincount(truth[other], minlength=classes).argmax()
        return np.where(there, said, usual) == truth[:, None], truth == usual

    return _halved(answered, rows, modalities, groups, seed)


def best_of(values: Array, unseen: Array, *, groups: Array | None = None, seed: int = 0) -> BestSingle:
    """Of any score.  values: [N, M], the score of each row by a model of one modality, more being better.

    unseen: [N], that of the answer without looking, which `values` has, too, where a row lacks the modality.
    Intervals and errors as of `best_single`.
    """
    values = finite(values, "values", None, None)
    unseen = finite(unseen, "unseen", len(values))
    return _halved(lambda other: (values, unseen), len(values), values.shape[1], groups, seed)


def _halved(
    answered: Callable[[Array], tuple[Array, Array]], rows: int, modalities: int, groups: Array | None, seed: int
) -> BestSingle:
    """answered: where the other half is -> the scores [N, M] of the modalities, and [N] of not looking."""
    names, code = np.unique(np.arange(rows) if groups is None else groups, return_inverse=True)
    if len(code) != rows or len(names) < 2:
        raise ValueError(f"expected two rows or more, and a group for each, found {rows} rows, {len(names)} groups")
    half = (np.random.default_rng(seed).permutation(len(names)) % 2)[code]
    score, unseen, gained = np.zeros((rows, modalities)), np.zeros(rows), np.zeros(rows)
    for judged in (0, 1):
        own, other = half == judged, half != judged
        values, without = answered(other)
        score[own], unseen[own] = values[own], without[own]
        gained[own] = values[own, values[other].mean(0).argmax()]
    found = [mean(score[:, m], groups=groups, seed=seed) for m in range(modalities)]
    return BestSingle(
        found,
        int(np.argmax([one.value for one in found])),
        mean(unseen, groups=groups, seed=seed),
        mean(gained - unseen, groups=groups, seed=seed, exact=False),
    )

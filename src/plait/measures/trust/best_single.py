"""Whether a task can be answered from one modality: then it says little about fusion.

    gain = accuracy(the best single modality) - accuracy(always the most frequent class)

The best of several is flattered where it is chosen on the rows it is judged on.  So rows are halved; each half is
answered by the modality, and the class, that was best in the other.  Related: Thomason et al., "Shifting the baseline",
arXiv:1811.00613.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..estimate import Accounted, Estimate, mean
from ._checked import codes, singles

Array = NDArray[Any]


@dataclass(frozen=True)
class BestSingle(Accounted):
    """accuracy: of M modalities; best: which is highest.  majority: accuracy of the most frequent class.

    gain: of the modality over the class, both chosen on other rows; it may be below 0.  Shares of all rows.
    """

    accuracy: list[Estimate]
    best: int
    majority: Estimate
    gain: Estimate


def best_single(
    predicted: Array,
    truth: Array,
    have: Array | None = None,
    *,
    common: int | None = None,
    groups: Array | None = None,
    seed: int = 0,
) -> BestSingle:
    """predicted: [N, M, C], of models of one modality each, on held-out rows.  truth: codes [N].  have: [N, M] bool.

    A row without a modality is answered with the most frequent class, which is all one could say there.  common: that
    class, if the rows that were learned from are known; else that of the other half.
    Intervals: rows are resampled, or `groups` [N] of rows, which are not halved either.  ValueError on fewer than two.
    """
    single, there = singles(predicted, have, "predicted")
    rows, modalities, classes = single.shape
    truth = codes(truth, "truth", rows, classes)
    names, code = np.unique(np.arange(rows) if groups is None else groups, return_inverse=True)
    if len(code) != rows or len(names) < 2:
        raise ValueError(f"expected two rows or more, and a group for each, found {rows} rows, {len(names)} groups")
    half = (np.random.default_rng(seed).permutation(len(names)) % 2)[code]
    said = single.argmax(2)
    right, frequent, gained = np.zeros((rows, modalities)), np.zeros(rows), np.zeros(rows)
    for judged in (0, 1):
        own, other = half == judged, half != judged
        usual = np.bincount(truth[other], minlength=classes).argmax() if common is None else common
        answers = np.where(there, said, usual) == truth[:, None]
        right[own], frequent[own] = answers[own], truth[own] == usual
        gained[own] = answers[own, answers[other].mean(0).argmax()]
    accuracy = [mean(right[:, m], groups=groups, seed=seed) for m in range(modalities)]
    return BestSingle(
        accuracy,
        int(np.argmax([a.value for a in accuracy])),
        mean(frequent, groups=groups, seed=seed),
        mean(gained - frequent, groups=groups, seed=seed, exact=False),
    )

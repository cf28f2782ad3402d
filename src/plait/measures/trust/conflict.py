"""How much the predictions of single modalities contradict each other and their fusion.

    JS = H(1/K sum_m p_m) - 1/K sum_m H(p_m)          bits; 0 if all agree, at most log2 K (and log2 of the classes)

over the K modalities that the row has.  Rows with fewer than two cannot contradict themselves and are left out: NaN.
A row in conflict is one to look at: `detector` says how well the divergence picks out the fusion's errors.
Source: Lin, "Divergence measures based on the Shannon entropy", IEEE Transactions on Information Theory 1991 (for
several distributions with weights, here equal ones).
Limits: a modality that is sure and wrong and one that knows nothing both diverge; calibrate the predictions before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..estimate import Accounted, Estimate, mean
from ._checked import alike, codes, probabilities, singles
from .auroc import auroc

Array = NDArray[Any]
_NOTHING = 1e-12


@dataclass(frozen=True, eq=False)
class Conflict(Accounted):
    """rows: those with two modalities or more; all but from_fusion and against_fusion is over them.

    divergence: mean JS in bits.  disagreement: share of rows whose single decisions are not all the same.
    pairs: [M, M], share of rows with both whose decisions differ; NaN where no row has both.
    from_fusion: M means of the JS of a modality and the fusion, at most 1 bit.  against_fusion: M shares of rows where
    its decision is another.  Both over the rows that have it.
    detector: AUROC of the divergence for errors of the fusion, None without truth.
    """

    rows: int
    divergence: Estimate
    disagreement: Estimate
    pairs: Array
    from_fusion: list[Estimate]
    against_fusion: list[Estimate]
    detector: Estimate | None


def conflict(
    predicted: Array,
    fused: Array,
    have: Array | None = None,
    truth: Array | None = None,
    *,
    groups: Array | None = None,
    seed: int = 0,
) -> Conflict:
    """predicted: [N, M, C] of each modality alone.  fused: [N, C].  have: [N, M] bool.  truth: codes [N].

    Intervals: rows are resampled, or `groups` [N] of rows that belong together.  ValueError for bad input.
    """
    single, there = singles(predicted, have, "predicted")
    rows, modalities, classes = single.shape
    fused = probabilities(fused, "fused", rows, classes)
    divergence = _divergence(single, there)
    said, decided = single.argmax(2), fused.argmax(1)
    differ = (said[:, :, None] != said[:, None]) & there[:, :, None] & there[:, None]
    both = (there[:, :, None] & there[:, None]).sum(0)
    several = there.sum(1) > 1
    detector = None
    if truth is not None:
        wrong = decided != codes(truth, "truth", rows, classes)
        together = alike(groups, rows)
        chosen = None if together is None else together[several]
        detector = auroc(divergence[several], wrong[several], groups=chosen, seed=seed)
    return Conflict(
        rows=int(several.sum()),
        divergence=mean(divergence, groups=groups, seed=seed),
        disagreement=mean(np.where(several, differ.any((1, 2)), np.nan), groups=groups, seed=seed),
        pairs=np.divide(differ.sum(0), both, out=np.full(both.shape, np.nan), where=both > 0),
        from_fusion=[
            mean(_divergence(np.stack([single[:, m], fused], 1), there[:, [m, m]]), groups=groups, seed=seed)
            for m in range(modalities)
        ],
        against_fusion=[
            mean(np.where(there[:, m], said[:, m] != decided, np.nan), groups=groups, seed=seed)
            for m in range(modalities)
        ],
        detector=detector,
    )


def jensen_shannon(predicted: Array, have: Array | None = None) -> Array:
    """[N] divergence in bits of the predictions [N, M, C] that are there; NaN for rows with fewer than two."""
    return _divergence(*singles(predicted, have, "predicted"))


def _divergence(single: Array, there: Array) -> Array:
    count = there.sum(1)
    weight = there / np.maximum(count, 1)[:, None]
    mixed = np.einsum("nm,nmc->nc", weight, single)
    found = entropy(mixed) - (weight * entropy(single)).sum(1)
    # What rounding leaves of equal predictions must not order rows that agree.
    return np.where(count > 1, np.where(found > _NOTHING, found, 0), np.nan)


def entropy(predicted: Array) -> Array:
    """-sum_c p_c log2 p_c over the last axis, bits; 0 log 0 = 0."""
    return -(predicted * np.log2(np.where(predicted > 0, predicted, 1))).sum(-1)

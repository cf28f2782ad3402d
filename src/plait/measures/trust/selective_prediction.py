"""What a model gains by not answering where it is unsure.

    risk(k) = mean loss of the k most confident rows        AURC = 1/P sum_k risk(k)
    excess AURC = AURC - AURC of the order that puts small losses first

The excess is what a better order could still save; AURC alone also falls when the model is simply more accurate.
Equal confidences count at their expectation over random order: a constant confidence has the mean loss as AURC.
For errors (loss 0 or 1) at rate r the best AURC tends to r + (1 - r) ln(1 - r).
Source: Geifman et al., "Bias-reduced uncertainty estimation for deep neural classifiers", arXiv:1805.08206.
Limits: AURC weighs the most confident rows by far the most, so few rows make it noisy (arXiv:2407.01032).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import bootstrap
from ..estimate import Accounted, Estimate
from ._checked import finite

Array = NDArray[Any]


@dataclass(frozen=True)
class SelectivePrediction(Accounted):
    """accuracy: {coverage: 1 - risk there}; coverage 1 is all rows.  aurc, excess: shares of errors, less is better."""

    rows: int
    aurc: Estimate
    excess: Estimate
    accuracy: Mapping[float, Estimate]


def selective_prediction(
    confidence: Array,
    correct: Array,
    *,
    coverages: Sequence[float] = (0.5, 0.8, 0.9, 1.0),
    groups: Array | None = None,
    seed: int = 0,
    draws: int = 1000,
) -> SelectivePrediction:
    """confidence: [P], more is surer, any scale.  correct: [P], bool, or a share of being right in 0 .. 1.

    Intervals: rows are resampled, or `groups` [P] of rows; where all answered rows are right, the lower end is the
    exact binomial one.  ValueError without rows, for NaN or a coverage not in
    (0, 1].
    """
    confidence = finite(confidence, "confidence", None)
    loss = 1 - finite(correct, "correct", len(confidence))
    if not len(loss):
        raise ValueError("selective_prediction: expected at least one row, found none")
    if loss.min() < 0 or loss.max() > 1:
        raise ValueError(f"correct: expected values in 0 .. 1, found {1 - loss.max():.3g} .. {1 - loss.min():.3g}")
    if wrong := [c for c in coverages if not 0 < c <= 1]:
        raise ValueError(f"coverages: expected shares of rows in (0, 1], found {wrong}")

    def statistic(rows: Array) -> Mapping[str, float]:
        risk = risk_coverage(confidence[rows], loss[rows])
        at = {f"at {c}": 1 - float(risk[fewest(c, len(rows)) - 1]) for c in coverages}
        return {"aurc": float(risk.mean()), "excess": excess_aurc(confidence[rows], loss[rows]), **at}

    values = statistic(np.arange(len(loss)))
    ends = bootstrap.intervals(statistic, len(loss), groups=groups, seed=seed, draws=draws)
    for c in coverages:
        surest = np.argsort(-confidence, kind="stable")[: fewest(c, len(loss))]
        if np.ptp(loss[surest]) == 0:
            # Resampling cannot see what did not happen once, and a wrong row just past the cut would hide that.
            among = None if groups is None else np.asarray(groups)[surest]
            ends[f"at {c}"] = bootstrap.mean_interval(1 - loss[surest], groups=among, seed=seed, draws=draws)
    found = {name: Estimate(value, ends[name]) for name, value in values.items()}
    return SelectivePrediction(len(loss), found["aurc"], found["excess"], {c: found[f"at {c}"] for c in coverages})


def risk_coverage(confidence: Array, loss: Array) -> Array:
    """[P] mean loss of the k most confident rows, k = 1 .. P, in expectation over the order of equal confidences."""
    order = np.argsort(-confidence, kind="stable")
    confidence, loss = confidence[order], loss[order].astype(np.float64)
    first = np.flatnonzero(np.append(True, confidence[1:] != confidence[:-1]))
    size = np.diff(np.append(first, len(loss)))
    even = np.repeat(np.add.reduceat(loss, first) / size, size)
    return np.cumsum(even) / np.arange(1, len(loss) + 1)


def aurc(confidence: Array, loss: Array) -> float:
    """Area under `risk_coverage`.  confidence, loss: [P]; the loss may be any number, 0 or 1 for errors."""
    return float(risk_coverage(confidence, loss).mean())


def excess_aurc(confidence: Array, loss: Array) -> float:
    """AURC above that of the best order of these rows; 0 at best."""
    return aurc(confidence, loss) - aurc(-loss.astype(np.float64), loss)


def fewest(coverage: float, rows: int) -> int:
    """How many rows make up a coverage: the fewest that are not below it, and at least one."""
    # Less a rounding error: 0.7 of 10 rows is 7, though 0.7 * 10 may come out above 7.
    return max(1, math.ceil(coverage * rows - 1e-9))

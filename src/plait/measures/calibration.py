"""Whether a confidence of 0.8 is right in 8 of 10 cases.

All on the top class: confidence [P] is its probability, correct [P] whether it is the true one.  Bins are of equal
mass (about equally many rows in each), not of equal width: wide bins stay empty where a model is always sure.
"""

from __future__ import annotations

from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Bin(TypedDict):
    """confidence and accuracy: means over its rows."""

    confidence: float
    accuracy: float
    rows: int


def calibration(predicted: Array, truth: Array, bins: int = 10, seed: int = 0) -> dict[str, Any]:
    """What an evaluation records.  predicted: probabilities [P, C]; truth: codes [P].  ValueError without rows.

    ece; ece_calibrated: what a perfectly calibrated model would show on these rows; rms_debiased; brier; bins.
    """
    if predicted.ndim != 2 or truth.shape != predicted.shape[:1] or not len(truth):
        raise ValueError(f"expected probabilities [P, C] and codes [P], P > 0, found {predicted.shape}, {truth.shape}")
    confidence, correct = predicted.max(1).astype(np.float64), predicted.argmax(1) == truth
    return {
        "ece": ece(confidence, correct, bins),
        "ece_calibrated": expected_ece(confidence, bins, seed),
        "rms_debiased": rms_debiased(confidence, correct, bins),
        "brier": brier(predicted, truth),
        "bins": reliability(confidence, correct, bins),
    }


def reliability(confidence: Array, correct: Array, bins: int = 10) -> list[Bin]:
    """The reliability diagram: bins of equal mass in order of confidence.  Equal confidences share a bin."""
    member = _bin(confidence, bins)
    return [
        Bin(
            confidence=float(confidence[member == b].mean()),
            accuracy=float(correct[member == b].mean()),
            rows=int((member == b).sum()),
        )
        for b in np.unique(member)
    ]


def ece(confidence: Array, correct: Array, bins: int = 10) -> float:
    """sum_b n_b / P |accuracy_b - confidence_b|.  Source: Naeini et al., AAAI 2015; equal mass: arXiv:1902.06977.

    Biased upward on few rows: compare with `expected_ece`.
    """
    weight, gap, _, _ = _binned(confidence, correct, bins)
    return float(np.sum(weight * np.abs(gap)))


def expected_ece(confidence: Array, bins: int = 10, seed: int = 0, draws: int = 200) -> float:
    """The mean ECE if every confidence were exactly right, over drawn outcomes (consistency resampling).

    Source: Broecker & Smith, "Increasing the reliability of reliability diagrams", Weather and Forecasting 2007.
    """
    member = _bin(confidence, bins)
    one_hot = (member[:, None] == np.unique(member)).astype(np.float64)
    right = np.random.default_rng(seed).random((draws, len(confidence))) < confidence
    return float(np.abs((right - confidence) @ one_hot).sum(1).mean() / len(confidence))


def rms_debiased(confidence: Array, correct: Array, bins: int = 10) -> float:
    """sqrt(max(0, sum_b n_b / P ((accuracy_b - confidence_b)^2 - accuracy_b (1 - accuracy_b) / (n_b - 1)))).

    The square is unbiased for the binned calibration error; bins of one row are left out, NaN if there is no other.
    Source: Kumar et al., "Verified uncertainty calibration", arXiv:1909.10155.
    """
    _, gap, accuracy, count = _binned(confidence, correct, bins)
    use = count > 1
    if not use.any():
        return float("nan")
    gap, accuracy, count = gap[use], accuracy[use], count[use]
    square = np.sum(count * (gap**2 - accuracy * (1 - accuracy) / (count - 1))) / count.sum()
    return float(np.sqrt(max(0.0, square)))


def brier(predicted: Array, truth: Array) -> float:
    """Mean over rows of sum_c (p_c - [c is true])^2, from 0 to 2.  Source: Brier, Monthly Weather Review 1950."""
    hit = truth[:, None] == np.arange(predicted.shape[1])
    return float(np.mean(np.sum((predicted.astype(np.float64) - hit) ** 2, 1)))


def _bin(confidence: Array, bins: int) -> Array:
    if not len(confidence):
        raise ValueError("calibration needs at least one row")
    edges = np.quantile(confidence, np.arange(1, bins) / bins)
    return np.searchsorted(edges, confidence, side="right")


def _binned(confidence: Array, correct: Array, bins: int) -> tuple[Array, Array, Array, Array]:
    """-> share of rows, accuracy minus confidence, accuracy, rows; each [bins that have rows]."""
    table = reliability(confidence, correct, bins)
    count = np.array([b["rows"] for b in table])
    accuracy = np.array([b["accuracy"] for b in table])
    return count / count.sum(), accuracy - np.array([b["confidence"] for b in table]), accuracy, count

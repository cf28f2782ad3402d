"""How well probabilities of labels fit the truth, where a row may have any number of labels.

predicted: [P, C], probability of each label.  truth: [P, C], 1 has it, 0 has it not, NaN unknown: an unknown entry
takes part in nothing.  A measure that the rows do not define is NaN.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def rows(predicted: Array, truth: Array) -> dict[str, Array]:
    """The measure that is a mean over rows, as its values per row [P]: the log loss of a known label, nats.

    NaN for a row of which no label is known.  Probabilities of what is true are held above 2**-52.
    """
    _check(predicted, truth)
    known, least = ~np.isnan(truth), np.finfo(np.float64).eps
    chance = np.where(truth > 0.5, predicted, 1.0 - predicted.astype(np.float64))
    loss = -np.log(np.clip(chance, least, 1.0))
    return {"log_loss": (loss * known).sum(1) / np.where(known.any(1), known.sum(1), np.nan)}


def others(predicted: Array, truth: Array) -> dict[str, float]:
    """Micro and macro F1 at probability 0.5, and macro average precision."""
    _check(predicted, truth)
    known = ~np.isnan(truth)
    has = known & (truth > 0.5)
    said = known & (predicted >= 0.5)
    return {
        "micro_f1": _f1((has & said).sum(keepdims=True), (has.sum() + said.sum())[None]),
        "macro_f1": _f1((has & said).sum(0), has.sum(0) + said.sum(0)),
        "average_precision": _mean(
            [average_precision(predicted[known[:, c], c], has[known[:, c], c]) for c in range(predicted.shape[1])]
        ),
    }


def average_precision(scores: Array, positive: Array) -> float:
    """sum_n (R_n - R_{n-1}) P_n over the distinct thresholds, without interpolation.  scores, positive: [P].

    NaN without a positive row.  Equal scores share one threshold.
    """
    if not positive.any():
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    scores, hits = scores[order], positive[order].cumsum()
    last = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)
    found = hits[last]
    return float(np.sum(np.diff(found, prepend=0) * found / (last + 1)) / found[-1])


def _check(predicted: Array, truth: Array) -> None:
    if predicted.ndim != 2 or truth.shape != predicted.shape:
        raise ValueError(f"expected probabilities [P, C] and labels [P, C], found {predicted.shape} and {truth.shape}")


def _f1(both: Array, total: Array) -> float:
    """Mean of 2 TP / (2 TP + FP + FN) over the entries where somebody has the label or is said to."""
    return _mean(list(2 * both[total > 0] / total[total > 0]))


def _mean(values: list[float]) -> float:
    defined = [v for v in values if not np.isnan(v)]
    return float(np.mean(defined)) if defined else float("nan")

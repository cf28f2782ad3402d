"""A model's errors group by group, and the gaps between groups: a fairness audit.

    demographic parity   max_c    max_g P(said c | g)         - min_g P(said c | g)
    equalised odds       max_y,c  max_g P(said c | true y, g) - min_g P(said c | true y, g)
    error                         max_g error(g)              - min_g error(g)

A gap is a largest difference and so never below 0, also where a model is fair: its interval cannot contain 0.  Compare
it with `shuffled`, the mean gap that is left when groups are dealt anew (for equalised odds, within each true class).
Few rows make wide gaps, so small groups are refused, and rates among few rows of a class are left out; the more groups
and classes, the further up gap, interval and `shuffled` lie, all three.
Demographic parity asks for equal rates whatever the truth, so it contradicts accuracy where base rates differ.
Sources: Dwork et al., arXiv:1104.3913; Hardt et al., "Equality of opportunity in supervised learning",
arXiv:1610.02413.  For two classes the gaps are the usual differences of selection, true and false positive rates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import bootstrap
from ..estimate import Accounted, Estimate, mean
from ._checked import alike, codes, finite, probabilities

Array = NDArray[Any]
_SHUFFLES = 200


@dataclass(frozen=True)
class GroupReport(Accounted):
    """Of groups with enough rows: rows; error; spread: standard deviation of what is predicted (of several
    columns, the root of their summed variance: 0 only where all rows get the same).  overall: error of all their rows.

    gaps: by name; shuffled: their means over random groups.  refused: {group: rows} with too few, which count nowhere.
    """

    rows: Mapping[str, int]
    refused: Mapping[str, int]
    overall: Estimate
    error: Mapping[str, Estimate]
    spread: Mapping[str, Estimate]
    gaps: Mapping[str, Estimate]
    shuffled: Mapping[str, float]


def group_report(
    predicted: Array,
    truth: Array,
    member: Array,
    *,
    least: int = 50,
    least_of_class: int = 10,
    groups: Array | None = None,
    seed: int = 0,
    draws: int = 1000,
) -> GroupReport:
    """predicted: probabilities [P, C] with codes [P], or numbers [P] with numbers [P].  member: [P], each row's group.

    The error is the share of wrong rows, or the mean absolute error in the target's unit.  Numbers have no rates, so
    only the gap of the error.  Equalised odds compare groups on a true class of which they have `least_of_class` rows;
    NaN if no two groups do.  Intervals: rows are resampled, or `groups` [P] of rows that belong together.
    ValueError if fewer than two groups have `least` rows, or for bad input.
    """
    predicted, truth, error = _checked(predicted, truth)
    groups = alike(groups, len(truth))
    names, code, count = _members(member, len(truth))
    big = count >= least
    if big.sum() < 2:
        found = ", ".join(f"{name}: {n}" for name, n in zip(names, count, strict=True))
        raise ValueError(f"expected two groups or more of at least {least} rows, found {found}; merge small groups")
    kept = big[code]
    code = (np.cumsum(big) - 1)[code[kept]]
    predicted, truth, error = predicted[kept], truth[kept], error[kept]
    together = None if groups is None else groups[kept]
    chosen = [name for name, enough in zip(names, big, strict=True) if enough]
    gaps = _gaps(predicted, truth, error, code, len(chosen), least_of_class)

    def statistic(rows: Array) -> Mapping[str, float]:
        width = spread(predicted[rows], code[rows], len(chosen))
        return {**gaps(rows, code[rows]), **{f"spread {name}": float(v) for name, v in zip(chosen, width, strict=True)}}

    every = np.arange(len(truth))
    ends = bootstrap.intervals(statistic, len(truth), groups=together, seed=seed, draws=draws)
    estimates = {name: Estimate(value, ends[name]) for name, value in statistic(every).items()}
    rng = np.random.default_rng(seed)
    anew = [gaps(every, rng.permutation(code)) for _ in range(_SHUFFLES)]
    if "equalised_odds" in estimates:
        for gap in anew:
            gap["equalised_odds"] = gaps(every, _within(truth, code, rng))["equalised_odds"]
    by = {
        name: mean(error[code == i], groups=None if together is None else together[code == i], seed=seed)
        for i, name in enumerate(chosen)
    }
    return GroupReport(
        rows={name: int(n) for name, n in zip(names, count, strict=True) if n >= least},
        refused={name: int(n) for name, n in zip(names, count, strict=True) if n < least},
        overall=mean(error, groups=together, seed=seed),
        error=by,
        spread={name: estimates[f"spread {name}"] for name in chosen},
        gaps={name: estimates[name] for name in anew[0]},
        shuffled={name: float(np.mean([found[name] for found in anew])) for name in anew[0]},
    )


def confusions(said: Array, truth: Array, code: Array, groups: int, classes: int) -> Array:
    """[groups, true class, said class] counts: all gaps of classes are read off them.  said, truth, code: [P]."""
    flat = (code * classes + truth) * classes + said
    return np.bincount(flat, minlength=groups * classes**2).reshape(groups, classes, classes)


def spread(predicted: Array, code: Array, groups: int) -> Array:
    """[groups] root of the summed variance of the columns of predicted [P, C] in each group; NaN without rows."""
    size = np.bincount(code, minlength=groups)
    # Differences from one of the rows: so that equal predictions, whose mean may be rounded, have a spread of just 0.
    predicted = predicted - predicted[:1]
    with np.errstate(invalid="ignore"):
        centre = np.stack([np.bincount(code, column, groups) for column in predicted.T], 1) / size[:, None]
        return np.sqrt(np.bincount(code, ((predicted - centre[code]) ** 2).sum(1), groups) / size)


def all_correct(
    correct: Array, member: Array, *, groups: Array | None = None, seed: int = 0
) -> tuple[Estimate, Estimate]:
    """(share of groups whose every row is right, mean share of right rows of a group).  correct: [P] bool.

    For groups that only count whole, such as the questions about one scene.  Groups are resampled, or sets of them:
    groups [P] must then say the same for all rows of a group.
    """
    correct = finite(correct, "correct", None)
    _, code, count = _members(member, len(correct))
    share = np.bincount(code, correct) / count
    together = alike(groups, len(correct))
    sets = None if together is None else together[np.unique(code, return_index=True)[1]]
    return mean((share == 1).astype(np.float64), groups=sets, seed=seed), mean(share, groups=sets, seed=seed)


def _gaps(
    predicted: Array, truth: Array, error: Array, code: Array, groups: int, least: int
) -> Callable[[Array, Array], dict[str, float]]:
    """(rows, their groups) -> {gap: value}.  Which rates count is settled once, on all rows."""
    said, classes = predicted.argmax(1), predicted.shape[1]
    if classes > 1:
        enough = confusions(said, truth, code, groups, classes).sum(2, keepdims=True) >= least

    def gaps(rows: Array, code: Array) -> dict[str, float]:
        size = np.bincount(code, minlength=groups)
        found = {"error": _width(np.bincount(code, error[rows], groups), size)}
        if classes > 1:
            counts = confusions(said[rows], truth[rows], code, groups, classes)
            found["demographic_parity"] = _width(counts.sum(1), size[:, None])
            found["equalised_odds"] = _width(counts, counts.sum(2, keepdims=True) * enough)
        return found

    return gaps


def _width(part: Array, whole: Array) -> float:
    """The largest difference between groups, along the first axis, of part / whole where there is a whole."""
    there = np.broadcast_to(whole, part.shape) > 0
    share = np.divide(part, whole, out=np.full(part.shape, np.nan), where=there)
    compared = (there.sum(0) > 1) if part.ndim > 1 else np.array(there.sum() > 1)
    if not compared.any():
        return float("nan")
    return float((np.fmax.reduce(share) - np.fmin.reduce(share))[compared].max())


def _within(truth: Array, code: Array, rng: np.random.Generator) -> Array:
    """The groups dealt anew among the rows of each true class."""
    order = np.lexsort((rng.random(len(code)), truth))
    out = np.empty_like(code)
    out[np.argsort(truth, kind="stable")] = code[order]
    return out


def _members(member: Array, rows: int) -> tuple[list[str], Array, Array]:
    """-> names [G], code of each row, rows of each group."""
    member = np.asarray(member)
    if member.shape != (rows,):
        raise ValueError(f"member: expected a group for each of the {rows} rows, found {list(member.shape)}")
    if (member.dtype.kind == "f" and np.isnan(member).any()) or (
        member.dtype == object and any(m is None or m != m for m in member)
    ):
        raise ValueError("member: some rows have no group; leave them out or give them a group of their own")
    names, code, count = np.unique(member, return_inverse=True, return_counts=True)
    return [str(name) for name in names], code, count


def _checked(predicted: Array, truth: Array) -> tuple[Array, Array, Array]:
    """-> predicted [P, C] (C is 1 for numbers), truth [P], error of each row [P]."""
    predicted = np.asarray(predicted)
    if predicted.ndim == 2:
        predicted = probabilities(predicted, "predicted", None, None)
        truth = codes(truth, "truth", *predicted.shape)
        return predicted, truth, (predicted.argmax(1) != truth).astype(np.float64)
    predicted = finite(predicted, "predicted", None)
    numbers = finite(truth, "truth", len(predicted))
    return predicted[:, None], numbers, np.abs(predicted - numbers)

"""The measures of a target, by its kind: what training watches and what an evaluation reports."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plait.core.errors import RecipeError, nearest

from . import bootstrap, classification, multi_label, regression, survival
from .bootstrap import Interval
from .estimate import mean

Array = NDArray[Any]


@dataclass(frozen=True)
class Measures:
    """The measures of one kind of target, on what `Head.predict` gives and the truth.

    main: the one to choose by.  rows: those that are means over rows, as row values [P].  others: the rest, as numbers.
    lower: those of which less is better.  resampled: `others` of many resamples at once, if there is a quick way.
    """

    main: str
    rows: Callable[[Array, Array], dict[str, Array]]
    others: Callable[[Array, Array], dict[str, float]]
    lower: frozenset[str] = frozenset()
    resampled: Callable[[Array, Array, Array], dict[str, Array]] | None = None

    def higher(self, name: str) -> bool:
        """Whether more of a measure is better."""
        return name not in self.lower


KINDS: Mapping[str, Measures] = {
    "class": Measures(
        "accuracy", classification.rows, classification.others, frozenset({"log_loss"}), classification.resampled
    ),
    "multi_label": Measures("average_precision", multi_label.rows, multi_label.others, frozenset({"log_loss"})),
    "number": Measures("r2", regression.rows, regression.others, frozenset({"mae", "rmse"})),
    "survival": Measures("c_index", survival.rows, survival.others),
}


def of(kind: str) -> Measures:
    """The measures of a kind of target.  ValueError if there are none."""
    if kind not in KINDS:
        raise ValueError(f"there are no measures for targets of kind {kind!r}.{nearest(kind, KINDS)}")
    return KINDS[kind]


def score(kind: str, predicted: Array, truth: Array) -> dict[str, float]:
    """{measure: value}, the main one first; NaN where the rows do not define one.

    predicted: probabilities [P, C] (class, multi_label), numbers [P] or risks [P].
    truth: codes [P], labels [P, C] with NaN where unknown, numbers [P], or time and event [P, 2].
    """
    measures = of(kind)
    means = {name: _mean(v) for name, v in measures.rows(predicted, truth).items()}
    found = {**means, **measures.others(predicted, truth)}
    return {measures.main: found.pop(measures.main), **found}


def check(kind: str, measure: str) -> None:
    """RecipeError if targets of a kind have no such measure."""
    two = {"multi_label": np.eye(2), "survival": np.ones((2, 2)), "number": np.arange(2.0)}.get(kind, np.arange(2))
    predicted = two if kind == "number" else np.arange(2.0) if kind == "survival" else np.eye(2)
    value_of(kind, measure, predicted, two)


def value_of(kind: str, measure: str, predicted: Array, truth: Array) -> tuple[float, Array | None]:
    """-> one measure, and its values per row [P] if it is a mean over rows.  RecipeError if there is none such."""
    measures = of(kind)
    means = measures.rows(predicted, truth)
    if measure in means:
        return _mean(means[measure]), means[measure]
    others = measures.others(predicted, truth)
    if measure not in others:
        meant = nearest(measure, {**means, **others})
        raise RecipeError(f"Targets of kind {kind} have no measure {measure!r}.{meant}")
    return float(others[measure]), None


def intervals(
    kind: str, predicted: Array, truth: Array, *, groups: Array | None = None, seed: int = 0, draws: int = 1000
) -> dict[str, Interval]:
    """{measure: 95 % interval} by resampling rows, or groups [P] of rows.  NaN where it is not defined.

    Nor is it where every resample says the same, as when all rows are right: that cannot tell how sure it is.
    """
    measures = of(kind)
    means = {
        name: mean(values, groups=groups, seed=seed).interval
        for name, values in measures.rows(predicted, truth).items()
    }
    rest = _rest(measures, lambda of: of(predicted, truth), len(truth), groups, seed, draws)
    return {**means, **{name: ends if ends[0] < ends[1] else (float("nan"),) * 2 for name, ends in rest.items()}}


def differences(
    kind: str,
    first: Array,
    second: Array,
    truth: Array,
    *,
    groups: Array | None = None,
    seed: int = 0,
    draws: int = 1000,
) -> dict[str, Interval]:
    """{measure: 95 % interval of `first` minus `second`}, paired: both are read on the same resampled rows."""
    measures = of(kind)
    one, two = measures.rows(first, truth), measures.rows(second, truth)
    means = {name: mean(one[name] - two[name], groups=groups, seed=seed, exact=False).interval for name in one}

    def gap(of: _Of) -> dict[str, Any]:
        a, b = of(first, truth), of(second, truth)
        return {name: a[name] - b[name] for name in a}

    return {**means, **_rest(measures, gap, len(truth), groups, seed, draws)}


def _mean(values: Array) -> float:
    """Of the rows that have a value."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


_Of = Callable[[Array, Array], Mapping[str, Any]]


def _rest(
    measures: Measures,
    statistic: Callable[[_Of], Mapping[str, Any]],
    size: int,
    groups: Array | None,
    seed: int,
    draws: int,
) -> dict[str, Interval]:
    """Intervals of a statistic of `others`.  statistic: gets a function that reads `others` on the resampled rows."""
    if (quick := measures.resampled) is not None:
        return bootstrap.many_intervals(
            lambda times: statistic(lambda predicted, truth: quick(predicted, truth, times)),
            size,
            groups=groups,
            seed=seed,
            draws=draws,
        )
    return bootstrap.intervals(
        lambda rows: statistic(lambda predicted, truth: measures.others(predicted[rows], truth[rows])),
        size,
        groups=groups,
        seed=seed,
        draws=draws,
    )

"""Intervals by resampling rows, or whole groups of rows that belong together.

Percentile intervals: they stay inside a measure's range, follow any monotone change of scale, and need no jackknife
(which BCa does, and which is unstable for ranks and F1).  Plain ones are too narrow on few groups, so the percentiles
are widened to match Student's t: Hesterberg, "What teachers should know about the bootstrap", The American
Statistician 2015 (expanded percentile interval).

A paired comparison is the interval of the difference: of row values, or of a statistic that evaluates both arms on the
same rows.  Equal seeds give equal intervals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv, ndtr, stdtrit

Array = NDArray[Any]
Interval = tuple[float, float]

_CHUNK = 2_000_000


def mean_interval(
    values: Array,
    *,
    groups: Array | None = None,
    seed: int = 0,
    draws: int = 2000,
    level: float = 0.95,
    exact: bool = True,
) -> Interval:
    """Interval of the mean of values [P].  NaN on fewer than 2 groups.

    Resampling cannot see what did not happen once: where all values are 0, or all are 1, the far end is the exact
    binomial one (Clopper & Pearson, Biometrika 1934), a group counting as one trial.  exact=False leaves that out, for
    differences, whose 0 is not the end of a range.
    """
    values = np.asarray(values, np.float64)
    code, count = codes(groups, len(values))
    if count < 2:
        return float("nan"), float("nan")
    if exact and values.min() == values.max() and values[0] in (0.0, 1.0):
        far = float(betaincinv(1, count, (1 + level) / 2))
        return (1 - far, 1.0) if values[0] else (0.0, far)
    total, size = np.bincount(code, values, count), np.bincount(code, minlength=count)
    means = [(times @ total) / (times @ size) for times in _times(count, draws, seed)]
    return _percentiles(np.concatenate(means), count, level)


def intervals(
    statistic: Callable[[Array], Mapping[str, float]],
    size: int,
    *,
    groups: Array | None = None,
    seed: int = 0,
    draws: int = 1000,
    level: float = 0.95,
) -> dict[str, Interval]:
    """Interval of each number that `statistic(rows)` gives; rows: [n] of 0 .. size - 1, with repeats.

    Resamples in which a number is NaN are left out; NaN where more than half are, or on fewer than 2 groups.
    """
    _, count = codes(groups, size)
    found: dict[str, list[float]] = {}
    for chosen in resamples(size, draws, groups=groups, seed=seed) if count > 1 else ():
        for name, value in statistic(chosen).items():
            found.setdefault(name, []).append(value)
    if not found:
        return {name: (float("nan"), float("nan")) for name in statistic(np.arange(size))}
    return {name: _percentiles(np.array(values), count, level) for name, values in found.items()}


def many_intervals(
    statistic: Callable[[Array], Mapping[str, Array]],
    size: int,
    *,
    groups: Array | None = None,
    seed: int = 0,
    draws: int = 1000,
    level: float = 0.95,
) -> dict[str, Interval]:
    """As `intervals`, of a statistic that takes many resamples at once: `statistic(times)` -> {name: [D]}.

    times: [D, size], how often each row is in each resample.
    """
    code, count = codes(groups, size)
    if count < 2:
        return {name: (float("nan"), float("nan")) for name in statistic(np.ones((1, size), np.int64))}
    parts = [statistic(times[:, code]) for times in _times(count, draws, seed)]
    return {name: _percentiles(np.concatenate([part[name] for part in parts]), count, level) for name in parts[0]}


def _times(count: int, draws: int, seed: int) -> Iterator[Array]:
    """[d, count] at a time: how often each of `count` groups is drawn."""
    rng = np.random.default_rng(seed)
    step = max(1, _CHUNK // count)
    for start in range(0, draws, step):
        chosen = rng.integers(count, size=(min(step, draws - start), count))
        flat = chosen + count * np.arange(len(chosen))[:, None]
        yield np.bincount(flat.ravel(), minlength=chosen.size).reshape(chosen.shape)


def resamples(size: int, draws: int, *, groups: Array | None = None, seed: int = 0) -> Iterator[Array]:
    """Rows [n] drawn with replacement; with groups [size], whole groups are drawn, so n varies."""
    code, count = codes(groups, size)
    order = np.argsort(code, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(code, minlength=count))[:-1])
    rng = np.random.default_rng(seed)
    for _ in range(draws):
        chosen = rng.integers(count, size=count)
        yield chosen if groups is None else np.concatenate([members[g] for g in chosen])


def codes(groups: Any, size: int) -> tuple[Array, int]:
    """The group of each row as a number from 0, and how many groups; every row is its own group where None is given."""
    if groups is None:
        return np.arange(size), size
    given = np.asarray(groups)
    if given.shape != (size,):
        raise ValueError(f"expected a group for each of the {size} rows, found shape {given.shape}")
    names, code = np.unique(given, return_inverse=True)
    return code, len(names)


def _percentiles(values: Array, groups: int, level: float) -> Interval:
    defined = values[~np.isnan(values)]
    if 2 * len(defined) < len(values):
        return float("nan"), float("nan")
    tail = ndtr(-np.sqrt(groups / (groups - 1)) * stdtrit(groups - 1, (1 + level) / 2))
    low, high = np.quantile(defined, [tail, 1 - tail])
    return float(low), float(high)

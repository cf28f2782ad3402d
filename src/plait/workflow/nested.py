"""Arms that are tuned alike and judged on rows that picked nothing.

Every arm gets the same number of trials: its recipe as it stands, then Sobol points over its knobs, where arms that
share a knob try the same values.  The first search of a unit judges all of them, further ones the better half of those;
what wins by the mean is trained anew and judged at the unit.
Where most searches pick from the outer quarter of a range, the range goes on at that end, once, for every arm.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from plait.core.random import key
from plait.core.recipe import Recipe
from plait.data.schema import Schema

from .defaults import resolve
from .prepare import Progress, silent
from .trials import Outcome, Place, Trial, higher, run_all
from .tune import Knob, knobs_of, points

TRIALS = 16
"""Of every arm, its recipe as it stands included."""
MORE = 8
"""Trials beyond the end of a range."""
TOGETHER = 4
"""Trials that one process does in turn, on a table that it reads once."""
MOST = 0.8
"""Share of the searches that agree on an end before it is said to be too near."""


@dataclass(frozen=True)
class Unit:
    """Where arms are judged, and which searches pick their settings there."""

    place: Place
    searches: tuple[int, ...]


@dataclass(frozen=True)
class Grounds:
    """Where arms are tuned and judged.  searches: each judges trials by its test rows, that no unit is judged by."""

    schema: Schema
    searches: tuple[Place, ...]
    units: tuple[Unit, ...]


@dataclass(frozen=True)
class Arm:
    """A recipe that is tuned.  knobs: its own, beside those that all recipes have, or in their place.

    seeds: final models of each unit.  modalities: those that it sees; None: all.
    """

    name: str
    recipe: Recipe
    knobs: tuple[Knob, ...] = ()
    seeds: int = 1
    modalities: tuple[str, ...] | None = None

    @property
    def searched(self) -> list[Knob]:
        """All of its knobs."""
        return list({knob.path: knob for knob in (*knobs_of(self.recipe), *self.knobs)}.values())


Scores = np.ndarray[Any, np.dtype[np.float64]]


@dataclass
class Searched:
    """An arm's search.  settings: [T], of each trial.  scores: [S, T], higher is better, -inf where one was not asked.

    picked: the trial of each unit.  edges: settings whose best value still lies at the end of a range that went on.
    """

    settings: list[tuple[str, ...]]
    scores: Scores
    picked: list[int] = field(default_factory=list)
    edges: list[str] = field(default_factory=list)


@dataclass
class Judged:
    """What was found of an arm.  finals: of each unit, one outcome for each seed."""

    search: Searched
    finals: list[list[Outcome]]

    def values(self) -> Scores:
        """[U] the measure at each unit, the mean over seeds."""
        return np.array([np.mean([outcome.value for outcome in unit]) for unit in self.finals])


def judge(
    grounds: Grounds,
    arms: Sequence[Arm],
    measure: str,
    *,
    tag: tuple[Any, ...],
    trials: int | None = None,
    settings: Mapping[str, Sequence[str]] | None = None,
    progress: Progress = silent,
) -> dict[str, Judged]:
    """Tune every arm and judge it at every unit.

    tag: from which all model seeds come.  trials: of each arm; `TRIALS` if None.  What was done before comes from the
    cache, so a second call goes on where the first one was stopped.  settings: of each arm, where nothing is searched.
    """
    bench = _Bench(grounds, arms, measure, tag, progress)
    if settings is None:
        searches = bench.tune(TRIALS if trials is None else trials)
    else:
        nowhere = np.zeros((0, 1))
        searches = [Searched([tuple(settings[arm.name])], nowhere, [0] * len(grounds.units)) for arm in arms]
    jobs = [
        [final(grounds, arm, found.settings[at], measure, tag, u, s) for s in range(arm.seeds)]
        for arm, found in zip(arms, searches, strict=True)
        for u, at in enumerate(found.picked)
    ]
    finals = iter(bench.outcomes(jobs))
    return {
        arm.name: Judged(found, [next(finals) for _ in grounds.units])
        for arm, found in zip(arms, searches, strict=True)
    }


class _Bench:
    """Where arms are searched side by side."""

    def __init__(
        self,
        grounds: Grounds,
        arms: Sequence[Arm],
        measure: str,
        tag: tuple[Any, ...],
        progress: Progress,
    ) -> None:
        self.grounds, self.arms, self.measure, self.tag, self.progress = grounds, arms, measure, tag, progress
        kind = next(iter(grounds.schema.targets.values())).kind if grounds.schema.targets else ""
        self.sign = 1.0 if measure.startswith("retrieval/") or higher(measure, kind) else -1.0
        self.done, self.count = 0, sum(arm.seeds for arm in arms) * len(grounds.units)

    def outcomes(self, jobs: Sequence[Sequence[Trial]]) -> list[list[Outcome]]:
        found = []
        for outcomes in run_all(jobs):
            found.append(outcomes)
            self.done += len(outcomes)
            self.progress("trials", self.done, self.count)
        return found

    def tune(self, trials: int) -> list[Searched]:
        """Every arm's search, ranges that end too early gone on with."""
        seed = key(*self.tag, "points")
        first = [[(), *rest] for rest in points([arm.searched for arm in self.arms], trials - 1, seed)]
        searches = [Searched(asked, found) for asked, found in zip(first, self.search(first), strict=True)]
        ends = {end for arm, found in zip(self.arms, searches, strict=True) for end in _ends(arm.searched, found, 0.25)}
        if ends:
            wider = [[_beyond(knob, ends) for knob in arm.searched] for arm in self.arms]
            more = points(wider, MORE, seed + 1)
            for knobs, found, asked, scores in zip(wider, searches, more, self.search(more), strict=True):
                inside = len(found.settings)
                found.settings = [*found.settings, *asked]
                found.scores = np.concatenate([found.scores, scores], 1)
                if _better(found.scores, inside):
                    found.edges = sorted(path for path, _ in ends & _ends(knobs, found, 0.5))
        for found in searches:
            found.picked = [int(found.scores[list(unit.searches)].mean(0).argmax()) for unit in self.grounds.units]
        return searches

    def search(self, settings: Sequence[Sequence[tuple[str, ...]]]) -> list[Scores]:
        """[S, T] of each arm: what its trials say at each search, higher is better; -inf where one was not asked."""
        scores = [np.full((len(self.grounds.searches), len(each)), -np.inf) for each in settings]
        every, groups = range(len(self.arms)), list(dict.fromkeys(unit.searches for unit in self.grounds.units))
        half = [-(-len(each) // 2) for each in settings]
        self.count += sum(len(settings[a]) + half[a] * (len(group) - 1) for a in every for group in groups)
        self._ask(settings, scores, [(a, group[0], range(len(settings[a]))) for a in every for group in groups])
        better = [
            (a, s, (-scores[a][group[0]]).argsort(kind="stable")[: half[a]])
            for a in every
            for group in groups
            for s in group[1:]
        ]
        self._ask(settings, scores, better)
        return scores

    def _ask(
        self,
        settings: Sequence[Sequence[tuple[str, ...]]],
        scores: Sequence[Scores],
        asked: Sequence[tuple[int, int, Sequence[int] | np.ndarray[Any, Any]]],
    ) -> None:
        """Fill in the scores of what is asked: arm, search, and its trials."""

        def trial(a: int, s: int, t: int) -> Trial:
            place, seed = self.grounds.searches[s], key(*self.tag, "search", s)
            return _trial(self.grounds, self.arms[a], settings[a][t], place, self.measure, seed)

        parts = [(a, s, list(ts)[i : i + TOGETHER]) for a, s, ts in asked for i in range(0, len(ts), TOGETHER)]
        jobs = [[trial(a, s, t) for t in ts] for a, s, ts in parts]
        for (a, s, ts), outcomes in zip(parts, self.outcomes(jobs), strict=True):
            values = np.array([self.sign * outcome.value for outcome in outcomes])
            # A trial that broke down is never picked.
            scores[a][s, ts] = np.where(np.isfinite(values), values, -np.inf)


def final(
    grounds: Grounds, arm: Arm, settings: Sequence[str], measure: str, tag: tuple[Any, ...], u: int, s: int
) -> Trial:
    """What judges an arm at unit `u`, with its seed number `s`."""
    trial = _trial(grounds, arm, settings, grounds.units[u].place, measure, key(*tag, "final", u, s))
    return replace(trial, final=True)


def _trial(grounds: Grounds, arm: Arm, settings: Sequence[str], place: Place, measure: str, seed: int) -> Trial:
    recipe = resolve(grounds.schema, arm.recipe, settings)
    return Trial(place, recipe, measure, seed % 2**31, arm.modalities)


def _better(scores: Scores, inside: int) -> bool:
    """Whether the best trial beyond the ranges is better than the best of those `inside`, by more than searches differ.

    Else the two are as good, and which was picked is chance.
    """
    if scores.shape[1] == inside:
        return False
    gains = scores[:, inside:].max(1) - scores[:, :inside].max(1)
    spread = float(np.std(gains, ddof=1)) / math.sqrt(len(gains)) if len(gains) > 1 else 0.0
    return float(gains.mean()) > spread


def _beyond(knob: Knob, ends: set[tuple[str, bool]]) -> Knob:
    """The knob outside of its range, at the ends that are asked for; from one to the other if both are."""
    asked = [upper for upper in (False, True) if (knob.path, upper) in ends]
    if len(asked) == 2:
        return replace(knob, low=knob.beyond(upper=False).low, high=knob.beyond(upper=True).high)
    return knob.beyond(*asked) if asked else knob


def _ends(knobs: Sequence[Knob], found: Searched, share: float) -> set[tuple[str, bool]]:
    """(setting, whether it is the upper end) of ranges that most searches pick from the outer `share` of, or beyond."""
    picked = [found.settings[at] for at in found.scores.argmax(1)]
    out: set[tuple[str, bool]] = set()
    for knob in knobs:
        said = [setting.partition("=")[2] for settings in picked for setting in settings if _names(setting, knob)]
        places = [knob.place(float(value)) for value in said] if knob.scale == "log" else []
        for upper in (False, True):
            beyond = sum(place >= 1 - share if upper else place <= share for place in places)
            if beyond >= math.ceil(MOST * len(picked)):
                out.add((knob.path, upper))
    return out


def _names(setting: str, knob: Knob) -> bool:
    return setting.partition("=")[0] == knob.path

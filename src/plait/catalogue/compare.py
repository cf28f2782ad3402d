"""`plait compare`: is fusion worth it on this table, and is any published method better than the tuned default?

Every recipe is tuned within each fold by as many trials as any other, and judged on rows that picked nothing.  Beside
those that are asked for stand simple baselines (`panel`).  All are tested against one control, and Holm's procedure
raises the p values for there being many.  The best of many is partly lucky: what picking it is worth is said too.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from plait.core.errors import DataError
from plait.core.random import key
from plait.data.cache import writing
from plait.data.schema import Schema
from plait.measures import scores
from plait.measures.multiple_testing import adjusted
from plait.report.figures import forest
from plait.report.words import is_share
from plait.workflow.costs import Cost, cost
from plait.workflow.nested import TRIALS, Judged, Searched, final, judge
from plait.workflow.prepare import Progress, silent
from plait.workflow.run import write_json
from plait.workflow.trials import higher

from .contenders import BEST, Contenders, contenders, ground
from .grounds import Ground
from .panel import LATE, simple
from .results import Results
from .sentences import sentences
from .verdict import Estimate

SEEDS = 3
"""Final models of the control in each fold: all others are held against their mean."""


@dataclass(frozen=True)
class Row:
    """What one recipe reached.  cost: None of what trains no network.  most: what the measure goes up to from 0, if it
    does.
    """

    recipe: str
    level: Estimate
    cost: Cost | None
    most: float = math.inf

    @property
    def interval(self) -> tuple[float, float]:
        """Of the level, within what the measure can be."""
        low, high = self.level.interval
        return (low, high) if math.isinf(self.most) else (max(0.0, low), min(self.most, high))

    def account(self) -> dict[str, Any]:
        cost = None if self.cost is None else self.cost.account()
        return {"recipe": self.recipe, "mean": self.level.difference, "interval": self.interval, "cost": cost}


@dataclass(frozen=True)
class Contrast:
    """a minus b, b the control.  p_corrected: by Holm, over all tests.  resolution: what the strictest of them sees."""

    a: str
    b: str
    found: Estimate
    p_corrected: float
    resolution: float

    def account(self) -> dict[str, Any]:
        corrected = {"p": self.found.p, "p_corrected": self.p_corrected, "resolution": self.resolution}
        return {"a": self.a, "b": self.b, **self.found.account(), **corrected}


@dataclass(frozen=True)
class Picked:
    """recipe: the best of those asked for and the control.  mean: its own.  corrected: what one gets by picking the
    best one on the other folds, since the best of many is partly lucky.
    """

    recipe: str
    mean: float
    corrected: float


@dataclass(frozen=True)
class Compared:
    """rows: the best first; tests in their order.  recipes: those that were asked for, without what was `left` out.

    single: the modality that is most often the best one.  resolution: the difference from the control that Holm's
    strictest test of a recipe could have seen; None where no recipe was asked for.  picked: None of one fold.
    """

    target: str
    measure: str
    higher: bool
    control: str
    rows: list[Row]
    tests: list[Contrast]
    recipes: list[str]
    single: str
    resolution: float | None
    picked: Picked | None
    trials: int
    folds: int
    repeats: int
    notes: list[str]
    left: dict[str, str]

    @property
    def words(self) -> str:
        """The answer, as one says it."""
        return " ".join(sentences(self))

    def account(self) -> dict[str, Any]:
        """As `plait compare --json` prints it."""
        return {
            "target": self.target,
            "measure": self.measure,
            "control": self.control,
            "rows": [row.account() for row in self.rows],
            "tests": [test.account() for test in self.tests],
            "resolution": self.resolution,
            "words": self.words,
            "picked": None if self.picked is None else vars(self.picked),
            "trials": self.trials,
            "folds": self.folds,
            "repeats": self.repeats,
            "notes": self.notes,
            "left_out": self.left,
        }

    def forest(self) -> str:
        """All levels with their intervals, as SVG; MissingExtra without matplotlib."""
        group = {self.control: "control"} | dict.fromkeys(self.recipes, "asked")
        rows = [(row.recipe, (row.level.difference, row.interval), group.get(row.recipe, "")) for row in self.rows]
        mark = next(row.level.difference for row in self.rows if row.recipe == self.control)
        return forest(rows, self.measure, mark)

    def save(self, folder: Path) -> None:
        """`compare.json` and `forest.svg`.  DataError if the disk refuses."""
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "compare.json", self.account())
        drawn = self.forest().replace("<svg", '<svg style="background: #ffffff"', 1)
        with writing(folder / "forest.svg") as part:
            part.write_text(drawn, encoding="utf-8")


def compare(
    source: Any,
    target: str | Sequence[str] | None = None,
    *,
    recipes: Iterable[str] = (),
    family: str | None = None,
    quick: bool = False,
    control: str = LATE,
    measure: str | None = None,
    folds: int = 5,
    repeats: int = 1,
    trials: int = TRIALS,
    budget: float | None = None,
    time: str | None = None,
    settings: Iterable[str] = (),
    seed: int = 0,
    schema: Schema | str | Path | None = None,
    kinds: Mapping[str, str] | None = None,
    ignore: Iterable[str] = (),
    split: str | None = None,
    group: str | None = None,
    strict: bool = False,
    progress: Progress = silent,
) -> Compared:
    """Compare recipes on a table, by its first target.

    recipes: by name or file.  family, quick: entries of the catalogue that fit the table; quick ones take at most
    three times as long as the default.  control: what all others are tested against.  measure: the target's main one
    if None.  repeats: of the folds.  budget: minutes, roughly; what does not fit drops whole repeats, of all recipes.
    time: a column, so that later rows judge what was learned from earlier ones.  settings: of all recipes.
    What was trained before comes from the cache: a second call goes on where the first one was stopped.

    DataError if the table has no target or is too small, or a budget too small for one repeat, RecipeError if a named
    recipe does not fit it, or the target has no such measure.
    """
    if budget is not None and budget <= 0:
        raise DataError(f"A budget is in minutes and more than 0, found {budget:g}.")
    how = {
        "schema": schema,
        "target": target,
        "kinds": dict(kinds or {}),
        "ignore": list(ignore),
        "split": split,
        "group": group,
        "strict": strict,
    }
    where = ground(source, how, time=time, k=folds, seed=seed)
    name, about = next(iter(where.grounds.schema.targets.items()))
    measure = measure or scores.of(about.kind).main
    scores.check(about.kind, measure)
    tag, asked = ("compare", seed), f"test/{measure}"
    first = key(*tag, "search", 0) % 2**31
    who = contenders(
        where, asked, first, recipes=recipes, family=family, quick=quick, settings=list(settings), control=control
    )
    if repeats > 1 and (time is not None or len(where.grounds.units) == 1):
        raise DataError("Rows that are given, or in order of time, make the same folds each time: leave --repeats out.")
    minutes = _minutes(where, who, trials)
    if budget is not None and minutes > budget:
        raise DataError(
            f"One repeat takes about {minutes:.2g} minutes, and the budget is {budget:g}. Raise it, or ask for fewer "
            "--trials, --folds or recipes."
        )
    fitting = repeats if budget is None else min(repeats, int(budget / minutes))
    if fitting > 1:
        where = ground(source, how, time=time, k=folds, repeats=fitting, seed=seed)
    arms = [replace(arm, seeds=SEEDS if arm.name == control else 1) for arm in who.arms]
    judged = judge(where.grounds, arms, asked, tag=tag, trials=trials, progress=progress)
    alone = {modality: judged[arm] for arm, modality in who.alone.items()}
    best, chosen = _best(where, alone)
    results = Results(where, {**judged, **simple(where, asked, alone), BEST: best})
    paid = {}
    for i, arm in enumerate(arms):
        progress("costs", i, len(arms))
        search = judged[arm.name].search
        trial = final(where.grounds, arm, search.settings[search.picked[0]], asked, tag, 0, 0)
        paid[arm.name] = cost(trial)
    paid[BEST] = paid[next(arm for arm, modality in who.alone.items() if modality == chosen)]
    paid["ensemble"] = _sum([paid[arm] for arm in who.alone])
    rises = higher(asked, about.kind)
    tests = _tests(results, control, [arm for arm in results.judged if arm != control])
    seen = [test.resolution for test in tests if test.a in who.asked]
    most = 1.0 if is_share(measure) else math.inf
    rows = [Row(arm, results.level(arm), paid.get(arm), most) for arm in results.judged]
    rows.sort(key=lambda row: -row.level.difference if rises else row.level.difference)
    order = [row.recipe for row in rows]
    judging = np.unique(np.concatenate([unit.place.test for unit in where.grounds.units]))
    apart = len(np.unique(where.groups[judging]))
    together = f", in {apart} groups of rows that belong together" if apart < len(judging) else ""
    notes = [f"Judged on {len(judging)} rows{together}."]
    if fitting < repeats:
        notes.append(f"{fitting} of {repeats} repeats done: more do not fit a budget of {budget:g} minutes.")
    return Compared(
        target=name,
        measure=measure,
        higher=rises,
        control=control,
        rows=rows,
        tests=sorted(tests, key=lambda test: order.index(test.a)),
        recipes=who.asked,
        single=chosen,
        resolution=max(seen, default=None),
        picked=_picked(results, [control, *(one for one in who.asked if one != control)], fitting, rises),
        trials=trials,
        folds=len(where.grounds.units) // fitting,
        repeats=fitting,
        notes=[*where.notes, *notes],
        left=who.left,
    )


def _minutes(where: Ground, who: Contenders, trials: int) -> float:
    """What one repeat takes, roughly."""
    later = len(where.grounds.searches) / len(where.grounds.units) - 1
    # Final models are trained twice, the second time with their validation rows.
    each = len(where.grounds.units) * (trials * (1 + later / 2) + 2)
    return each * sum(who.seconds[arm.name] for arm in who.arms) / torch.get_num_threads() / 60


def _best(where: Ground, alone: Mapping[str, Judged]) -> tuple[Judged, str]:
    """In each fold the modality with the best score where its settings were picked; and which it is most often."""
    finals, chosen = [], []
    for u, unit in enumerate(where.grounds.units):

        def score(modality: str, u: int = u, searches: Sequence[int] = unit.searches) -> float:
            search = alone[modality].search
            return float(search.scores[list(searches), search.picked[u]].mean())

        chosen.append(max(alone, key=score))
        finals.append(alone[chosen[-1]].finals[u][:1])
    return Judged(Searched([()], np.zeros((0, 1))), finals), Counter(chosen).most_common(1)[0][0]


def _sum(each: Sequence[Cost]) -> Cost:
    """Of trainings one after the other."""
    memory = [cost.memory for cost in each if cost.memory is not None]
    return Cost(
        sum(cost.seconds for cost in each),
        max(memory) if len(memory) == len(each) else None,
        sum(cost.parameters for cost in each),
        sum(cost.multiply_adds for cost in each),
    )


def _tests(results: Results, control: str, others: Sequence[str]) -> list[Contrast]:
    found = [results.difference(other, control)[0] for other in others]
    raised = adjusted([one.p for one in found], "holm")
    return [
        Contrast(a, control, one, float(p), one.seen_from(len(found)))
        for a, one, p in zip(others, found, raised, strict=True)
    ]


def _picked(results: Results, names: Sequence[str], repeats: int, rises: bool) -> Picked | None:
    """Folds of one repeat share no test row, so what is best on all but one of them is judged fairly on that one."""
    values = np.stack([results.judged[name].values() for name in names]) * (1 if rises else -1)
    units = values.shape[1] // repeats
    if units < 2 or len(names) < 2:
        return None
    got = []
    for repeat in np.split(values, repeats, axis=1):
        others = repeat.sum(1, keepdims=True) - repeat
        got += [repeat[others[:, u].argmax(), u] for u in range(units)]
    best = names[int(values.mean(1).argmax())]
    return Picked(best, results.level(best).difference, float(np.mean(got)) * (1 if rises else -1))

"""Choosing a recipe's settings for one table, on validation rows alone.

Trial 0 is the recipe as it stands; the others are points of a scrambled Sobol sequence over the knobs that the recipe
has.  Every trial is judged by the same grouped folds of the rows that are not test rows, so the test figure of the
model that is fitted afterwards stays honest.
Source of the sequence: Sobol (1967), scrambled as in Owen (1998); of searching so: Bergstra & Bengio, JMLR 2012.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml
from scipy.stats import qmc

from plait.core.errors import DataError
from plait.core.recipe import Recipe
from plait.data.cache import writing
from plait.data.copies import together
from plait.data.schema import Schema
from plait.data.splits import folds_among, strata
from plait.data.splits import split as split_rows
from plait.data.table import Table
from plait.measures import scores

from .defaults import resolve
from .fit import learnable
from .prepare import Encoded, Progress, encode, silent
from .train import train


@dataclass(frozen=True)
class Knob:
    """Where a setting is searched: from `low` to `high` evenly or by logarithms, or among `values`."""

    path: str
    scale: Literal["log", "linear", "choice"]
    low: float = 0.0
    high: float = 1.0
    values: tuple[Any, ...] = ()

    def at(self, u: float) -> Any:
        """The setting's value at a number in [0, 1)."""
        if self.scale == "choice":
            return self.values[int(u * len(self.values))]
        if self.scale == "linear":
            return round(self.low + u * (self.high - self.low), 2)
        return float(f"{self.low * math.exp(u * math.log(self.high / self.low)):.2g}")

    def place(self, value: float) -> float:
        """Where a value of a logarithmic knob lies: 0 at `low`, 1 at `high`."""
        return math.log(value / self.low) / math.log(self.high / self.low)

    def beyond(self, upper: bool) -> Knob:
        """The knob over half as many decades again, outside its upper or its lower end."""
        step = math.sqrt(self.high / self.low)
        ends = (self.high, self.high * step) if upper else (self.low / step, self.low)
        return replace(self, low=ends[0], high=ends[1])


KNOBS = (
    Knob("training.optimizer.adamw.lr", "log", 3e-4, 6e-3),
    Knob("training.optimizer.sgd.lr", "log", 0.01, 1.0),
    Knob("training.optimizer.adamw.weight_decay", "log", 0.01, 1.0),
    Knob("width", "choice", values=(64, 128, 256)),
    Knob("fusion.self_attention.layers", "choice", values=(1, 2, 3)),
    Knob("fusion.self_attention.dropout", "linear", 0.0, 0.5),
    Knob("missing.modality_dropout.rate", "linear", 0.0, 0.5),
    Knob("objectives.singles.weight", "choice", values=(0.0, 0.3, 1.0)),
    Knob("objectives.info_nce.weight", "choice", values=(0.0, 0.1, 0.5, 1.0)),
)
"""What is searched, as far as the recipe has it."""


@dataclass(frozen=True)
class Trial:
    """settings: beside the recipe's own; none for trial 0.  score: the main measure, or minus the loss, per fold."""

    settings: tuple[str, ...]
    score: tuple[float, ...]

    @property
    def mean(self) -> float:
        return float(np.mean(self.score))


@dataclass
class Tuned:
    """recipe: with the best trial's settings.  measure: what was judged; higher is better."""

    recipe: Recipe
    measure: str
    trials: list[Trial] = field(default_factory=list)

    def account(self) -> dict[str, Any]:
        """As `plait tune --json` prints it."""
        best = max(range(len(self.trials)), key=lambda i: self.trials[i].mean)
        return {
            "measure": self.measure,
            "best": best,
            "trials": [{"settings": list(t.settings), "score": t.mean, "folds": list(t.score)} for t in self.trials],
            "recipe": self.recipe.dump(),
        }


def tune(
    source: Any,
    target: str | Sequence[str] | None = None,
    *,
    trials: int = 16,
    k: int = 3,
    recipe: str | Path | Mapping[str, Any] | Recipe | None = None,
    settings: Iterable[str] = (),
    out: str | Path | None = None,
    seed: int = 0,
    schema: Schema | str | Path | None = None,
    kinds: Mapping[str, str] | None = None,
    ignore: Iterable[str] = (),
    split: str | None = None,
    group: str | None = None,
    strict: bool = False,
    cache: Path | None = None,
    progress: Progress = silent,
) -> Tuned:
    """Search `trials` settings of a recipe by `k` folds of the rows that `fit` with this seed would not test on.

    out: where the recipe with the best settings is written.  Raises what `fit` raises; ValueError if trials < 1.
    """
    if trials < 1:
        raise ValueError(f"at least one trial is needed, found {trials}")
    table = learnable(
        source, schema, target=target, kinds=kinds or {}, ignore=ignore, split=split, group=group, strict=strict
    )
    chosen = resolve(table.schema, recipe, settings)
    rows = split_rows(table, groups=together(table), seed=seed)
    try:
        inner = list(_folds(table, np.union1d(rows["train"], rows["validation"]), k, seed))
    except ValueError as error:
        raise DataError(f"The table is too small to tune on: {error}") from error
    stored: dict[str, Encoded] = {}
    done: list[Trial] = []
    measure = ""
    # Where the loss is what is judged, its own settings stay: a weight of 0 would make it the least.
    knobs = [knob for knob in knobs_of(chosen) if table.schema.targets or not knob.path.startswith("objectives.")]
    searched: list[tuple[str, ...]] = [(), *points([knobs], trials - 1, seed)[0]]
    for i, extra in enumerate(searched):
        progress("tune", i, trials)
        trial = resolve(table.schema, chosen, extra)
        key = repr(trial.encoders)
        if key not in stored:
            stored[key] = encode(table, trial, cache=cache, progress=progress)
        found = [_judge(table, stored[key], trial, part, seed) for part in inner]
        measure = found[0][0]
        done.append(Trial(extra, tuple(score for _, score in found)))
    progress("tune", trials, trials)
    best = max(done, key=lambda t: t.mean)
    tuned = Tuned(resolve(table.schema, chosen, best.settings), measure, done)
    if out is not None:
        with writing(Path(out)) as part:
            part.write_text(yaml.safe_dump(tuned.recipe.dump(), sort_keys=False), encoding="utf-8")
    return tuned


def knobs_of(recipe: Recipe) -> list[Knob]:
    """The knobs that a recipe has.  Losses keep some weight where there are balance components, that weigh them."""
    plain = recipe.dump()
    knobs = [knob for knob in KNOBS if _has(plain, knob.path)]
    if not recipe.balance:
        return knobs
    return [replace(knob, values=tuple(v for v in knob.values if v)) if knob.values else knob for knob in knobs]


def points(arms: Sequence[Sequence[Knob]], count: int, seed: int) -> list[list[tuple[str, ...]]]:
    """Of each arm, the settings of `count` Sobol points over its knobs.

    A knob that several arms have takes the same values in all of them.  None for an arm that has no knobs.
    """
    every = list({knob.path: knob for arm in arms for knob in arm}.values())
    if not every or count < 1:
        return [[] for _ in arms]
    power = math.ceil(math.log2(count + 1))
    drawn = qmc.Sobol(len(every), scramble=True, rng=np.random.default_rng(seed)).random_base2(power)[:count]
    at = {knob.path: column for knob, column in zip(every, drawn.T, strict=True)}
    return [
        [tuple(f"{knob.path}={knob.at(at[knob.path][i])}" for knob in arm) for i in range(count)] if arm else []
        for arm in arms
    ]


def _has(plain: Any, path: str) -> bool:
    """Whether the component of a setting stands in the recipe, by name if not with that argument."""
    *owner, _ = path.split(".")
    for key in owner:
        if not isinstance(plain, Mapping) or key not in plain:
            return False
        plain = plain[key]
    return True


def _folds(table: Table, rows: np.ndarray, k: int, seed: int) -> Iterator[dict[str, np.ndarray]]:
    """Within each fold, part of the training rows picks the epoch, so that judging does not."""
    codes, groups = strata(table), together(table)

    def deal(among: np.ndarray, parts: int, number: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        return folds_among(table, among, parts, groups=groups, stratify=codes, seed=number)

    for learn, judge in deal(rows, k, seed):
        fit_rows, pick = next(deal(learn, 6, seed + 1))
        yield {"train": fit_rows, "validation": pick, "test": judge}


def _judge(
    table: Table, encoded: Encoded, recipe: Recipe, rows: Mapping[str, np.ndarray], seed: int
) -> tuple[str, float]:
    """-> measure, score on the fold's own test rows, higher is better."""
    once = recipe.training.model_copy(update={"refit": False})
    fitted = train(table, encoded, recipe.model_copy(update={"training": once}), rows, seed=seed)
    if not table.schema.targets:
        best = fitted.model.info["best"]
        # Where the last epoch is taken, none is the best.
        return "minus loss", -float(best["value"] if best else fitted.history[-1]["validation"]["loss"])
    name, target = next(iter(table.schema.targets.items()))
    measures = scores.of(target.kind)
    prefix = "" if len(table.schema.targets) == 1 else f"{name}/"
    value = fitted.metrics["test"].get(prefix + measures.main, math.nan)
    return prefix + measures.main, value if measures.higher(measures.main) else -value

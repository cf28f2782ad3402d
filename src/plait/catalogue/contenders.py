"""What a comparison is between: the user's own table cut into folds, and the recipes that can learn from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from plait.core.errors import DataError, PlaitError, RecipeError, nearest
from plait.core.random import key
from plait.data.copies import copies, left_out
from plait.data.schema import Schema
from plait.data.splits import split as split_rows
from plait.data.table import Table
from plait.workflow.aside import aside
from plait.workflow.defaults import RECIPES, resolve
from plait.workflow.fit import learnable
from plait.workflow.nested import Arm
from plait.workflow.trials import Outcome, Trial, run
from plait.workflow.tune import Knob

from . import entry as entries
from .entry import Entry
from .grounds import FEWEST, Ground, dealt, enough, forward, given
from .panel import LATE, single_ones

Array = np.ndarray[Any, np.dtype[Any]]
BEST = "best single"  # where settings are picked; in another fold it may be another modality
SIMPLE = ("majority", "ensemble", "concatenation", BEST)
"""Who takes part without being trained."""
QUICK = 3.0
"""How many times the control's training time a recipe may take to count as quick."""


def read(source: Any, how: Mapping[str, Any], rows: Array | None = None) -> Table:
    """The table, or some of its rows; in another process too."""
    table = learnable(source, **how)
    return table if rows is None else table.take(rows)


def ground(
    source: Any, how: Mapping[str, Any], *, time: str | None = None, k: int = 5, repeats: int = 1, seed: int = 0
) -> Ground:
    """The folds of a table whose first target is judged.

    By the split column if the table has one, by `time` if it is named, else stratified; rows of one group, and rows
    that repeat each other's cells, stay together.  Its notes say what was left out or left apart.
    DataError if there is no target, or too little of it.
    """
    whole = read(source, how)
    if not whole.schema.targets:
        raise DataError("What is compared is how well a target is told. Name one with --target COLUMN.")
    place = str(Path(source).absolute()) if isinstance(source, str | Path) else whole
    groups, notes = _groups(whole, k)
    kept = enough(whole, groups)
    if not kept.all():
        notes.append(f"{int((~kept).sum())} rows are of a class with fewer than {FEWEST} groups, and left out.")
    if time is not None:
        when = _moments(whole, time)
        if (lost := int((kept & np.isnan(when)).sum())) > 0:
            notes.append(f"{lost} rows say no {time}, and are left out.")
        kept &= ~np.isnan(when)
    rows = np.flatnonzero(kept)
    load = partial(read, place, how, rows)
    table, together = whole.take(rows), groups[rows]
    try:
        if time is not None:
            found = forward(load, table, together, when[rows], k=k)
        elif table.schema.split is not None:
            found = given(load, table, together, split_rows(table, seed=seed)["test"], key("split", seed) % 2**31)
            notes.append(f"The column {table.schema.split} says which rows judge: one fold.")
        else:
            found = dealt(load, table, together, key("folds", seed) % 2**31, k=k, repeats=repeats)
    except ValueError as error:
        raise DataError(f"The table is too small to compare on: {error}") from error
    return replace(found, notes=notes)


@dataclass(frozen=True)
class Contenders:
    """arms: the default recipe, the same on each modality alone, and what was asked for.

    alone: {arm: its modality}.  asked: names of arms.  left: {recipe: why it was left out}.  seconds: that one training
    of each arm took, with one thread.
    """

    arms: list[Arm]
    alone: dict[str, str]
    asked: list[str]
    left: dict[str, str]
    seconds: dict[str, float]


def contenders(
    where: Ground,
    measure: str,
    seed: int,
    *,
    recipes: Iterable[str],
    family: str | None,
    quick: bool,
    settings: Sequence[str],
    control: str = LATE,
) -> Contenders:
    """Who takes part.  Each is trained once first, where the first search begins: whoever cannot be is left out.

    control: whom the others are tested against; RecipeError if there is no such contender.
    recipes: names or files; RecipeError if one of them does not fit the table.  family: entries of the catalogue;
    quick: of all families those that take at most `QUICK` times as long as the default.
    """
    schema = where.grounds.schema
    whole = resolve(schema, None, settings)
    named = [_arm(name, schema, settings) for name in dict.fromkeys(recipes)]
    offered, left = _offered(family, schema, settings) if quick or family is not None else ([], {})
    alone = [f"{one} alone" for one in schema.modalities]
    if control not in (known := [LATE, *SIMPLE, *alone, *(arm.name for arm in (*named, *offered))]):
        raise RecipeError(f"There is no {control!r} to be the control.{nearest(control, known)}")
    singles = {f"{arm.name} alone": arm for arm in single_ones(where, whole)}
    offered = [arm for arm in offered if arm.name not in {one.name for one in named}]
    arms = [Arm(LATE, whole), *(replace(arm, name=name) for name, arm in singles.items()), *named, *offered]
    if len({arm.name for arm in arms}) < len(arms):
        raise RecipeError("A recipe's file is called like another contender. Give it another name.")
    found = _tried(where, arms, measure, seed)
    for arm in (*arms[: len(singles) + 1], *named):
        if isinstance(why := found[arm.name], str):
            raise RecipeError(f"{arm.name} cannot be trained on this table: {why}")
    seconds = {name: one.seconds for name, one in found.items() if isinstance(one, Outcome)}
    for arm in offered:
        if isinstance(why := found[arm.name], str):
            left[arm.name] = why
        elif quick and seconds[arm.name] > QUICK * seconds[LATE]:
            left[arm.name] = f"it takes {seconds[arm.name] / seconds[LATE]:.1f} times as long as the default"
    arms = [arm for arm in arms if arm.name not in left]
    if control not in (*SIMPLE, *(arm.name for arm in arms)):
        raise RecipeError(f"{control} cannot be the control: {left.get(control, 'some folds have no row of it')}.")
    asked = [arm.name for arm in (*named, *offered) if arm.name not in left]
    return Contenders(arms, {name: arm.name for name, arm in singles.items()}, asked, left, seconds)


def _offered(family: str | None, schema: Schema, settings: Sequence[str]) -> tuple[list[Arm], dict[str, str]]:
    """Every entry of a family, or of all where None -> arms, and why others do not fit the table."""
    arms, left = [], {}
    for name in entries.names():
        entry = entries.load(name)
        if family in (None, entry.family) and not entry.measures:
            try:
                arms.append(_arm(name, schema, settings))
            except PlaitError as error:
                left[name] = str(error)
    return arms, left


def _tried(where: Ground, arms: Sequence[Arm], measure: str, seed: int) -> dict[str, Outcome | str]:
    """Each arm's first trial of the first search, or why it cannot be trained on this table."""
    place = where.grounds.searches[0]
    jobs = [partial(_try, Trial(place, arm.recipe, measure, seed, arm.modalities)) for arm in arms]
    with aside(jobs) as found:
        return {arm.name: one for arm, one in zip(arms, found, strict=True)}


def _try(trial: Trial) -> Outcome | str:
    try:
        return run(trial)
    except PlaitError as error:
        return str(error)


def _arm(name: str, schema: Schema, settings: Sequence[str]) -> Arm:
    published = name in entries.names() and not (RECIPES / f"{name}.yaml").exists()
    return Arm(name, resolve(schema, name, settings), own_knobs(entries.load(name)) if published else ())


def own_knobs(entry: Entry) -> tuple[Knob, ...]:
    """What is searched of an entry's recipe, beside what all recipes are tuned by."""
    found = []
    for path, searched in entry.knobs.items():
        if searched.choice is not None:
            found.append(Knob(path, "choice", values=tuple(searched.choice)))
        elif searched.log is not None:
            found.append(Knob(path, "log", *searched.log))
        elif searched.linear is not None:
            found.append(Knob(path, "linear", *searched.linear))
    return tuple(found)


def _groups(table: Table, k: int) -> tuple[Array, list[str]]:
    """-> [N] codes of rows that belong together, and what was not looked at."""
    column = table.schema.group
    also = [] if column is None else [[None if v in (None, "") else v for v in table.column(column).to_pylist()]]
    groups, few = copies(table, k, also)
    return groups, left_out(few)


def _moments(table: Table, column: str) -> Array:
    """[N] float, NaN where nothing is said.  DataError if the column is neither numbers nor dates."""
    said = table.column(column)
    if pa.types.is_string(said.type) or pa.types.is_large_string(said.type):
        said = pc.if_else(pc.equal(pc.utf8_trim_whitespace(said), ""), None, said)
    for kind in (pa.float64(), pa.timestamp("us")):
        try:
            return _numbers(said.cast(kind))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            continue
    raise DataError(f"{column} is no time: its values are neither numbers nor dates such as 2024-05-17.")


def _numbers(said: pa.ChunkedArray) -> Array:
    whole = said if pa.types.is_floating(said.type) else said.cast(pa.int64()).cast(pa.float64())
    return np.asarray(pc.fill_null(whole, float("nan")).to_numpy(), np.float64)

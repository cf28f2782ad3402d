"""Where claims are checked: fresh draws of made tables, and grouped folds of collected ones.

Made tables: 20 draws, each with test rows of its own, and two more that settings are picked on.

Collected tables: stratified 5-fold that tears no group, R times.  Within each outer fold's training rows a quarter
picks the settings, or, where that is few rows, each of several quarters in turn.  Rows without a label, and classes of
fewer than five groups, are left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from plait.core.random import key
from plait.data.duplicates import groups_of
from plait.data.splits import folds_among, split, strata
from plait.data.table import Table
from plait.workflow.nested import Grounds, Unit
from plait.workflow.trials import Load, Place

from .entry import Data
from .tables import SCARCITY, maker, named, table

Array = np.ndarray[Any, np.dtype[Any]]
DRAWS = 20
SEARCHES = 2
FOLDS = 5
PICKS = 4
"""Parts of an outer fold's labelled training rows, of which one picks the settings, or several in turn."""
ENOUGH = 60
"""Rows that pick the settings, if there are as many."""
STOP = 6
"""Parts of what a search trains on, of which one takes the place of validation rows."""
FEWEST = 5
"""Groups of a class."""


ONCE = "training.refit=false"
"""Of made tables, on which rows are as many as one likes: nothing is trained again with the validation rows."""


@dataclass(frozen=True)
class Ground:
    """Where one claim is checked.  made: whether each unit has data of its own.  truth, groups: of the table's rows.

    notes: what was left out.
    """

    grounds: Grounds
    made: bool
    table: Table
    groups: Array
    notes: list[str] = field(default_factory=list)

    @property
    def settings(self) -> list[str]:
        """Of every recipe that is judged here."""
        return [ONCE] if self.made else []

    @property
    def rows(self) -> int:
        """Test rows over all units, each once."""
        return len(self.groups)


def ground(data: Data, tag: tuple[Any, ...], repeats: int = 1) -> Ground:
    """Of a data set.  tag: draws are its own, so that two regimes have the same bits; folds are those of its last part,
    the attempt, so that a collected table has one panel of baselines.  DataError if there is no such set.
    """
    return _draws(data, tag) if maker(named(data)[0]) is not None else _folds(data, repeats, tag[-1])


def _draws(data: Data, tag: tuple[Any, ...]) -> Ground:
    def place(*what: Any) -> Place:
        seed = key(*tag, *what) % 2**31
        load = partial(table, data, seed=seed)
        drawn = load()
        rows = split(drawn)
        return Place(load, drawn.fingerprint(), rows["train"], rows["validation"], rows["test"])

    searches = tuple(place("search", s) for s in range(SEARCHES))
    units = tuple(Unit(place("draw", u), tuple(range(SEARCHES))) for u in range(DRAWS))
    drawn = units[0].place.load()
    tested = sum(len(unit.place.test) for unit in units)
    return Ground(Grounds(drawn.schema, searches, units), True, drawn, np.arange(tested))


def _folds(data: Data, repeats: int, attempt: Any) -> Ground:
    name, knobs = named(data)
    train, labels = (knobs.get(knob) for knob in SCARCITY)
    load = partial(_labelled, data)
    whole = load()
    found = dealt(
        load, whole, groups_of(whole), key(name, attempt) % 2**31, repeats=repeats, train=train, labels=labels
    )
    left = len(table(data)) - len(whole)
    notes = [f"{left} rows have no label, or one of a class with fewer than {FEWEST} groups."] if left else []
    return replace(found, notes=notes)


def dealt(
    load: Load,
    whole: Table,
    groups: Array,
    seed: int,
    *,
    k: int = FOLDS,
    repeats: int = 1,
    train: int | None = None,
    labels: int | None = None,
) -> Ground:
    """Grouped, stratified folds of a table, each with searches among its own training rows.

    load: gives the table in whatever process.  groups: [N].  train, labels: rows that each training gets, and labels
    among them.  Rows without a label are in every training and in no test.  ValueError if there are too few groups.
    """
    codes = _codes(whole)
    unlabelled = np.flatnonzero(codes < 0)
    cut = _grouped(whole, groups, codes, seed)

    def some(rows: Array, count: int | None) -> Array:
        """As many of the rows, classes in their shares."""
        if count is None or count >= len(rows):
            return rows
        ids, share = [whole.ids[row] for row in rows], count / len(rows)
        together = groups[rows].tolist()
        kept = split(ids, fractions=(share, 0.0, 1 - share), groups=together, stratify=codes[rows], seed=seed)
        return rows[kept["train"]]

    def outer() -> Iterator[_Fold]:
        labelled = np.flatnonzero(codes >= 0)
        for learn, test in folds_among(whole, labelled, k, repeats=repeats, groups=groups, stratify=codes, seed=seed):
            learned = some(learn, train)
            known = some(learned, labels)
            hidden = np.setdiff1d(learned, known)
            yield _Fold(known, np.union1d(hidden, unlabelled), test, hidden)

    return _searched(load, whole, groups, outer(), cut)


def given(load: Load, whole: Table, groups: Array, test: Array, seed: int) -> Ground:
    """Rows that are given judge what was learned from all others: one unit.  test: rows, of which some have a label."""
    codes = _codes(whole)
    labelled, unlabelled = np.flatnonzero(codes >= 0), np.flatnonzero(codes < 0)
    known, also = np.setdiff1d(labelled, test), np.setdiff1d(unlabelled, test)
    fold = _Fold(known, also, np.intersect1d(labelled, test), also[:0])
    return _searched(load, whole, groups, [fold], _grouped(whole, groups, codes, seed))


def forward(load: Load, whole: Table, groups: Array, when: Array, *, k: int = FOLDS) -> Ground:
    """Later rows judge what was learned from earlier ones: of k + 1 parts in order of time, each but the first.

    when: [N], in whatever unit; rows of one moment, or of one group, are never on both sides.  Validation rows, and
    those that pick the settings, are the last of what is learned from.  ValueError if a part has nothing before it.
    """
    codes = _codes(whole)

    def earlier(rows: Array, than: Array) -> Array:
        return rows[(when[rows] < when[than].min()) & ~np.isin(groups[rows], groups[than])]

    def cut(rows: Array, parts: int) -> Iterator[tuple[Array, Array]]:
        last = rows[np.argsort(when[rows], kind="stable")][-max(1, len(rows) // parts) :]
        if not len(rest := earlier(rows, last)):
            raise ValueError(f"of {len(rows)} rows none is earlier than the last of {parts} parts and of another group")
        yield np.sort(rest), np.sort(last)

    def outer() -> Iterator[_Fold]:
        labelled = np.flatnonzero(codes >= 0)
        for test in np.array_split(labelled[np.argsort(when[labelled], kind="stable")], k + 1)[1:]:
            known, also = earlier(labelled, test), earlier(np.flatnonzero(codes < 0), test)
            if not len(known):
                raise ValueError(f"no row is earlier than the first of the {len(test)} that are to be judged")
            yield _Fold(known, also, np.sort(test), also[:0])

    return _searched(load, whole, groups, outer(), cut)


_Cut = Callable[[Array, int], Iterator[tuple[Array, Array]]]
"""Rows into so many parts -> for one part after the other the rest, and the part."""


@dataclass(frozen=True)
class _Fold:
    """known: rows whose labels are learned from.  also: those learned from without.  hidden: of them, with a label."""

    known: Array
    also: Array
    test: Array
    hidden: Array


def _grouped(whole: Table, groups: Array, codes: Array, seed: int) -> _Cut:
    """Stratified parts that tear no group."""

    def cut(rows: Array, parts: int) -> Iterator[tuple[Array, Array]]:
        return folds_among(whole, rows, parts, groups=groups, stratify=codes, seed=seed)

    return cut


def _searched(
    load: Load,
    whole: Table,
    groups: Array,
    outer: Iterable[_Fold],
    cut: _Cut,
) -> Ground:
    """Each fold with its searches."""
    content = whole.fingerprint()
    searches: list[Place] = []
    units: list[Unit] = []
    for fold in outer:
        known, also = fold.known, fold.also
        inner = [(np.union1d(fit, also), pick) for fit, pick in cut(known, PICKS)]
        first = len(searches)
        for fit, pick in inner[: min(PICKS, math.ceil(ENOUGH * PICKS / len(known)))]:
            rest, stop = next(cut(np.setdiff1d(fit, also), STOP))
            searches.append(Place(load, content, np.union1d(rest, also), stop, pick, fold.hidden))
        fit, pick = inner[0]
        place = Place(load, content, fit, pick, fold.test, fold.hidden)
        units.append(Unit(place, tuple(range(first, len(searches)))))
    return Ground(Grounds(whole.schema, tuple(searches), tuple(units)), False, whole, groups)


def _labelled(data: Data) -> Table:
    """The rows with a label, of classes that have enough groups for a fold each."""
    whole = table(data)
    return whole.take(np.flatnonzero(enough(whole, groups_of(whole)) & (_codes(whole) >= 0)))


def enough(whole: Table, groups: Array) -> Array:
    """[N] bool: rows without a label, and those of classes that have a group for each fold."""
    codes = _codes(whole)
    kept = np.ones(len(whole), bool)
    if next(iter(whole.schema.targets.values())).kind == "class":
        for code in np.unique(codes[codes >= 0]):
            if len(np.unique(groups[codes == code])) < FEWEST:
                kept &= codes != code
    return kept


def _codes(whole: Table) -> Array:
    codes = strata(whole)
    return np.zeros(len(whole), np.int64) if codes is None else codes

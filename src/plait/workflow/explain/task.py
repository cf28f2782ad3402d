"""What each modality is worth to the task: to models trained anew on every set of them; a part of `worth`."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from plait.core.errors import DataError, RecipeError, RunError
from plait.data.read import read
from plait.data.splits import folds_among, strata
from plait.measures.worth.shapley import Worth, shapley, wanted
from plait.report.figures import forest
from plait.report.words import name

from ..trials import Place, Trial, run_all
from .section import CannotSay, Drawing, Grid, Part
from .subject import Array, Company, Subject, by_row
from .wording import gained, listed, numbered, span

FOLDS = 3
STOP = 6
"""Parts of what a fold learns from, of which one takes the place of validation rows."""
MOST = 32
"""Sets of modalities, about; above, orders in which modalities come are drawn."""
METHOD = (
    "To the task: the run's recipe and settings, with nothing tuned anew, trained on every set of modalities (or on "
    "those that drawn orders need), and judged on rows that each training did not see: "
    f"{FOLDS} folds of all rows with a label, which tear no group. Those models learned from fewer rows than this one. "
    "Intervals resample rows, or groups: how far another training would differ is not in them. The two answers are "
    "about different rows: compare their order and sizes, not their last digit."
)


def to_the_task(subject: Subject, here: Worth) -> Part:
    """Takes minutes to hours; what was trained is kept, so that it goes on where it was stopped.  here: to this model.

    Nothing of other rows than the run's own.
    """
    if not len(subject.learned):
        return Part()
    try:
        there = task_worth(subject)
    except (CannotSay, DataError, RecipeError, RunError) as why:
        return Part([f"What modalities are worth to the task, beyond this model, cannot be said: {why}"])
    names, measure = subject.names, subject.measure
    order = np.argsort(-there.value, kind="stable").tolist()
    points = [
        (f"{names[i]}, {said}", numbered(w, i), group)
        for i in order
        for said, w, group in (("this model", here, ""), ("the task", there, "asked"))
    ]
    drawing = Drawing(
        forest(points, measure, 0.0, gains=True),
        "Squares: what each modality adds to this model. Diamonds: to models trained anew on each set of modalities.",
    )
    grid = Grid(
        f"Worth in {name(measure)}, to this model and to the task",
        ("modality", "to this model", "to the task"),
        [(names[i], span(here, i, measure), span(there, i, measure)) for i in order],
    )
    return Part(_words(subject, here, there, order), [drawing], [grid], [METHOD], {"task": there.account()})


def task_worth(subject: Subject) -> Worth:
    """Shapley values over models trained anew.  CannotSay where trials judge another target, or rows are too few."""
    names, orders = subject.names, _orders(len(subject.names), subject.seed)
    truth, target = subject.encoded.dataset.target(subject.target), subject.target
    try:
        places = list(_places(subject))
    except ValueError as why:
        raise CannotSay(f"there are too few groups of rows ({why})") from why
    if target != next(iter(subject.table.schema.targets)):
        raise CannotSay(f"trainings are judged by the first target, and {target} is not it.")
    asked = [company for company in wanted(names, orders=orders, seed=subject.seed) if company]
    trials = [[_trial(subject, place, company)] for place in places for company in asked]
    found = []
    for (outcome,) in run_all(trials):
        assert outcome.predicted is not None
        found.append(outcome.predicted)
        subject.progress("trainings on sets of modalities", len(found), len(trials))
    at, labels = truth.rows.numpy(), truth.values.numpy()
    place_of = dict(zip(at.tolist(), range(len(at)), strict=True))
    values: dict[Company, Array] = {company: np.zeros(len(at)) for company in [(), *asked]}
    for f, place in enumerate(places):
        judged = np.array([place_of[row] for row in place.test.tolist()])
        learned = np.array([place_of[row] for row in np.union1d(place.train, place.validation).tolist()])
        values[()][judged] = _unseen(subject, labels[learned], labels[judged])
        for i, company in enumerate(asked):
            said = by_row(subject.about.kind, found[f * len(asked) + i], labels[judged])[subject.measure]
            if np.isnan(said).any():
                raise CannotSay("in one of the folds no two rows can be compared.")
            values[company][judged] = said
    turned = {company: subject.sign * each for company, each in values.items()}
    return shapley(turned, names, orders=orders, groups=subject.all_groups[at], seed=subject.seed)


def _orders(modalities: int, seed: int) -> int | None:
    """How many orders to draw; none where all sets are few enough."""
    if 2**modalities - 1 <= MOST:
        return None
    names = [str(i) for i in range(modalities)]
    orders = 4
    while len(wanted(names, orders=orders + 2, seed=seed)) - 1 <= MOST:
        orders += 2
    return orders


def _places(subject: Subject) -> Iterator[Place]:
    """A fold of the rows with a label each.  ValueError on fewer groups than folds."""
    table, groups, codes = subject.table, subject.all_groups, strata(subject.table)
    assert codes is not None
    content = table.fingerprint()
    load = partial(read, subject.model.info["source"], subject.model.schema)
    known = np.asarray(subject.encoded.dataset.target(subject.target).rows.numpy())

    def cut(rows: Array, parts: int) -> Iterator[tuple[Array, Array]]:
        return folds_among(table, rows, parts, groups=groups, stratify=codes, seed=subject.seed)

    for learned, test in cut(known, FOLDS):
        train, validation = next(cut(learned, STOP))
        yield Place(load, content, train, validation, test)


def _trial(subject: Subject, place: Place, company: Company) -> Trial:
    seed = int(subject.model.info["seed"])
    return Trial(place, subject.model.recipe, f"test/{subject.measure}", seed, company, final=True)


def _unseen(subject: Subject, learned: Array, judged: Array) -> Array:
    """[n] the measure of labels `judged` if one only knows how labels are spread among the `learned`."""
    kind = subject.about.kind
    if kind == "class":
        learned = np.eye(len(subject.about.classes))[learned]
    # Of times to an event: one risk for all.
    said = np.ones(()) if kind == "survival" else np.nan_to_num(np.nanmean(learned, axis=0))
    predicted = np.broadcast_to(said, (len(judged), *said.shape))
    return by_row(kind, predicted, judged)[subject.measure]


def _words(subject: Subject, here: Worth, there: Worth, order: list[int]) -> list[str]:
    names, measure = subject.names, subject.measure
    first = order[0]
    said = []
    if there.interval[first, 0] > 0:
        said.append(
            f"To the task itself, with models trained anew on sets of modalities, {names[first]} is worth most: "
            f"{gained(float(there.value[first]), measure)}, and to this model "
            f"{gained(float(here.value[first]), measure)}."
        )
    if idle := [names[i] for i in order if not there.interval[i, 0] > 0]:
        said.append(f"That {listed(idle, 'or')} adds anything to the task was not shown.")
    unused = [i for i in order if there.interval[i, 0] > 0 and not here.interval[i, 0] > 0]
    for i in unused:
        said.append(
            f"{names[i]} is worth {gained(float(there.value[i]), measure)} to the task, but that this model makes "
            "use of it was not shown."
        )
    return said

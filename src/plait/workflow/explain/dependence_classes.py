"""What a model of classes leans on: answers that are right, that change, and that follow another row's cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from plait.measures.estimate import Estimate, mean
from plait.measures.trust.dependence import Interference, Reliance, dependence, interference
from plait.report.figures import forest
from plait.report.words import amount

from .section import Drawing, Grid, Part
from .subject import Subject
from .wording import estimated, level, listed, shown

SHARE = "accuracy"
METHOD = (
    "Cell of another class: a row gets the cell of a row of another class; the answer follows if it becomes that "
    "class. Cell of any row: dealt anew, as for the loss. Both are shares of the rows that have the modality. What "
    "moves the answers: those that change with the cell of any row, and the probability that goes elsewhere (total "
    "variation), of modalities from which no loss was shown in accuracy or log loss; that was found on the same rows, "
    "so some of them may matter after all."
)


def of_classes(subject: Subject, judged: Sequence[str]) -> Part:
    """judged: the modalities that have rows enough."""
    found: dict[str, Reliance] = {}
    for i, name in enumerate(judged):
        subject.progress("modalities", i, len(judged))
        one = dependence(
            subject.exchanged,
            subject.truth,
            subject.have[subject.labelled][:, [subject.names.index(name)]],
            [name],
            groups=subject.groups[subject.labelled],
            seed=subject.seed,
        )[name]
        moved, followed = (_exact(subject, name, share) for share in (one.moved, one.followed))
        found[name] = replace(one, moved=moved, followed=followed)
    order = sorted(found, key=lambda name: -found[name].accuracy.value)
    idle = {name: _interference(subject, name) for name in order if not _needed(found[name])}
    points = [(name, (found[name].accuracy.value, found[name].accuracy.interval), "") for name in order]
    drawing = Drawing(
        forest(points, SHARE, 0.0, gains=True),
        "How much accuracy is lost when rows get another row's cell of a modality, with 95 % intervals; the line is "
        "nothing. Modalities that say the same can all look spare.",
    )
    return Part(
        [*_words(found, order), *_idle(idle)],
        [drawing],
        [_grid(found, order), *([_moves(idle)] if idle else [])],
        [METHOD],
        {
            "classes": len(subject.classes),
            "reliance": {name: found[name].account() for name in order},
            "interference": {name: one.account() for name, one in idle.items()},
        },
    )


def _interference(subject: Subject, name: str) -> Interference:
    rows, at = subject.labelled, subject.names.index(name)
    found = interference(
        subject.exchanged,
        name,
        np.ones(len(rows), bool),
        subject.have[rows][:, [at]],
        [name],
        groups=subject.groups[rows],
        seed=subject.seed,
    )
    return replace(found, moved=_exact(subject, name, found.moved))


def _exact(subject: Subject, name: str, share: Estimate) -> Estimate:
    """A share of the rows that have a modality, with the exact binomial end where it is none of them, or all."""
    if share.value not in (0, 1):
        return share
    groups = subject.groups[subject.labelled][subject.have[subject.labelled, subject.names.index(name)]]
    return mean(np.full(len(groups), share.value), groups=groups, seed=subject.seed)


def _needed(found: Reliance) -> bool:
    """Whether a loss was shown."""
    return shown(found.accuracy) or shown(found.log_loss)


def _words(found: Mapping[str, Reliance], order: Sequence[str]) -> list[str]:
    shown = [name for name in order if found[name].accuracy.interval[0] > 0]
    surer = [name for name in order if name not in shown and found[name].log_loss.interval[0] > 0]
    if not shown:
        said = [
            f"That the model leans on {listed(order, 'or')} was not shown: where rows get the cells of others, no loss "
            "of right answers was shown."
        ]
    else:
        first = shown[0]
        near = level(first, {name: found[name].accuracy.interval for name in order})
        beside = f", or on {listed(near, 'or')}, as their intervals overlap" if near else ""
        said = [
            f"The model leans most on {first}{beside}: where rows get the {first} of other rows, "
            f"{amount(found[first].accuracy.value, SHARE)} fewer answers are right."
        ]
        if shown[1:]:
            rest = [f"{name} ({amount(found[name].accuracy.value, SHARE)})" for name in shown[1:]]
            said.append(f"A loss was shown of {listed(rest)}, too.")
        if np.isfinite(found[first].moved.value):
            said.append(
                f"Where rows get the {first} of a row of another class, {_percent(found[first].moved)} of the answers "
                f"change, and {_percent(found[first].followed)} become that class."
            )
    if surer:
        said.append(
            f"With {listed(surer, 'or')} of other rows, true classes get less probability, but that fewer answers are "
            "right was not shown."
        )
    return said


def _idle(idle: Mapping[str, Interference]) -> list[str]:
    said = []
    for name, one in idle.items():
        start = f"That the model needs {name} was not shown"
        if one.moved.value > 0:
            said.append(
                f"{start}, but it does not leave the answers alone: {_percent(one.moved)} of them change with the "
                f"{name} of another row."
            )
        else:
            said.append(
                f"{start}, and no answer was seen to change with the {name} of another row (of {one.rows} rows; the "
                f"share may be up to {100 * one.moved.interval[1]:.1f} %)."
            )
    return said


def _percent(found: Estimate) -> str:
    return f"{100 * found.value:.0f} %"


def _grid(found: Mapping[str, Reliance], order: Sequence[str]) -> Grid:
    return Grid(
        "When rows get another row's cell, in points and per cent of the rows that have the modality",
        (
            "modality",
            "rows",
            "accuracy lost",
            "log loss gained, nats",
            "answer changes, cell of another class",
            "follows that cell",
        ),
        [
            (
                name,
                str(found[name].rows),
                estimated(found[name].accuracy, SHARE),
                estimated(found[name].log_loss, "log_loss"),
                estimated(found[name].moved, SHARE),
                estimated(found[name].followed, SHARE),
            )
            for name in order
        ],
    )


def _moves(idle: Mapping[str, Interference]) -> Grid:
    return Grid(
        "What moves the answers though no loss from it was shown",
        ("modality", "rows", "answer changes, cell of any row, %", "probability that goes elsewhere, %"),
        [
            (name, str(one.rows), estimated(one.moved, SHARE), estimated(one.distance, SHARE))
            for name, one in idle.items()
        ],
    )

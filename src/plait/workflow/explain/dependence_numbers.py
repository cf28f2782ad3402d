"""What a model of numbers leans on: how much further off its answers are, and how far they move."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from plait.measures.trust.dependence import Sensitivity, sensitivity
from plait.report.figures import forest

from .section import Drawing, Grid, Part
from .subject import Subject
from .wording import between, estimated, level, listed, shown

ERROR = "mae"
METHOD = (
    "Lost is the rise of the mean absolute error. An answer moves by how far the number that is said with the other "
    "cell is from the one before. Both are means over the rows that have the modality, in the unit of the target."
)


def of_numbers(subject: Subject, judged: Sequence[str]) -> Part:
    """judged: the modalities that have rows enough."""
    found: dict[str, Sensitivity] = {}
    have = subject.have[subject.labelled]
    for i, name in enumerate(judged):
        subject.progress("modalities", i, len(judged))
        found |= sensitivity(
            subject.exchanged,
            subject.truth,
            have[:, [subject.names.index(name)]],
            [name],
            groups=subject.groups[subject.labelled],
            seed=subject.seed,
        )
    order = sorted(found, key=lambda name: -found[name].error.value)
    off = np.abs(subject.predicted[subject.labelled] - subject.truth)
    before = {name: float(off[have[:, subject.names.index(name)]].mean()) for name in order}
    points = [(name, (found[name].error.value, found[name].error.interval), "") for name in order]
    grid = Grid(
        "When rows get another row's cell, in the unit of the target",
        ("modality", "rows", "mean absolute error gained", "answers move by"),
        [(name, str(one.rows), estimated(one.error), estimated(one.moved)) for name, one in _ranked(found, order)],
    )
    drawing = Drawing(
        forest(points, ERROR, 0.0, gains=True),
        "How much the mean absolute error grows when rows get another row's cell of a modality, with 95 % intervals; "
        "the line is nothing. Modalities that say the same can all look spare.",
    )
    account = {"reliance": {name: one.account() for name, one in _ranked(found, order)}, "error_before": before}
    return Part(_words(found, order, before), [drawing], [grid], [METHOD], account)


def _ranked(found: Mapping[str, Sensitivity], order: Sequence[str]) -> list[tuple[str, Sensitivity]]:
    return [(name, found[name]) for name in order]


def _words(found: Mapping[str, Sensitivity], order: Sequence[str], before: Mapping[str, float]) -> list[str]:
    needed = [name for name in order if shown(found[name].error)]
    said = []
    if needed:
        first = needed[0]
        near = level(first, {name: found[name].error.interval for name in order})
        beside = f", or on {listed(near, 'or')}, as their intervals overlap" if near else ""
        said.append(
            f"The model leans most on {first}{beside}: where rows get the {first} of other rows, its answers are "
            f"further off by {found[first].error.value:.3g} on average ({between(found[first].error, ERROR)}; with "
            f"their own they are off by {before[first]:.3g})."
        )
        if needed[1:]:
            rest = [f"{name} (by {found[name].error.value:.3g})" for name in needed[1:]]
            said.append(f"That it gets further off was shown of {listed(rest)}, too.")
    else:
        said.append(
            f"That the model leans on {listed(order, 'or')} was not shown: where rows get the cells of others, its "
            "answers were not shown to be further off."
        )
    for name in order:
        moved = found[name].moved
        if name in needed:
            continue
        start = f"That the model needs {name} was not shown"
        if moved.value > 0:
            by = f"{moved.value:.3g} on average ({between(moved, ERROR)})"
            said.append(f"{start}, but answers move by {by} with the {name} of another row.")
        else:
            said.append(f"{start}, and no answer was seen to move with the {name} of another row.")
    return said

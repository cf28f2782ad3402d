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
    found = dict(sorted(found.items(), key=lambda item: -item[1].error.value))
    off = np.abs(subject.predicted[subject.labelled] - subject.truth)
    before = {name: float(off[have[:, subject.names.index(name)]].mean()) for name in found}
    points = [(name, (one.error.value, one.error.interval), "") for name, one in found.items()]
    grid = Grid(
        "When rows get another row's cell, in the unit of the target",
        ("modality", "rows", "mean absolute error rises by", "answers move by"),
        [(name, str(one.rows), estimated(one.error), estimated(one.moved)) for name, one in found.items()],
    )
    drawing = Drawing(
        forest(points, ERROR, 0.0, gains=True),
        "How much the mean absolute error grows when rows get another row's cell of a modality, with 95 % intervals; "
        "the line is nothing. Modalities that say the same can all look spare.",
    )
    account = {"reliance": {name: one.account() for name, one in found.items()}, "error_before": before}
    return Part(_words(found, before), [drawing], [grid], [METHOD], account)


def _words(found: Mapping[str, Sensitivity], before: Mapping[str, float]) -> list[str]:
    """found: what costs most first.  before: how far off answers are on the rows that have each modality."""
    needed = [name for name, one in found.items() if shown(one.error)]
    said = []
    if needed:
        first = needed[0]
        near = level(first, {name: one.error.interval for name, one in found.items()})
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
            f"That the model leans on {listed(list(found), 'or')} was not shown: where rows get the cells of others, "
            "its answers were not shown to be further off."
        )
    for name, moved in ((name, one.moved) for name, one in found.items() if name not in needed):
        start = f"That the model needs {name} was not shown"
        if moved.value > 0:
            by = f"{moved.value:.3g} on average ({between(moved, ERROR)})"
            said.append(f"{start}, but answers move by {by} with the {name} of another row.")
        else:
            said.append(f"{start}, and no answer was seen to move with the {name} of another row.")
    return said

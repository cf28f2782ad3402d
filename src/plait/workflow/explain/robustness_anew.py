"""Whether training anew without a modality gives back what its absence costs."""

from __future__ import annotations

from typing import Any

import numpy as np

from plait.core.errors import DataError, RecipeError, RunError
from plait.core.plain import plain
from plait.measures.estimate import Estimate, mean
from plait.report.figures import matrix
from plait.report.words import amount, is_share, name, number

from ..evaluate import models_without
from .section import Drawing, Grid, Part
from .subject import Array, Company, Subject
from .wording import estimated, listed, shown

METHOD = (
    "Trained anew: the run's recipe, settings and training rows without one modality. One training each: how much "
    "another one would differ by chance is not in the intervals."
)


def trained_anew(subject: Subject) -> Part:
    """Models trained on all modalities but one, tested where all are there and where one is absent.

    Nothing of one modality, or of other rows than the run's own.
    """
    names, measure = subject.names, subject.measure
    if len(names) < 2 or not len(subject.learned):
        return Part()
    try:
        others = models_without(subject.model, (subject.table, subject.encoded), subject.progress)
    except (DataError, RunError, RecipeError) as error:
        return Part([f"Models could not be trained anew without a modality: {error}"])
    patterns: list[Company] = [names, *(tuple(n for n in names if n != gone) for gone in names)]
    values = [[subject.values(found) for found in subject.decided(patterns).values()]]
    for name_, model in others.items():
        seen = {pattern: tuple(n for n in pattern if n != name_) for pattern in patterns}
        decided = model.decisions(subject.dataset, list(dict.fromkeys(seen.values())))
        values.append([subject.values(decided[seen[pattern]][subject.target]) for pattern in patterns])
    how: dict[str, Any] = {"groups": subject.groups[subject.labelled], "seed": subject.seed, "exact": False}
    regained = {n: mean(values[i][i] - values[0][i], **how) for i, n in enumerate(names, 1)}
    table = subject.sign * np.mean(values, axis=2)
    said = ["all", *(f"no {n}" for n in names)]
    drawings, grids = [], []
    if is_share(measure):
        drawing = matrix(table, said, measure, ("trained with", "tested with"))
        drawings = [Drawing(drawing, "A line for each training, a column for what the test rows have.")]
    else:
        lines = [(one, *(number(v, measure) for v in line)) for one, line in zip(said, table.tolist(), strict=True)]
        grids = [Grid(f"{name(measure)}, by what training and test rows have", ("trained with", *said), lines)]
    grids.append(_grid(subject, table, regained))
    account = {"trained_anew": {"patterns": said, "values": table.tolist(), "regained": plain(regained)}}
    return Part(_words(regained, measure), drawings, grids, [METHOD], account)


def _grid(subject: Subject, table: Array, regained: dict[str, Estimate]) -> Grid:
    measure = subject.measure
    return Grid(
        f"Trained anew without a modality, in {name(measure)} on all test rows",
        ("without", "this model", "trained anew", "regained"),
        [
            (n, number(table[0, i], measure), number(table[i, i], measure), estimated(found, measure))
            for i, (n, found) in enumerate(regained.items(), 1)
        ],
    )


def _words(regained: dict[str, Estimate], measure: str) -> list[str]:
    words = []
    better = [f"{n} ({amount(found.value, measure)} regained)" for n, found in regained.items() if shown(found)]
    if better:
        words.append(f"If a modality is gone for good, training anew without it pays for {listed(better)}.")
    if rest := [n for n, found in regained.items() if not shown(found)]:
        words.append(
            f"That training anew without {listed(rest, 'or')} does better than this model without it was not shown."
        )
    return words

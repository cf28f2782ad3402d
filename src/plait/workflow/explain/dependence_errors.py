"""What a model of numbers, labels or times leans on: how much further off its answers are, and how far they move."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from plait.measures.trust.dependence import Sensitivity
from plait.report.figures import forest
from plait.report.words import name as name_of

from .section import Drawing, Grid, Part
from .subject import Array, Subject, by_row
from .wording import between, estimated, level, listed, shown

TINY = 1e-30
"""Least risk."""


@dataclass(frozen=True)
class _Terms:
    """How errors of a kind of target are spoken of.  further: with `{}` for how much; before: for how it was."""

    error: str
    rises: str
    further: str
    before: str
    moved: str
    method: str


TERMS = {
    "number": _Terms(
        "mae",
        "mean absolute error rises by",
        "its answers are further off by {} on average",
        "with their own they are off by {}",
        "answers move by",
        "Lost is the rise of the mean absolute error. An answer moves by how far the number that is said with the "
        "other cell is from the one before. Both are means over the rows that have the modality, in the unit of the "
        "target.",
    ),
    "multi_label": _Terms(
        "log_loss",
        "log loss of a label rises by",
        "the log loss of a label rises by {} on average",
        "with their own it is {}",
        "probabilities of labels move by",
        "Lost is the rise of the log loss of a known label, in nats. An answer moves by how far the probability of a "
        "label, from 0 to 1, is from the one before, the mean over all labels. Both are means over the rows that have "
        "the modality.",
    ),
    "survival": _Terms(
        "misordered_pairs",
        "pairs in the wrong order rise by",
        "the share of pairs in the wrong order rises by {}",
        "with their own it is {}",
        "logarithms of risks move by",
        "Lost is the rise of the share of pairs that are in the wrong order, 1 minus the C-index, over the pairs of "
        "rows that have the modality and can be compared. An answer moves by how far the logarithm of its risk is from "
        "the one before, the mean over the rows that have the modality.",
    ),
}


def of_errors(subject: Subject, judged: Sequence[str]) -> Part:
    """judged: the modalities that have rows enough."""
    terms = TERMS[subject.about.kind]
    found: dict[str, Sensitivity] = {}
    have = subject.have[subject.labelled]

    def off(answers: Array, truth: Array) -> Array:
        return by_row(subject.about.kind, answers, truth)[terms.error]

    def read(said: Array) -> Array:
        return np.log(np.clip(said, TINY, 1 / TINY)) if subject.pairwise else said

    for i, name in enumerate(judged):
        subject.progress("modalities", i, len(judged))
        found[name] = subject.redealt(name, off, read)
    found = dict(sorted(found.items(), key=lambda item: -item[1].error.value))
    rows = {name: have[:, subject.names.index(name)] for name in found}
    said = subject.predicted[subject.labelled]
    before = {name: float(np.nanmean(off(said[on], subject.truth[on]))) for name, on in rows.items()}
    points = [(name, (one.error.value, one.error.interval), "") for name, one in found.items()]
    grid = Grid(
        "When rows get another row's cell",
        ("modality", "rows", terms.rises, terms.moved),
        [(name, str(one.rows), estimated(one.error), estimated(one.moved)) for name, one in found.items()],
    )
    drawing = Drawing(
        forest(points, terms.error, 0.0, gains=True),
        f"How much the {name_of(terms.error)} grows when rows get another row's cell of a modality, with 95 % "
        "intervals; the line is nothing. Modalities that say the same can all look spare.",
    )
    reliance = {name: one.account() for name, one in found.items()}
    account = {"error": terms.error, "reliance": reliance, "error_before": before}
    return Part(_words(terms, found, before), [drawing], [grid], [terms.method], account)


def _words(terms: _Terms, found: Mapping[str, Sensitivity], before: Mapping[str, float]) -> list[str]:
    """found: what costs most first.  before: the error on the rows that have each modality."""
    needed = [name for name, one in found.items() if shown(one.error)]
    said = []
    if needed:
        first = needed[0]
        near = level(first, {name: one.error.interval for name, one in found.items()})
        beside = f", or on {listed(near, 'or')}, as their intervals overlap" if near else ""
        said.append(
            f"The model leans most on {first}{beside}: where rows get the {first} of other rows, "
            f"{terms.further.format(f'{found[first].error.value:.3g}')} ({between(found[first].error, terms.error)}; "
            f"{terms.before.format(f'{before[first]:.3g}')})."
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
            by = f"{moved.value:.3g} on average ({between(moved, terms.error)})"
            said.append(f"{start}, but {terms.moved} {by} with the {name} of another row.")
        else:
            said.append(f"{start}, and no answer was seen to move with the {name} of another row.")
    return said

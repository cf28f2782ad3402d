"""What does the model lean on: how its answers change where rows get the cells of others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from plait.core.plain import plain
from plait.measures.estimate import Estimate, mean
from plait.measures.trust.best_single import BestSingle, best_single
from plait.measures.trust.dependence import Interference, Reliance, dependence, interference
from plait.report.figures import forest
from plait.report.words import amount

from .explain import QUESTIONS
from .section import CannotSay, Drawing, Grid, Section
from .subject import Array, Subject
from .wording import estimated, listed, shown

LEAST = 20
"""Rows that have a modality, below which nothing is said of it."""
SHARE = "accuracy"
METHOD = (
    "Dealt anew: every row that has the modality gets the cell of another row that has it, five times, never of a row "
    "that belongs with it (permutation importance, Breiman 2001; perceptual score, Gat et al., arXiv:2110.14375). "
    "Swapped: a row gets the cell of a row of another class; it follows if its answer becomes that class. Both are "
    "shares of the rows that have the modality, and no cell is blanked or made up. A dealt cell may fit the rest of "
    "its row in no real way, so part of the loss is the model's surprise, and a modality that says what others say "
    "too may seem spare. What moves the answers: answers that change when cells are dealt anew, and the probability "
    "that goes elsewhere (total variation), of modalities from which no loss was shown in accuracy or log loss; that "
    "was found on the same rows, so some of them may matter after all. Alone: models trained on one modality; a row "
    "without it is answered with the most frequent class. Which one is best is chosen on one half of the rows and "
    "judged on the other (after Thomason et al., arXiv:1811.00613), but where all together are compared with it, on "
    "all rows, which favours it a little. Intervals are 95 % and resample rows, or groups of them, for the models as "
    "they are."
)


def answer(subject: Subject) -> Section:
    """CannotSay on one modality, a target without classes, or where no modality has enough rows."""
    if len(subject.names) < 2:
        raise CannotSay("There is one modality, which the model leans on alone.")
    account: dict[str, Any] = {"classes": len(subject.classes)}
    found, passed = _reliance(subject)
    if not found:
        raise CannotSay(f"No modality has {LEAST} labelled test rows that could exchange their cells.")
    order = sorted(found, key=lambda name: -found[name].accuracy.value)
    idle = {name: _interference(subject, name) for name in order if not _needed(found[name])}
    words = [*_words(found, order), *_idle(idle)]
    if passed:
        words.append(
            f"Of {listed(passed, 'or')} nothing is said: too few labelled test rows have it, or too many of those "
            "belong together."
        )
    grids = [_grid(found, order)]
    if idle:
        grids.append(_moves(idle))
    account |= {
        "reliance": {name: found[name].account() for name in order},
        "interference": {name: one.account() for name, one in idle.items()},
        "not_judged": passed,
    }
    try:
        single, together, beyond = _single(subject)
    except CannotSay as why:
        words.append(f"Whether one modality would be enough cannot be said. {why}")
    else:
        words.append(_enough(subject.names[single.best], single, beyond))
        grids.append(_alone(subject.names, single, together, beyond))
        account["single"] = {
            "modalities": list(subject.names),
            **single.account(),
            "together": plain(together),
            "beyond_best": plain(beyond),
        }
    points = [(name, (found[name].accuracy.value, found[name].accuracy.interval), "") for name in order]
    drawing = Drawing(
        forest(points, SHARE, 0.0, gains=True),
        "How much accuracy is lost when rows get another row's cell of a modality, with 95 % intervals; the line is "
        "nothing. Modalities that say the same can all look spare.",
    )
    return Section("dependence", QUESTIONS["dependence"], words, [drawing], grids, METHOD, account)


def _reliance(subject: Subject) -> tuple[dict[str, Reliance], list[str]]:
    """-> what is found, and modalities that cannot be judged."""
    names = subject.names
    have, groups = subject.have[subject.labelled], subject.groups[subject.labelled]
    judged = [name for i, name in enumerate(names) if _exchangeable(groups[have[:, i]])]
    found: dict[str, Reliance] = {}
    for i, name in enumerate(judged):
        subject.progress("modalities", i, len(judged))
        at = names.index(name)
        found |= dependence(
            lambda given: _predicted(subject, given),
            subject.truth,
            have[:, [at]],
            [name],
            groups=groups,
            seed=subject.seed,
        )
    return found, [name for name in names if name not in judged]


def _exchangeable(groups: Array) -> bool:
    """Whether there are enough rows, and no group has more than half of them."""
    return len(groups) >= LEAST and 2 * int(np.unique(groups, return_counts=True)[1].max()) <= len(groups)


def _predicted(subject: Subject, given: Mapping[str, Array]) -> Array:
    """Of the labelled rows.  given: sources among them; modalities that are not named keep their own cells."""
    rows, every = subject.labelled, np.arange(len(subject.dataset))
    sources = {name: np.where(subject.have[:, i], every, -1) for i, name in enumerate(subject.names)}
    for name, source in given.items():
        sources[name][rows] = np.where(source >= 0, rows[source], -1)
    return subject.dealt(sources)[rows]


def _interference(subject: Subject, name: str) -> Interference:
    rows, at = subject.labelled, subject.names.index(name)
    return interference(
        lambda given: _predicted(subject, given),
        name,
        np.ones(len(rows), bool),
        subject.have[rows][:, [at]],
        [name],
        groups=subject.groups[rows],
        seed=subject.seed,
    )


def _needed(found: Reliance) -> bool:
    """Whether a loss was shown."""
    return shown(found.accuracy) or shown(found.log_loss)


def _words(found: Mapping[str, Reliance], order: Sequence[str]) -> list[str]:
    shown = [name for name in order if found[name].accuracy.interval[0] > 0]
    surer = [name for name in order if name not in shown and found[name].log_loss.interval[0] > 0]
    if not shown:
        said = [
            "That the model leans on any one modality was not shown: where rows get the cells of others, no loss of "
            "right answers was shown."
        ]
    else:
        first = shown[0]
        near = [n for n in shown[1:] if found[n].accuracy.interval[1] >= found[first].accuracy.interval[0]]
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


def _single(subject: Subject) -> tuple[BestSingle, Estimate, Estimate]:
    """-> single modalities; accuracy of all together; and how far it is beyond the best of them, on the same rows."""
    rows, truth, seed = subject.labelled, subject.truth, subject.seed
    groups = subject.groups[rows]
    alone = np.stack([subject.singly[name][rows] for name in subject.names], 1)
    if len(np.unique(groups)) < 2:
        raise CannotSay("All labelled test rows belong together.")
    have, common = subject.have[rows], int(np.argmax(subject.model.prior[subject.target]))
    found = best_single(alone, truth, have, common=common, groups=groups, seed=seed)
    right = (subject.predicted[rows].argmax(1) == truth).astype(np.float64)
    best = np.where(have[:, found.best], alone[:, found.best].argmax(1), common)
    beyond = right - (best == truth)
    return found, mean(right, groups=groups, seed=seed), mean(beyond, groups=groups, seed=seed, exact=False)


def _enough(best: str, single: BestSingle, beyond: Estimate) -> str:
    low, high = (100 * end for end in beyond.interval)
    between = f"{amount(beyond.value, SHARE)}, 95 % interval {low:.1f} to {high:.1f}"
    gained = f"answers {amount(single.gain.value, SHARE)} more rows right than always saying the most frequent class"
    if single.gain.interval[0] <= 0:
        if beyond.interval[0] <= 0:
            return (
                "Whether one modality would be enough cannot be told: no model of one modality was shown to do better "
                "than always saying the most frequent class, nor all together better than a model of "
                f"{best} alone ({between})."
            )
        gained = "was not shown to do better than always saying the most frequent class"
    if beyond.interval[0] > 0:
        return (
            f"One modality is not enough: all together answer more rows right than a model of {best} alone "
            f"({between}), which {gained}."
        )
    if beyond.interval[1] < 0:
        return (
            f"One modality is enough: all together answer fewer rows right than a model of {best} alone "
            f"({between}), which {gained}."
        )
    return (
        f"One modality may be enough: that all together do better than a model of {best} alone was not shown "
        f"({between}), and that model {gained}. Whether fusion is worth it on this table these rows cannot tell."
    )


def _percent(found: Estimate) -> str:
    return f"{100 * found.value:.0f} %"


def _grid(found: Mapping[str, Reliance], order: Sequence[str]) -> Grid:
    return Grid(
        "When rows get another row's cell, in points and per cent of the rows that have the modality",
        ("modality", "rows", "accuracy lost", "log loss gained, nats", "swapped: answer changes", "follows the cell"),
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
        ("modality", "rows", "answers that change, %", "probability that goes elsewhere, %"),
        [
            (name, str(one.rows), estimated(one.moved, SHARE), estimated(one.distance, SHARE))
            for name, one in idle.items()
        ],
    )


def _alone(names: Sequence[str], single: BestSingle, together: Estimate, beyond: Estimate) -> Grid:
    order = sorted(range(len(names)), key=lambda i: -single.accuracy[i].value)
    return Grid(
        "From one modality alone: rows that are answered right",
        ("model", "accuracy, %"),
        [
            ("all together", estimated(together, SHARE)),
            *((f"{names[i]} alone", estimated(single.accuracy[i], SHARE)) for i in order),
            ("the most frequent class", estimated(single.majority, SHARE)),
            ("best alone beyond the class, points", estimated(single.gain, SHARE)),
            ("all beyond the best alone, points", estimated(beyond, SHARE)),
        ],
    )

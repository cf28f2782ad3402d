"""What is each modality worth to this model: with the others hidden, over all sets of modalities."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from plait.measures import estimate
from plait.measures.estimate import Estimate
from plait.measures.worth.sample_importance import KINDS, sample_importance
from plait.measures.worth.shapley import Worth, alone, leave_one_out
from plait.report.figures import forest
from plait.report.words import ERRORS, is_share, name

from .explain import QUESTIONS
from .missing import missing
from .section import CannotSay, Drawing, Grid, Part, Section, joined
from .subject import Subject
from .task import to_the_task
from .wording import between, gained, level, listed, numbered, ranged, shown, span

MOST = 30
"""Classes in the table of classes, those with the most rows."""
FEW = 20
"""Rows of a class, below which nothing is said of it."""
TOLD = {
    "several": "any of several modalities",
    "single": "just one",
    "joint": "only several together",
    "nothing": "without looking",
    "unanswered": "not at all",
}
"""The kinds of rows of `sample_importance`, as one says them."""
METHOD = (
    "Shares are Shapley values of the measure over all sets of modalities, the rest hidden from the trained model: "
    "they add up to what all modalities together are worth above answering without looking. `alone` is the model that "
    "sees one modality only, `left out` what is lost without it; modalities that say the same share their worth, and "
    "each can be left out cheaply. This is about this model, not about the task: a model trained without a modality "
    "may make more of the others. Hiding takes the model out of what it mostly saw; of a modality whose share was "
    "shown, rows also get the cells of others, as under what the model leans on. Intervals resample the test rows, for "
    "the model as it is. A row without a modality gives it nothing. Shapley 1953; per row: Banzhaf's value "
    "(Park et al., arXiv:2408.12763)."
)
PAIRS = (
    "The C-index is the share of comparable pairs of rows that are in the right order. What a row gives to it is its "
    "influence on that share (Hoeffding 1948), and intervals resample these: they want many rows with an event."
)


def answer(subject: Subject) -> Section:
    """Raises CannotSay on one modality, or where no two rows can be compared."""
    names = subject.names
    if len(names) < 2:
        raise CannotSay("There is one modality, which is worth all that the model knows.")
    values, shares = subject.by_company, subject.shares
    if not np.isfinite(shares.interval).all():
        raise CannotSay(f"There are too few test rows with a label, {len(subject.labelled)}, or all belong together.")
    groups, seed = subject.groups[subject.labelled], subject.seed
    single = alone(values, names, groups=groups, seed=seed)
    without = leave_one_out(values, names, groups=groups, seed=seed)
    every = estimate.mean(values[names] - values[()], groups=groups, seed=seed)
    order = np.argsort(-shares.value, kind="stable").tolist()
    rows = subject.have[subject.labelled].sum(0)
    account: dict[str, Any] = {
        "measure": subject.measure,
        "total": {"value": every.value, "interval": every.interval},
        "shapley": shares.account(),
        "alone": single.account(),
        "left_out": without.account(),
        "rows": dict(zip(names, rows.tolist(), strict=True)),
    }
    grids = [
        Grid(
            f"Worth in {name(subject.measure)}",
            ("modality", "share", "alone", "left out", "rows that have it"),
            [
                (names[i], *(span(w, i, subject.measure) for w in (shares, single, without)), str(rows[i]))
                for i in order
            ],
        )
    ]
    if subject.about.kind == "class" and not shares.se.any():
        grids += _by_class(subject, shares)
    said, kinds, per_row = _per_row(subject, values)
    account |= per_row
    points = [(names[i], numbered(shares, i), "") for i in order]
    drawing = Drawing(
        forest(points, subject.measure, 0.0, gains=True),
        "Each modality's share of what all are worth together, with 95 % intervals; the line is nothing.",
    )
    worded, redealt = _surprised(subject, shares)
    account["redealt"] = redealt
    words = [*_words(subject, shares, without, order, every), *worded, *said]
    grids += kinds
    task = to_the_task(subject, shares) if subject.deep else Part()
    # The task's figure has this one in it.
    method = [METHOD, PAIRS] if subject.pairwise else [METHOD]
    mine = Part(words, [] if task.drawings else [drawing], grids, method, account)
    return joined("worth", QUESTIONS["worth"], [mine, missing(subject), task])


def _words(subject: Subject, shares: Worth, without: Worth, order: Sequence[int], every: Estimate) -> list[str]:
    names, measure = subject.names, subject.measure
    idle = [names[i] for i in order if not shares.interval[i, 0] > 0]
    of = f" of {name(measure)}" if is_share(measure) else ""
    size = f"{gained(every.value, measure)}{of} ({between(every, measure)}, {len(subject.labelled)} rows)"
    if shown(every):
        than = "than that of" if measure in ERRORS else "above"
        said = [f"All modalities together are worth {size} {than} answering without looking."]
    else:
        said = [
            f"That all modalities together are worth anything above answering without looking was not shown: {size}."
        ]
    if shown(every) and names[order[0]] not in idle:
        ends = {names[i]: numbered(shares, i)[1] for i in order}
        near = level(names[order[0]], ends)
        first = [names[order[0]], *(n for n in near if n not in idle)]
        most = listed([f"{n} ({gained(float(shares.value[names.index(n)]), measure)})" for n in first])
        gives = "gives the most" if len(first) == 1 else "give the most; their intervals overlap"
        if others := [n for n in near if n in idle]:
            gives += f", though more than {listed(others, 'or')} was not shown"
        said[0] = f"{said[0][:-1]}; of that {most} {gives}."
    if idle:
        said.append(f"That {listed(idle, 'or')} has a share in it, over all sets of modalities, was not shown.")
    kept = [i for i in order if names[i] in idle and without.interval[i, 0] > 0]
    if kept:
        which = listed([f"{names[i]} ({gained(float(without.value[i]), measure)})" for i in kept])
        said.append(f"Beside all others it does need {which}: left out, that much is lost.")
    spare = [names[i] for i in order if names[i] not in idle and not without.interval[i, 0] > 0]
    if spare:
        said.append(
            f"That leaving out {listed(spare, 'or')} alone loses anything was not shown: others may say the same."
        )
    return said


def _surprised(subject: Subject, shares: Worth) -> tuple[list[str], dict[str, Any]]:
    """Modalities whose share was shown, and nothing lost with the cells of other rows; and what is lost with them."""
    asked = [n for i, n in enumerate(subject.names) if shares.interval[i, 0] > 0 and subject.exchangeable(n)]
    lost = {name: subject.redealt(name, lambda said, truth: -subject.scored(said, truth)).error for name in asked}
    idle = [name for name in asked if not shown(lost[name])]
    account = {name: {"value": one.value, "interval": one.interval} for name, one in lost.items()}
    if not idle:
        return [], account
    said = (
        f"With the {listed(idle, 'or')} of other rows nothing was shown to be lost: what hiding it costs may be this "
        "model's surprise at its absence, and not what it tells."
    )
    return [said], account


def _by_class(subject: Subject, shares: Worth) -> list[Grid]:
    classes = subject.classes
    count = Counter(subject.truth.tolist())
    kept = [c for c, n in count.most_common(MOST) if n >= FEW]
    if not kept:
        return []
    labels = np.where(np.isin(subject.truth, kept), subject.truth, -1)
    within = shares.within(labels, groups=subject.groups[subject.labelled], seed=subject.seed)
    lines = [
        (classes[c], str(count[c]), *(span(within[c], i, subject.measure) for i in range(len(subject.names))))
        for c in kept
    ]
    unseen = classes[int(subject.decided([()])[()][0].argmax())]
    title = (
        f"Share by class, of classes with {FEW} rows or more, above always saying {unseen}: what other classes gain by "
        f"a modality, {unseen} may lose"
    )
    return [Grid(title, ("class", "rows", *subject.names), lines)]


def _per_row(
    subject: Subject, values: dict[tuple[str, ...], np.ndarray]
) -> tuple[list[str], list[Grid], dict[str, object]]:
    """Which modality decided, row by row: where rows are right or wrong and all sets were asked."""
    if not is_share(subject.measure) or len(values) < 2 ** len(subject.names):
        return [], [], {}
    found = sample_importance(values, subject.names, groups=subject.groups[subject.labelled])
    ids = subject.dataset.ids
    deciders = [*subject.names, None]
    kinds = found.account(subject.seed)["kinds"]
    share = {kind: f"{100 * kinds[kind]['value']:.0f} %" for kind in KINDS}
    said = (
        f"Of the {len(found.kind)} rows, {share['several']} can be told from any of several modalities, "
        f"{share['single']} from just one, {share['joint']} only from several together, {share['nothing']} without "
        f"looking, and {share['unanswered']} not at all."
    )
    grid = Grid(
        "What rows can be told from, in per cent of the rows",
        ("told from", "rows"),
        [
            (label, ranged(kinds[kind]["value"], (kinds[kind]["low"], kinds[kind]["high"]), "accuracy"))
            for kind, label in TOLD.items()
        ],
    )
    rows = {
        ids[row]: {"kind": KINDS[kind], "decided": deciders[which]}
        for row, kind, which in zip(subject.labelled.tolist(), found.kind, found.decided, strict=True)
    }
    return [said], [grid], {"per_row": rows, "kinds": kinds}

"""What breaks a model: modalities that are absent, that belong to another row, or whose cells are damaged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from plait.core.plain import plain
from plait.measures.estimate import Estimate, mean
from plait.measures.trust.dependence import deals
from plait.measures.trust.robustness_curve import RobustnessCurve, robustness_curve
from plait.report.figures import degradation
from plait.report.words import amount, name

from .explain import QUESTIONS
from .robustness_anew import trained_anew
from .robustness_damage import drawn, in_own_sign, under_damage
from .section import CannotSay, Drawing, Grid, Part, Section, joined
from .subject import LEAST, Array, Subject
from .wording import estimated, falls_by, level, listed, lost, shown

SHARES = (0.0, 0.1, 0.25, 0.5, 1.0)
"""Of the rows that have a modality, those whose cell is wrong."""
TENTH = 0.1
"""The one in the table, beside all."""
DEALS = 5
"""How often cells are dealt anew."""
WAYS = {"wrong": "belongs to another row", "missing": "is missing"}
METHOD = (
    "Absent: a modality is hidden from the trained model on the rows that have it. Another row's: its cells are dealt "
    f"out anew among these rows, {DEALS} times, never within a group of rows that belong together (Breiman 2001; "
    "Fisher et al., arXiv:1801.01489). Each row is answered by itself, so a share of the rows loses that share of what "
    "all of them lose, and the lines are straight; of a measure of pairs of rows, as the order of times to an event, "
    "they are what is to be expected whichever rows it hits. A dealt cell may contradict the rest of its row as no "
    "real one would. Modalities that say the same cover for each other: without both, more is lost than the two "
    "losses together. Intervals resample the test rows, or whole groups, for the model as it is; each is 95 % by "
    "itself."
)


@dataclass(frozen=True)
class Fall:
    """What is lost of one modality, over the labelled rows that have it.

    absent: where it is hidden.  tenth, wrong: where it is another row's, in a tenth of them and in all; worse: wrong
    minus absent; None where its cells cannot be dealt.
    levels: {what is done to it: the measure by share of the rows, in its own sign}.
    """

    rows: int
    absent: Estimate
    tenth: Estimate | None
    wrong: Estimate | None
    worse: Estimate | None
    levels: Mapping[str, RobustnessCurve]


def answer(subject: Subject) -> Section:
    """Raises CannotSay without labels, without a measure of rows, or where no labelled row has anything."""
    parts = [_mistaken(subject)]
    if subject.deep:
        parts += [under_damage(subject), trained_anew(subject)]
    return joined("robustness", QUESTIONS["robustness"], parts)


def _mistaken(subject: Subject) -> Part:
    """Absent cells and those of other rows."""
    measure, sign = subject.measure, subject.sign
    falls = {n: fall for n in subject.names if (fall := _fall(subject, n)) is not None}
    if not falls:
        raise CannotSay(f"No modality has {LEAST} labelled test rows on which it could be hidden or mistaken.")
    grid = Grid(
        f"{'Lost in' if sign > 0 else 'Rise of the'} {name(measure)}, on the rows that have it",
        ("modality", "rows", "absent", "wrong in 10 %", "wrong in all", "wrong rather than absent"),
        [
            (
                n,
                str(fall.rows),
                estimated(fall.absent, measure),
                *(estimated(found, measure) for found in (fall.tenth, fall.wrong)),
                estimated(fall.worse, measure),
            )
            for n, fall in falls.items()
        ],
    )
    panels = {n: {said: drawn(curve) for said, curve in fall.levels.items()} for n, fall in falls.items()}
    drawing = Drawing(
        degradation(panels, measure, "share of the rows", share=True),
        "What is left as a modality is another row's, or absent, in more and more of the rows that have it, with 95 % "
        "intervals. Panels are about different rows: compare how far lines fall, not where they begin.",
    )
    account = {n: plain(fall) for n, fall in falls.items()}
    return Part(_words(subject, falls), [drawing], [grid], [METHOD], {"measure": measure, "modalities": account})


def _fall(subject: Subject, modality: str) -> Fall | None:
    """None where too few labelled rows have it."""
    m = subject.names.index(modality)
    on = subject.have[subject.labelled, m]
    if on.sum() < LEAST:
        return None
    how: dict[str, Any] = {"groups": subject.groups[subject.labelled][on], "seed": subject.seed}
    absent = subject.partly(subject.predicted, subject.without(modality), SHARES, on)
    found = {"absent": absent}
    wrong = None
    if dealt := _dealt(subject, m):
        each = [subject.partly(subject.predicted, predicted, SHARES, on) for predicted in dealt]
        wrong = {s: np.asarray(np.mean([values[s] for values in each], axis=0)) for s in SHARES}
        found = {"another row's": wrong, **found}
    return Fall(
        int(on.sum()),
        mean(absent[0.0] - absent[1.0], exact=False, **how),
        None if wrong is None else mean(wrong[0.0] - wrong[TENTH], exact=False, **how),
        None if wrong is None else mean(wrong[0.0] - wrong[1.0], exact=False, **how),
        None if wrong is None else mean(absent[1.0] - wrong[1.0], exact=False, **how),
        {said: in_own_sign(robustness_curve(values, **how), subject.sign) for said, values in found.items()},
    )


def _dealt(subject: Subject, m: int) -> list[Array]:
    """[n, ...] predictions with the cells of modality `m` dealt out anew, of each deal; none where that cannot be."""
    modality, every = subject.names[m], np.arange(len(subject.have))
    own = {n: np.where(subject.have[:, i], every, -1) for i, n in enumerate(subject.names)}
    # Among the labelled rows, as `dependence` deals them: one question, one answer.
    rows = subject.labelled[subject.have[subject.labelled, m]]
    try:
        dealt = deals(rows, subject.groups[rows], DEALS, subject.seed, modality)
    except ValueError:
        return []
    found = []
    for donors in dealt:
        source = own[modality].copy()
        source[rows] = donors
        found.append(subject.dealt({**own, modality: source}))
    return found


def _words(subject: Subject, falls: Mapping[str, Fall]) -> list[str]:
    measure = subject.measure
    harms = {
        n: {said: f for said, f in (("wrong", fall.wrong), ("missing", fall.absent)) if f is not None and shown(f)}
        for n, fall in falls.items()
    }
    harmful = [n for n in falls if harms[n]]
    said = []
    if not harmful:
        said.append(f"That a missing or another row's {listed(list(falls), 'or')} breaks this model was not shown.")
    else:
        worst = max(harmful, key=lambda n: max(found.value for found in harms[n].values()))
        ways = sorted(harms[worst], key=lambda way: -harms[worst][way].value)
        named = [worst, "it"]
        losses = [f"{lost(harms[worst][way], measure)} where {named[i]} {WAYS[way]}" for i, way in enumerate(ways)]
        # Of each the end of its worst way; of the worst one the way that is named.
        ways_of = {n: [f.interval for f in (fall.wrong, fall.absent) if f is not None] for n, fall in falls.items()}
        reach = {n: max(ends, key=lambda pair: pair[1]) for n, ends in ways_of.items()}
        near = level(worst, {**reach, worst: harms[worst][ways[0]].interval})
        beside = f", or one of {listed(near, 'or')}, as their intervals overlap" if near else ""
        said.append(f"What breaks it most is a {ways[0]} {worst}{beside}: {falls_by(measure)} {listed(losses)}.")
    spared = [n for n, fall in falls.items() if not shown(fall.absent)]
    unmoved = [n for n, fall in falls.items() if fall.wrong is not None and not shown(fall.wrong)]
    if harmful and spared:
        said.append(f"That it does worse where {listed(spared, 'or')} is missing was not shown.")
    if harmful and unmoved:
        said.append(f"That it does worse where {listed(unmoved, 'or')} belongs to another row was not shown.")
    worse = {n: fall.worse for n, fall in falls.items() if shown(fall.wrong) and fall.worse and shown(fall.worse)}
    if worse:
        misled = [f"{n} (by {amount(found.value, measure)})" for n, found in worse.items()]
        said.append(f"A cell of another row was shown to do more harm than a missing one with {listed(misled)}.")
    if undealt := [n for n, fall in falls.items() if fall.wrong is None]:
        said.append(f"Wrong cells of {listed(undealt)} were not tried: too many of the rows belong together.")
    if nowhere := [n for n in subject.names if n not in falls]:
        said.append(f"Of {listed(nowhere, 'or')} nothing is said: fewer than {LEAST} labelled test rows have it.")
    return said

"""Whether the fitted model gains by having both of two modalities where some of what they tell shows only in two."""

from __future__ import annotations

import numpy as np

from plait.measures.estimate import Estimate, mean
from plait.report.words import ERRORS

from .section import Part
from .subject import Company, Subject
from .wording import between, gained, shown

METHOD = (
    "Whether the fitted model uses that: its answers from both, the other modalities hidden, against those from the "
    "one of the two that it answers better from, on the test rows that have both. A gain may have other causes; where "
    "there is none, it does not use what shows only in two."
)
FEWEST = 20
"""Test rows, or groups of them, below which nothing is said."""


def used(subject: Subject, labels: dict[str, tuple[str, Company]]) -> Part:
    """labels: {"a and b": (a, the others)}, where something was told only by both.  Pairs, if there are any."""
    gains: dict[str, tuple[str, Estimate]] = {}
    pairs = {label: sides for label, sides in labels.items() if len(sides[1]) == 1}
    for label, (one, others) in (pairs or labels).items():
        found = _gain(subject, (one,), others)
        if found is not None:
            gains[label] = found
    if not gains:
        return Part()
    account = {label: {"better": better, **vars(gain)} for label, (better, gain) in gains.items()}
    return Part(_words(gains, subject.measure), method=[METHOD], account={"used": account})


def _gain(subject: Subject, one: Company, others: Company) -> tuple[str, Estimate] | None:
    """-> which side the model answers better from alone, and by how much it does better from both."""
    both = tuple(name for name in subject.names if name in (*one, *others))
    places = [subject.names.index(name) for name in both]
    rows = np.flatnonzero(subject.have[subject.labelled][:, places].all(1))
    groups = subject.groups[subject.labelled][rows]
    if len(np.unique(groups)) < FEWEST:
        return None
    sides = {one: one[0], others: "the rest" if len(others) > 1 else others[0]}
    decided = subject.decided([both, *sides])
    values = {company: subject.values(said)[rows] for company, said in decided.items()}
    better = max(sides, key=lambda side: values[side].mean())
    return sides[better], mean(values[both] - values[better], groups=groups, seed=subject.seed, exact=False)


def _words(gains: dict[str, tuple[str, Estimate]], measure: str) -> list[str]:
    than = "than from" if measure in ERRORS else "above that from"
    out, idle = [], []
    for label, (better, gain) in gains.items():
        size = gained(gain.value, measure)
        if shown(gain):
            out.append(
                f"The fitted model gains by having {label}: {size} {than} the better of the two alone, {better} "
                f"({between(gain, measure)})."
            )
        else:
            idle.append(f"from {label} than from {better} alone ({size}, {between(gain, measure)})")
    if idle:
        out.append(
            "The fitted model was not shown to use what shows only in two: beyond chance, it does no better "
            f"{', nor '.join(idle)}. Small networks did learn it, so another fusion or a longer training may."
        )
    return out

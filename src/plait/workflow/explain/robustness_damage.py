"""How a model holds up as raw cells are damaged: one modality at a time, and all at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from plait.core.plain import plain
from plait.data.store import Store
from plait.measures.bootstrap import Interval
from plait.measures.estimate import Estimate, mean
from plait.measures.trust.robustness_curve import (
    EffectiveRobustness,
    RobustnessCurve,
    effective_robustness,
    relative_robustness,
    robustness_curve,
)
from plait.report.figures import degradation
from plait.report.words import is_share, name, number

from ..model import Model
from .damaged import STRENGTHS, damaged, replaced
from .section import Drawing, Grid, Part
from .subject import Array, Subject
from .wording import estimated, listed, lost, shown, turned

Drawn = list[tuple[float, tuple[float, Interval]]]
MOST = STRENGTHS[-1]
METHOD = (
    "Damage: cells are decoded, damaged at five strengths by draws that belong to the cell, and encoded anew (of "
    "images as Hendrycks & Dietterich, arXiv:1903.12261); real damage may look different. Kept: the mean over "
    "strengths 0 to 5 as a share of what undamaged cells give. Above it alone: this model minus one of the modality "
    "alone, both at the strongest damage, on the same rows. What its accuracy leads one to expect comes from a line "
    "through the models of single modalities (Taori et al., arXiv:2007.00644), which are few; it has no interval."
)


@dataclass(frozen=True)
class Wear:
    """What one corruption of one modality does, over the labelled rows that have it.

    curve: the measure by strength, in its own sign.  losses: {strength: what is lost}.  above: how much better this
    model is than the modality's own, at the strongest; None where there is none.
    """

    modality: str
    corruption: str
    rows: int
    curve: RobustnessCurve
    losses: Mapping[int, Estimate]
    above: Estimate | None

    def __str__(self) -> str:
        return f"{self.corruption} of {self.modality}"


def in_own_sign(curve: RobustnessCurve, sign: float) -> RobustnessCurve:
    """Errors as errors again; `worst` is their rise."""
    levels = {at: turned(level, sign) for at, level in curve.level.items()}
    return replace(curve, level=levels, area=turned(curve.area, sign))


def drawn(curve: RobustnessCurve) -> Drawn:
    """As a figure has it."""
    return [(at, (level.value, level.interval)) for at, level in curve.level.items()]


def under_damage(subject: Subject) -> Part:
    """Takes minutes: every test cell is encoded anew for each damage."""
    measure = subject.measure
    found: list[Wear] = []
    strongest: dict[str, tuple[str, Store]] = {}
    untried = []
    for m, modality in enumerate(subject.names):
        on = subject.have[subject.labelled, m]
        stores = damaged(subject, modality) if on.any() else {}
        found += [_wear(subject, modality, corruption, on, stores[corruption]) for corruption in stores]
        if stores:
            first = next(iter(stores))
            strongest[modality] = first, stores[first][MOST]
        elif on.any():
            untried.append(f"{modality} ({subject.table.schema.modalities[modality].kind})")
    words = _words(found, measure)
    if untried:
        words.append(f"Damage to cells of {listed(untried)} was not tried: there is none for their kind.")
    if not found:
        return Part(words)
    panels: dict[str, dict[str, Drawn]] = {}
    for wear in found:
        panels.setdefault(wear.modality, {})[wear.corruption] = drawn(wear.curve)
    shares = is_share(measure)
    grid = Grid(
        f"Lost in {name(measure)} under damage, on the rows that have the modality",
        ("damage", "rows", "strength 1", "3", "5", *(["kept, %"] if shares else []), "above it alone"),
        [
            (
                str(wear),
                str(wear.rows),
                *(estimated(wear.losses[s], measure) for s in (1, 3, 5)),
                *([estimated(wear.curve.retained, measure)] if shares else []),
                estimated(wear.above, measure),
            )
            for wear in found
        ],
    )
    drawing = Drawing(
        degradation(panels, measure, "strength of the damage"),
        "What is left as the cells of one modality are damaged more and more, with 95 % intervals, on the rows that "
        "have it.",
    )
    account = {"damage": [plain(wear) for wear in found]}
    said, beyond = _at_once(subject, strongest)
    return Part([*words, *said], [drawing], [grid], [METHOD], {**account, "damage_at_once": beyond})


def _wear(subject: Subject, modality: str, corruption: str, on: Array, stores: Mapping[int, Store]) -> Wear:
    """on: [p] bool, the labelled rows that have the modality."""
    before = subject.values(subject.predicted, on)
    after: dict[float, Array] = {
        s: _values(subject, subject.model, {modality: store}, on) for s, store in stores.items()
    }
    groups, seed = subject.groups[subject.labelled][on], subject.seed
    alone = subject.alone.get(modality)
    above = None
    if alone is not None:
        same = _values(subject, alone, {modality: stores[MOST]}, on)
        above = relative_robustness(after[MOST], same, groups=groups, seed=seed)
    return Wear(
        modality,
        corruption,
        int(on.sum()),
        in_own_sign(robustness_curve({0: before, **after}, groups=groups, seed=seed), subject.sign),
        {s: mean(before - after[s], groups=groups, seed=seed, exact=False) for s in STRENGTHS},
        above,
    )


def _values(subject: Subject, model: Model, stores: Mapping[str, Store], on: Array) -> Array:
    """[q] the measure of those labelled rows that are `on`, with other cells of some modalities."""
    rows = subject.labelled[on]
    predicted = subject.predicted.copy()
    predicted[rows] = model.parameters(replaced(subject.dataset.take(rows), stores))[subject.target]
    return subject.values(predicted, on)


def _words(found: list[Wear], measure: str) -> list[str]:
    if not found:
        return []
    words = []
    harmful = [wear for wear in found if shown(wear.losses[MOST])]
    if harmful:
        worst = max(harmful, key=lambda wear: wear.losses[MOST].value)
        words.append(
            f"Of damage to the cells themselves, {worst} does most harm: at full strength the model loses "
            f"{lost(worst.losses[MOST], measure)}."
        )
    if idle := [wear for wear in found if not shown(wear.losses[MOST])]:
        words.append(f"That it loses anything under {listed(_briefly(idle, found), 'or')} was not shown.")
    compared = [wear for wear in found if wear.above is not None]
    above = [wear for wear in compared if shown(wear.above)]
    if above:
        few = f"{listed(_briefly(above, compared))}" if len(above) < len(compared) else "every damage that was tried"
        words.append(
            "The other modalities help it through: it does better than a model of the damaged modality alone under "
            f"{few}."
        )
    if rest := [wear for wear in compared if not shown(wear.above)]:
        words.append(
            "That it does better than a model of the damaged modality alone was not shown under "
            f"{listed(_briefly(rest, compared), 'or')}."
        )
    return words


def _briefly(some: list[Wear], of: list[Wear]) -> list[str]:
    """Where all damage to a modality is meant, it is named once."""
    whole = [n for n in dict.fromkeys(w.modality for w in of) if all(w in some for w in of if w.modality == n)]
    return [*(f"any damage to {n}" for n in whole), *(str(wear) for wear in some if wear.modality not in whole)]


def _at_once(
    subject: Subject, strongest: Mapping[str, tuple[str, Store]]
) -> tuple[list[str], dict[str, object] | None]:
    """All modalities damaged together, against what the accuracy leads one to expect; only of accuracies."""
    baselines = [n for n in subject.alone if n in strongest]
    if subject.measure != "accuracy" or not strongest:
        return [], None
    every = np.ones(len(subject.labelled), bool)
    stores = {n: store for n, (_, store) in strongest.items()}

    def both(model: Model) -> tuple[float, float]:
        clean, after = (_values(subject, model, cells, every).mean() for cells in ({}, stores))
        return float(clean), float(after)

    clean, after = both(subject.model)
    said = listed([f"{corruption} of {n}" for n, (corruption, _) in strongest.items()])
    words = f"With strong {said} all at once, it is right in {number(after, 'accuracy', 0)} of the rows"
    pairs = np.array([both(subject.alone[n]) for n in baselines]).reshape(-1, 2)
    beyond: EffectiveRobustness | None = None
    try:
        beyond = effective_robustness(clean, after, pairs[:, 0], pairs[:, 1])
        guess = ", a guess, since its accuracy lies outside of theirs" if beyond.extrapolated else ""
        words += (
            f"; from how models of single modalities fare, {number(beyond.expected, 'accuracy', 0)} would be expected "
            f"of one as accurate{guess}"
        )
    except ValueError:
        # Too few models to draw a line through, or one that is never or always right.
        pass
    account = {
        "clean": clean,
        "damaged": after,
        "single": {n: {"clean": one, "damaged": two} for n, (one, two) in zip(baselines, pairs.tolist(), strict=True)},
        "beyond": plain(beyond),
    }
    return [f"{words}."], account

"""Do modalities repeat or complete each other: information about the classes that two of them share, that one has
alone, and that only both together have.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from plait.measures.information.interaction_bounds import Bounds
from plait.measures.information.interaction_estimate import InteractionEstimate, interaction_estimate
from plait.report.figures import forest

from .explain import QUESTIONS
from .interactions_bounded import METHOD as BOUNDED
from .interactions_bounded import bounded, grid, words
from .section import CannotSay, Drawing, Grid, Section
from .subject import Array, Subject
from .wording import listed, ranged

WIDTH = 32
"""Principal components that are kept of a modality's stored cells."""
PAIRS = 6
"""Pairs that are looked at unless asked deeply, those with the most rows."""
FOLDS = 3
SAID = 0.05
"""Bits that are worth a sentence."""
ATOMS = {
    "redundant": "either tells",
    "unique_first": "only the first",
    "unique_second": "only the second",
    "synergistic": "only both together",
}
METHOD = (
    "Of the rows that have both modalities and a label, small networks that never saw a row predict its class from one "
    "modality, from the other and from both; what these predictions say about the class, in bits, is split by partial "
    "information (Bertschinger et al. 2014) into what either modality tells, what only one tells, and what only both "
    "together tell. A number is asked for as low, middle or high, a third of the rows each: what is told within a "
    "third is not seen. Cells are read as they are stored, their leading principal components; nothing here is about "
    "the fitted model. What the networks do not find is missing, so these are lower bounds but for chance. A pair is "
    "refused where labels dealt at random would seem to tell more than .1 bit: then the rows are too few. Against the "
    "rest means: one modality beside all others together, on rows that have all. Intervals resample rows or groups."
)


def answer(subject: Subject) -> Section:
    """Raises CannotSay on one modality, of several labels or times, or where every pair is refused."""
    names, kind = subject.names, subject.judged_by_row
    if len(names) < 2:
        raise CannotSay("There is one modality, and nothing to complete it.")
    if kind == "multi_label":
        raise CannotSay(
            f"This is asked of one answer a row, and {subject.target} has several labels: fit a label by itself to ask."
        )
    cells = {name: _cells(subject, name) for name in names}
    truth = _truth(subject)
    asked = _pairs(names, cells, truth, subject.deep)
    found: dict[str, InteractionEstimate] = {}
    limits: dict[str, Bounds] = {}
    refused: dict[str, str] = {}
    for i, (label, one, others) in enumerate(asked):
        subject.progress("interactions", i, len(asked))
        rows = np.flatnonzero(np.all([_has(cells[name]) for name in (one, *others)], 0) & (truth >= 0))
        rows = _enough(rows, truth)
        rest = np.concatenate([cells[name] for name in others], 1)
        try:
            found[label] = interaction_estimate(
                cells[one][rows],
                rest[rows],
                truth[rows],
                groups=subject.all_groups[rows],
                folds=FOLDS,
                seed=subject.seed,
                draws=100 if subject.deep else 40,
            )
        except ValueError as why:
            refused[label] = str(why)
            if (limit := bounded(cells[one], rest, truth, subject.seed)) is not None:
                limits[label] = limit
    subject.progress("interactions", len(asked), len(asked))
    if not found and not limits:
        pair, reason = next(iter(refused.items()))
        raise CannotSay("There are too few rows to say how modalities complete each other.", f"Of {pair}: {reason}.")
    drawn = [
        (f"{label}: {said}", (getattr(one, atom), one.intervals.get(atom)), "")
        for label, one in found.items()
        for atom, said in ATOMS.items()
    ]
    of_what = "the class" if kind == "class" else f"which third {subject.target} is in"
    heads = ("", *ATOMS.values(), "rows")
    lines = [
        (label, *(ranged(getattr(one, a), one.intervals.get(a)) for a in ATOMS), _rows(one))
        for label, one in found.items()
    ]
    grids = [Grid(f"Bits about {of_what}", heads, lines)] if found else []
    if limits:
        grids.append(grid(limits, of_what))
    if refused:
        grids.append(Grid("Refused", ("", "why"), list(refused.items())))
    return Section(
        "interactions",
        QUESTIONS["interactions"],
        [
            *(said for label, one in found.items() for said in _words(label, one)),
            *words(limits, of_what),
            *_left([label for label in refused if label not in limits]),
        ],
        [Drawing(forest(drawn, "bits", 0.0), f"What the modalities of a pair tell about {of_what}, in bits.")]
        if found
        else [],
        grids,
        f"{METHOD} {BOUNDED}" if limits else METHOD,
        {
            "pairs": {label: one.account() for label, one in found.items()},
            "bounds": {label: one.account() for label, one in limits.items()},
            "refused": refused,
        },
    )


def _words(label: str, found: InteractionEstimate) -> list[str]:
    first, second = (part.strip() for part in label.split(" and ", 1))
    shown = {atom: ends[0] for atom, ends in found.intervals.items() if ends[0] > SAID}
    said = []
    if "synergistic" in shown:
        said.append(f"{first} and {second} tell together what neither tells alone")
    if "redundant" in shown:
        said.append(f"{first} and {second} repeat each other in part" if not said else "in part they repeat each other")
    alone = [name for name, atom in ((first, "unique_first"), (second, "unique_second")) if atom in shown]
    if alone:
        said.append(f"only {listed(alone)} {'tells' if len(alone) == 1 else 'each tell'} some of it")
    if not said:
        return [f"Of {first} and {second} nothing was shown to be shared, completed or told by one alone."]
    text = "; ".join(said)
    return [f"{text[0].upper()}{text[1:]}."]


def _left(refused: Sequence[str]) -> list[str]:
    which = "the rows that have both, or all, and a label are too few"
    return [f"Of {listed(refused)} it cannot be said: {which}."] if refused else []


def _pairs(
    names: Sequence[str], cells: dict[str, Array], truth: Array, deep: bool
) -> list[tuple[str, str, tuple[str, ...]]]:
    """(label, one, the others): pairs, the ones with the most rows first; then each against the rest."""
    pairs = list(itertools.combinations(names, 2))
    count = {pair: int((_has(cells[pair[0]]) & _has(cells[pair[1]]) & (truth >= 0)).sum()) for pair in pairs}
    pairs.sort(key=lambda pair: -count[pair])
    kept = pairs if deep else pairs[:PAIRS]
    out: list[tuple[str, str, tuple[str, ...]]] = [(f"{a} and {b}", a, (b,)) for a, b in kept]
    if len(names) > 2:
        out += [(f"{one} and the rest", one, tuple(n for n in names if n != one)) for one in names]
    return out


def _cells(subject: Subject, name: str) -> Array:
    """[N, F] of all rows at hand, NaN where a row has none: stored cells, tokens averaged, their leading components."""
    dataset = subject.encoded.dataset.only([name])
    packed = dataset.batch(range(len(dataset))).modalities[name]
    values = packed.values.float().numpy().astype(np.float64)
    values = values.reshape(len(values), -1, values.shape[-1]).mean(1) if values.ndim > 2 else values
    values = np.nan_to_num(values)
    if values.shape[1] > WIDTH:
        centred = values - values.mean(0)
        values = centred @ np.linalg.svd(centred, full_matrices=False)[2][:WIDTH].T
    out = np.full((len(dataset), values.shape[1]), np.nan)
    out[packed.rows.numpy()] = values
    return out


def _has(cells: Array) -> Array:
    return np.asarray(~np.isnan(cells).any(1))


def _truth(subject: Subject) -> Array:
    """[N] codes of all rows at hand, -1 where unlabelled; of numbers, which third of the labelled rows they are in."""
    target = subject.encoded.dataset.target(subject.target)
    values, known = (found.numpy() for found in target.dense(len(subject.encoded.dataset), -1))
    if subject.about.kind == "class":
        return np.asarray(values)
    third = np.searchsorted(np.quantile(values[known], [1 / 3, 2 / 3]), values, side="right")
    return np.where(known, third, -1)


def _enough(rows: Array, truth: Array) -> Array:
    """Without the classes of fewer rows than folds."""
    count = np.bincount(truth[rows], minlength=int(truth.max(initial=0)) + 1)
    return np.asarray(rows[count[truth[rows]] >= FOLDS])


def _rows(found: Any) -> str:
    return "" if found.rows is None else f"{found.rows:.0f}"

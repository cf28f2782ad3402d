"""Do modalities repeat or complete each other: information about the classes that two of them share, that one has
alone, and that only both together have.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from plait.measures.bootstrap import Interval
from plait.measures.information.interaction_bounds import Bounds
from plait.measures.information.interaction_estimate import InteractionEstimate, interaction_estimate, penalised
from plait.report.figures import Value, forest

from .explain import QUESTIONS
from .interactions_bounded import METHOD as BOUNDED
from .interactions_bounded import bounded, grid, words
from .interactions_used import used
from .section import CannotSay, Drawing, Grid, Section
from .subject import Array, Subject
from .wording import listed

WIDTH = 32
"""Principal components that are kept of a modality's stored cells."""
PAIRS = 6
"""Pairs that are looked at unless asked deeply, those with the most rows."""
FOLDS = 3
CELLS = 8
"""Cells that answers are sorted into at least: more tell little more of a few classes, and take more rows."""
TINY = 1e-12
"""In place of no width."""
LENGTH = 3.0
"""Root mean square length of a modality's cells, which have to be as long as others' to weigh as much."""
SAID = 0.05
"""Bits that are worth a sentence."""
DIGITS = 2
"""Decimals of bits: the third is below what classifiers and cells of them lose."""
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
    "third is not seen. Cells are read as they are stored, wide ones by their leading principal components; these "
    "bits are not about the fitted model. What the networks do not find is missing, so these are lower bounds but for "
    "chance; the intervals know that chance, not what is missing. A pair is refused where labels dealt at random would "
    "seem to tell more than .1 bit: then the rows are too few. Against the rest means: one modality beside all others "
    "together, on rows that have all. Intervals resample rows or groups."
)


def answer(subject: Subject) -> Section:
    """Raises CannotSay on one modality, of several labels or times, or where every pair is refused."""
    names, kind = subject.names, subject.about.kind
    if len(names) < 2:
        raise CannotSay("There is one modality, and nothing to complete it.")
    if kind == "multi_label":
        raise CannotSay(
            f"This is asked of one answer a row, and {subject.target} has several labels: fit a label by itself to ask."
        )
    if kind == "survival":
        raise CannotSay(
            f"This is asked of classes and numbers. Of rows whose event was not seen nobody knows when it came, so "
            f"{subject.target} cannot be cut into early, middle and late."
        )
    cells = {name: _cells(subject, name) for name in names}
    truth = _truth(subject)
    asked = _pairs(names, cells, truth, subject.deep)
    found: dict[str, InteractionEstimate] = {}
    limits: dict[str, Bounds] = {}
    refused: dict[str, str] = {}
    few: list[str] = []
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
                classifier=penalised,
                standardise=False,
                cells=max(CELLS, 3 * len(np.unique(truth[rows])) // 2),
                folds=FOLDS,
                seed=subject.seed,
                draws=100 if subject.deep else 40,
            )
        except (ValueError, ArithmeticError) as why:
            refused[label] = str(why)
            if isinstance(why, ValueError):
                few.append(label)
            if (limit := bounded(cells[one], rest, truth, subject.seed)) is not None:
                limits[label] = limit
    subject.progress("interactions", len(asked), len(asked))
    if not found and not limits:
        pair, reason = next(iter(refused.items()))
        cause = "There are too few rows to say" if few else "It could not be worked out"
        raise CannotSay(f"{cause} how modalities complete each other.", f"Of {pair}: {reason}.")
    of_what = "the class" if kind == "class" else f"which third {subject.target} is in"
    grids = [_grid(found, of_what)] if found else []
    if limits:
        grids.append(grid(limits, of_what))
    if refused:
        grids.append(Grid("Refused", ("", "why"), list(refused.items())))
    shown = {label: [atom for atom, ends in one.intervals.items() if ends[0] > SAID] for label, one in found.items()}
    both = {label: (one, others) for label, one, others in asked if "synergistic" in shown.get(label, ())}
    by_model = used(subject, both)
    return Section(
        "interactions",
        QUESTIONS["interactions"],
        [
            *(_words(found, shown, of_what, truth) if found else []),
            *by_model.words,
            *words(limits, of_what),
            *_left({label: why for label, why in refused.items() if label not in limits}, few),
        ],
        [_drawing(found, of_what)] if found else [],
        grids,
        " ".join([METHOD, *by_model.method, *([BOUNDED] if limits else [])]),
        {
            "pairs": {label: one.account() for label, one in found.items()},
            "bounds": {label: one.account() for label, one in limits.items()},
            "refused": refused,
            **by_model.account,
        },
    )


def _words(
    found: Mapping[str, InteractionEstimate], shown: Mapping[str, Sequence[str]], of_what: str, truth: Array
) -> list[str]:
    """shown: by pair, what was shown of it."""
    every = {atom for atoms in shown.values() for atom in atoms}
    share = np.bincount(truth[truth >= 0]) / (truth >= 0).sum()
    total = -float(share[share > 0] @ np.log2(share[share > 0]))
    said = [
        f"{_headline(every, of_what)} There are {total:.{DIGITS}f} bits to know about {of_what}; what is told of them "
        "below is what small networks find, and there may be more."
    ]
    said += [_sentence(label, found[label], atoms) for label, atoms in shown.items() if atoms]
    if nothing := [label for label, atoms in shown.items() if not atoms]:
        said.append(f"Nothing was shown to be told of {of_what} by {', nor by '.join(nothing)}.")
    return said


def _headline(shown: set[str], of_what: str) -> str:
    """Whether they repeat or complete each other, and what that means."""
    repeat, complete = "redundant" in shown, "synergistic" in shown
    if repeat and complete:
        return (
            f"Modalities here in part repeat each other, where either tells the same of {of_what}, and in part "
            "complete each other, where it shows only in two together."
        )
    if complete:
        return f"Modalities here complete each other: some of what they tell of {of_what} shows only in two together."
    if repeat:
        return f"Modalities here repeat each other: some of what one tells of {of_what}, another tells as well."
    if shown:
        return f"No modalities were shown to repeat or complete each other: what is told of {of_what}, one tells alone."
    return "That modalities repeat or complete each other was not shown."


def _sentence(label: str, found: InteractionEstimate, shown: Sequence[str]) -> str:
    first, second = _names(label)
    places = {
        "synergistic": "only in both together",
        "redundant": "in either",
        "unique_first": f"in {first} alone",
        "unique_second": f"in {second} alone",
    }
    told = [f"{getattr(found, atom):.{DIGITS}f} bits {place}" for atom, place in places.items() if atom in shown]
    return f"{label[0].upper()}{label[1:]}: {listed(told)}."


def _names(label: str) -> tuple[str, str]:
    first, second = label.split(" and ", 1)
    return first, second


def _grid(found: Mapping[str, InteractionEstimate], of_what: str) -> Grid:
    lines = [
        (
            label,
            *(_bits(getattr(one, atom), one.intervals.get(atom)) for atom in ATOMS),
            "" if one.rows is None else f"{one.rows:.0f}",
        )
        for label, one in found.items()
    ]
    return Grid(f"Bits about {of_what}, at least: what small networks find", ("", *ATOMS.values(), "rows"), lines)


def _bits(value: float, ends: Interval | None) -> str:
    said = f"{value:.{DIGITS}f}"
    return said if ends is None else f"{said} [{ends[0]:.{DIGITS}f}, {ends[1]:.{DIGITS}f}]"


def _drawing(found: Mapping[str, InteractionEstimate], of_what: str) -> Drawing:
    lines: list[tuple[str, Value | None, str]] = []
    for label, one in found.items():
        first, second = _names(label)
        lines.append((label, None, ""))
        for atom, said in zip(ATOMS, ("either", f"only {first}", f"only {second}", "only both together"), strict=True):
            lines.append((said, (getattr(one, atom), one.intervals.get(atom)), ""))
    caption = (
        f"What the modalities of a pair tell about {of_what}, in bits, with 95 % intervals: at least so much, as small "
        "networks may miss some."
    )
    return Drawing(forest(lines, "bits", 0.0, digits=DIGITS), caption)


def _left(refused: Mapping[str, str], few: Collection[str]) -> list[str]:
    """few: those of them that want rows."""
    said = [f"Of {label} it cannot be said: {why}." for label, why in refused.items() if label not in few]
    if wanting := [label for label in refused if label in few]:
        which = "the rows that have both, or all, and a label are too few"
        said.append(f"Of {'; '.join(wanting)} it cannot be said: {which}.")
    return said


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
    """[N, F] of all rows at hand, NaN where a row has none: stored cells, tokens averaged, of `LENGTH`.

    Wide ones by their leading principal components, each as wide as it is: the last ones are mostly noise, and would
    drown the first if they were as wide.  The columns of others may have any units, so they become equally wide.
    """
    dataset = subject.encoded.dataset.only([name])
    packed = dataset.batch(range(len(dataset))).modalities[name]
    values = packed.values.float().numpy().astype(np.float64)
    values = values.reshape(len(values), -1, values.shape[-1]).mean(1) if values.ndim > 2 else values
    values = np.nan_to_num(values)
    values -= values.mean(0)
    if values.shape[1] > WIDTH:
        values = values @ np.linalg.svd(values, full_matrices=False)[2][:WIDTH].T
    else:
        values /= np.maximum(values.std(0), TINY)
    values *= LENGTH / max(np.sqrt(np.square(values).sum(1).mean()), TINY)
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

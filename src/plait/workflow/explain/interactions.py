"""Do modalities repeat or complete each other: information about the classes that two of them share, that one has
alone, and that only both together have.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from plait.measures.bootstrap import Interval
from plait.measures.information.interaction_bounds import Bounds
from plait.measures.information.interaction_estimate import InteractionEstimate, interaction_estimate, penalised
from plait.report.figures import Value, forest

from .explain import QUESTIONS
from .interactions_bounded import METHOD as BOUNDED
from .interactions_bounded import bounded, grid, words
from .interactions_used import used
from .section import CannotSay, Drawing, Grid, Part, Section, joined
from .subject import Array, Subject
from .wording import listed

WIDTH = 32
"""Principal components that are kept of a modality's stored cells."""
PAIRS = 6
"""Pairs that are looked at unless asked deeply, those with the most rows."""
FOLDS = 3
CELLS = 8
"""Cells that answers are sorted into at least: more tell little more of a few classes, and take more rows."""
LABELS = 3
"""Labels that are asked about unless asked deeply, where a row may have several."""
LABEL = "the label "
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
LABELLED = (
    "Of several labels each is asked about by itself: whether a row has it. What the fitted model gains is told of all "
    "labels together."
)


def answer(subject: Subject) -> Section:
    """Raises CannotSay on one modality, of times, or where every pair is refused."""
    names, kind = subject.names, subject.about.kind
    if len(names) < 2:
        raise CannotSay("There is one modality, and nothing to complete it.")
    if kind == "survival":
        raise CannotSay(
            f"This is asked of classes and numbers. Of rows whose event was not seen nobody knows when it came, so "
            f"{subject.target} cannot be cut into early, middle and late."
        )
    cells = {name: _cells(subject, name) for name in names}
    truths = _truths(subject)
    found: list[_Found] = []
    unsaid: dict[str, CannotSay] = {}
    for i, (of_what, truth) in enumerate(truths.items()):
        subject.progress("interactions", i, len(truths))
        try:
            found.append(_told(subject, cells, truth, of_what))
        except CannotSay as why:
            unsaid[of_what] = why
    subject.progress("interactions", len(truths), len(truths))
    if not found:
        raise next(iter(unsaid.values()))
    parts = [one.part for one in found]
    if kind == "multi_label":
        parts = [_of_labels(subject, found, unsaid), *(replace(part, account={}) for part in parts)]
    by_model = used(subject, {label: sides for one in found for label, sides in one.both.items()})
    method = [METHOD, *([LABELLED] if kind == "multi_label" else []), *by_model.method]
    if any(one.part.account["bounds"] for one in found):
        method.append(BOUNDED)
    by_model = Part(by_model.words, method=method, account=by_model.account)
    return joined("interactions", QUESTIONS["interactions"], [*parts, by_model])


@dataclass
class _Found:
    """both: {pair: its sides}, of which something was told only by both."""

    of_what: str
    part: Part
    both: dict[str, tuple[str, tuple[str, ...]]]


def _told(subject: Subject, cells: dict[str, Array], truth: Array, of_what: str) -> _Found:
    """What pairs tell of one answer a row.  CannotSay where every pair is refused."""
    asked = _pairs(subject.names, cells, truth, subject.deep)
    found: dict[str, InteractionEstimate] = {}
    limits: dict[str, Bounds] = {}
    refused: dict[str, str] = {}
    few: list[str] = []
    for i, (label, one, others) in enumerate(asked):
        subject.progress(f"pairs, of {of_what}", i, len(asked))
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
    subject.progress(f"pairs, of {of_what}", len(asked), len(asked))
    if not found and not limits:
        pair, reason = next(iter(refused.items()))
        cause = "There are too few rows to say" if few else "It could not be worked out"
        raise CannotSay(f"{cause} how modalities complete each other.", f"Of {pair}: {reason}.")
    grids = [_grid(found, of_what)] if found else []
    if limits:
        grids.append(grid(limits, of_what))
    if refused:
        grids.append(Grid("Refused", ("", "why"), list(refused.items())))
    shown = {label: [atom for atom, ends in one.intervals.items() if ends[0] > SAID] for label, one in found.items()}
    return _Found(
        of_what,
        Part(
            [
                *(_words(found, shown, of_what, truth) if found else []),
                *words(limits, of_what),
                *_left({label: why for label, why in refused.items() if label not in limits}, few),
            ],
            [_drawing(found, of_what)] if found else [],
            grids,
            account={
                "pairs": {label: one.account() for label, one in found.items()},
                "bounds": {label: one.account() for label, one in limits.items()},
                "refused": refused,
            },
        ),
        {label: (one, others) for label, one, others in asked if "synergistic" in shown.get(label, ())},
    )


def _of_labels(subject: Subject, found: Sequence[_Found], unsaid: Mapping[str, CannotSay]) -> Part:
    """Before what is told of each label: which they are, and of which (unsaid) nothing can be said, and why."""
    every, asked = len(subject.about.classes), [*(one.of_what for one in found), *unsaid]
    said = []
    if every > len(asked):
        said.append(
            f"This is asked of {listed(asked)}, of {every} labels those that leave most open; --deep asks of all."
        )
    said += [f"Of {of_what}: {str(why.args[0])[0].lower()}{str(why.args[0])[1:]}" for of_what, why in unsaid.items()]
    return Part(said, account={"labels": {one.of_what.removeprefix(LABEL): one.part.account for one in found}})


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


def _truths(subject: Subject) -> dict[str, Array]:
    """{what is asked about: [N] codes of all rows at hand, -1 where unlabelled}.

    Of numbers: which third of the labelled rows they are in.  Of several labels, each by itself: those that leave most
    open, `LABELS` of them unless asked deeply.
    """
    target = subject.encoded.dataset.target(subject.target)
    values, known = (found.numpy() for found in target.dense(len(subject.encoded.dataset), -1))
    if subject.about.kind == "class":
        return {"the class": np.asarray(values)}
    if subject.about.kind == "number":
        third = np.searchsorted(np.quantile(values[known], [1 / 3, 2 / 3]), values, side="right")
        return {f"which third {subject.target} is in": np.where(known, third, -1)}
    codes = np.where(known[:, None] & np.isfinite(values), values >= 0.5, -1).astype(np.int64)
    shares = [abs((column == 1).sum() / max((column >= 0).sum(), 1) - 0.5) for column in codes.T]
    order = np.argsort(shares, kind="stable")[: None if subject.deep else LABELS]
    return {LABEL + subject.about.classes[i]: codes[:, i] for i in order}


def _enough(rows: Array, truth: Array) -> Array:
    """Without the classes of fewer rows than folds."""
    count = np.bincount(truth[rows], minlength=int(truth.max(initial=0)) + 1)
    return np.asarray(rows[count[truth[rows]] >= FOLDS])

"""What is wrong, or suspicious, about a table, before anything is trained; and labels that a model doubts.

Likely label errors follow confident learning: Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty
in Dataset Labels", JAIR 70 (2021), arXiv:1911.00068.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from plait.core.errors import CellError

from ._cells import is_text
from ._labels import as_label
from .copies import copies
from .duplicates import duplicates
from .schema import Target
from .table import Table

Array = np.ndarray[Any, np.dtype[Any]]

FEW = 10
"""Rows below which a class is too small to be learned or tested."""
GIVEN_AWAY = 0.98
"""Share of held-out rows whose target one column gives, from which it is suspicious."""
TESTED = 20
"""Test rows below which a figure says next to nothing."""
TORN = 0.05
"""Share of the validation and test rows with a cell that another part has, above which it is a warning."""
BINS = 32
UNKNOWN = 0.3
"""Share of a text that a tokenizer does not know from which it is a warning."""
SAMPLE = 1000


@dataclass(frozen=True)
class Finding:
    """One warning.  check: its name; place: the column, modality or target; message: what was found, and what to do."""

    check: str
    place: str
    message: str


def health(
    table: Table,
    splits: Mapping[str, Array] | None = None,
    unknown_rate: Callable[[list[str]], float] | None = None,
) -> list[Finding]:
    """All warnings about a table; cells are not decoded.

    splits: as `split` gives them, for classes that only the test rows have.  unknown_rate: texts -> share of them, from
    0 to 1, that the tokenizer of the text encoder does not know.
    """
    found = [*_ids(table), *_columns(table)]
    for name, target in table.schema.targets.items():
        found += _classes(table, name, target, splits)
        found += _given_away(table, name)
        found += _named_in_paths(table, name, target)
    if splits is not None:
        found += doubts(table, splits)
    if unknown_rate is not None:
        found += _unknown(table, unknown_rate)
    return found


def doubts(table: Table, splits: Mapping[str, Array]) -> Iterator[Finding]:
    """Why figures on the test rows say little, or flatter.  splits: as `split` gives them, or `test` alone."""
    yield from _few_to_test(table, splits["test"])
    if "train" in splits:
        yield from _torn(table, splits)


def _torn(table: Table, splits: Mapping[str, Array]) -> Iterator[Finding]:
    """Copies on both sides of a split; not of cells of few values, which every part has."""
    judged = len(splits["validation"]) + len(splits["test"])
    found = {name: one.across for name, one in duplicates(table, splits).items() if one.across > TORN * judged}
    few = copies(table)[1] if found else []
    for name, across in found.items():
        if name not in few:
            yield Finding(
                "torn_copies",
                name,
                f"{across} of the {judged} validation and test rows have a cell of {name} that another part has, too: "
                "figures may flatter. Let the split column, or one named with --group, keep together what is one",
            )


def _few_to_test(table: Table, test: Array) -> Iterator[Finding]:
    """Whether so few rows, or rows with a label, are there to test on that no figure says anything."""
    of = {"": len(test)}
    for name in table.schema.targets:
        of[name] = int(np.isin(table.targets(name)[0], test).sum())
    fewest = min(of, key=lambda name: of[name])
    if of[fewest] < TESTED:
        there = "is 1 row" if of[fewest] == 1 else f"are {of[fewest]} rows"
        rows = f"{there} {f'with a label in {fewest!r} ' if fewest else ''}to test on"
        said = "figures on so few say next to nothing. plait compare tests on every row"
        yield Finding("few_test_rows", "test", f"there {rows}: {said}")


def label_errors(probabilities: Array, labels: Array) -> Array:
    """Rows whose label is likely wrong, int64, the most suspicious first.

    probabilities: [N, C], each row from a model that has not seen it; labels: int [N], -1 unlabelled.  A class's
    threshold is the mean probability of it over the rows labelled so; a row is suspect if, among the classes whose
    threshold it reaches, the likeliest is not its label.  Ordered by the label's probability minus the best other.
    Raises ValueError if the shapes do not fit.
    """
    probabilities, labels = np.asarray(probabilities, np.float64), np.asarray(labels, np.int64)
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1] or (labels >= probabilities.shape[1]).any():
        raise ValueError(f"probabilities {probabilities.shape} and labels {labels.shape} do not belong together")
    thresholds = np.full(probabilities.shape[1], np.inf)
    for code in np.unique(labels[labels >= 0]):
        thresholds[code] = probabilities[labels == code, code].mean()
    confident = np.where(probabilities >= thresholds, probabilities, -1.0)
    likeliest = confident.argmax(axis=1)
    suspect = np.flatnonzero((labels >= 0) & (confident.max(axis=1) >= 0) & (likeliest != labels))
    others = probabilities[suspect].copy()
    own = others[np.arange(len(suspect)), labels[suspect]]
    others[np.arange(len(suspect)), labels[suspect]] = -np.inf
    return suspect[np.argsort(own - others.max(axis=1, initial=-np.inf), kind="stable")]


def _ids(table: Table) -> Iterator[Finding]:
    twice = table.duplicate_ids
    if twice:
        some = ", ".join(f"{name!r} ({n} times)" for name, n in list(twice.items())[:3])
        yield Finding(
            "duplicate_ids",
            table.schema.id or "id",
            f"{len(twice)} ids are not unique: {some}. Later ones got '#2', '#3' ...",
        )


def _columns(table: Table) -> Iterator[Finding]:
    present = table.present()
    for name, modality in table.schema.modalities.items():
        if not len(table):
            return
        if not present[name].any():
            yield Finding("empty", name, "no row has a cell of this modality; nothing can be learned from it")
            continue
        if modality.kind != "tabular":
            continue
        for column, values in zip(modality.columns, zip(*filter(None, table.cells(name)), strict=True), strict=True):
            different = set(values) - {None}
            if len(different) < 2 and len(table) > 1:
                value = f"always {next(iter(different))!r}" if different else "empty in every row"
                yield Finding("constant", column, f"{value}: it carries nothing; --ignore {column} leaves it out")


def _classes(table: Table, name: str, target: Target, splits: Mapping[str, Array] | None) -> Iterator[Finding]:
    if target.kind not in ("class", "multi_label"):
        return
    rows, values = table.targets(name)
    if not len(rows):
        yield Finding("unlabelled", name, "no row has a label that can be read")
        return
    classes = target.classes or ()
    counts = np.bincount(values, minlength=len(classes)) if target.kind == "class" else values.sum(axis=0).astype(int)
    there = [(label, int(n)) for label, n in zip(classes, counts, strict=True) if n]
    if target.kind == "class" and len(there) == 1:
        yield Finding("one_class", name, f"every label is {there[0][0]!r}: there is nothing to tell apart")
    few = [f"{label!r} ({n})" for label, n in there if n < FEW]
    if few:
        more = f" and {len(few) - 5} more" if len(few) > 5 else ""
        yield Finding(
            "few_rows", name, f"classes with fewer than {FEW} rows: {', '.join(few[:5])}{more}; merge or collect"
        )
    if splits is not None and target.kind == "class":
        said = [as_label(value) for value in table.column(target.columns[0]).to_pylist()]
        seen = {said[row] for part, at in splits.items() if part != "test" for row in at.tolist()}
        only = Counter(
            label for row in splits["test"].tolist() if (label := said[row]) is not None and label not in seen
        )
        if only:
            some = ", ".join(f"{label!r} ({n})" for label, n in only.most_common(5))
            yield Finding("only_in_test", name, f"classes that only test rows have, so no model can know them: {some}")


def _given_away(table: Table, name: str) -> Iterator[Finding]:
    """One column that gives the target of rows that were not looked at: one half of the rows is tried on the other."""
    target = table.schema.targets[name]
    rows, values = table.targets(name)
    if target.kind in ("multi_label", "survival") or len(rows) < 2 * FEW:
        return
    order = np.random.default_rng(0).permutation(len(rows))
    for modality_name, modality in table.schema.modalities.items():
        if modality.kind != "tabular":
            continue
        cells = [cell or [None] * len(modality.columns) for cell in table.cells(modality_name, rows.tolist())]
        for column, found in zip(modality.columns, zip(*cells, strict=True), strict=True):
            if target.kind == "number":
                share = 1.0 if _same_order(found, values) else 0.0
            else:
                share = _held_out(_few_values(found), values, order)
            if share >= GIVEN_AWAY:
                how = f"alone gives {share:.1%} of it" if target.kind == "class" else "orders the rows as it does"
                yield Finding(
                    "given_away", column, f"{how} ({name}). Is it known before the target is? If not: --ignore {column}"
                )


def _few_values(found: Sequence[float | str | None]) -> list[Any]:
    """The values, or for a number that is nearly always different the bin it lies in."""
    numbers = np.array([value for value in found if isinstance(value, float)])
    if 5 * len(np.unique(numbers)) <= len(found) or len(numbers) < len([v for v in found if v is not None]):
        return list(found)
    edges = np.quantile(numbers, np.linspace(0, 1, BINS + 1)[1:-1])
    return [None if value is None else int(np.searchsorted(edges, value, side="right")) for value in found]


def _held_out(found: Sequence[Any], codes: Array, order: Array) -> float:
    """Share of the rows that have a value and whose code is the commonest of that value in the other half.

    0 if that is not clearly more than always saying the commonest code.
    """
    has = [value is not None for value in found]
    half = len(order) // 2
    right = 0
    for learn, try_out in ((order[:half], order[half:]), (order[half:], order[:half])):
        seen: dict[Any, Counter[int]] = defaultdict(Counter)
        for at in learn.tolist():
            seen[found[at]][int(codes[at])] += 1
        right += sum(
            seen[found[at]].most_common(1)[0][0] == codes[at]
            for at in try_out.tolist()
            if has[at] and found[at] in seen
        )
    there = codes[np.array(has, bool)]
    if len(there) < 2 * FEW:
        return 0.0
    share, common = right / len(there), np.bincount(there).max() / len(there)
    return share if share > common and 1 - share <= 0.2 * (1 - common) else 0.0


def _same_order(found: Sequence[float | str | None], values: Array) -> bool:
    """Whether a column of numbers ranks the rows as the target does, up or down (Spearman's rho beyond 0.999)."""
    if any(isinstance(value, str) for value in found):
        return False
    has = np.array([value is not None for value in found])
    if has.sum() < 2 * FEW:
        return False
    one = _ranks(np.array([value for value in found if value is not None], np.float64))
    other = _ranks(values[has])
    spread = one.std() * other.std()
    return bool(spread and abs(((one - one.mean()) * (other - other.mean())).mean() / spread) > 0.999)


def _ranks(values: Array) -> Array:
    """Ranks, equal values sharing their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - (counts - 1) / 2)[inverse])


def _named_in_paths(table: Table, name: str, target: Target) -> Iterator[Finding]:
    """Class names in ids and paths: harmless as long as these are no input, and a sign that something else may tell."""
    if target.kind != "class":
        return
    rows, codes = table.targets(name)
    classes = [label.lower() for label in target.classes or ()]
    if len(rows) < FEW or len(set(codes.tolist())) < 2:
        return
    columns = [m.columns[0] for m in table.schema.modalities.values() if m.kind in ("image", "audio")]
    said = {column: table.column(column) for column in columns if column in table.names}
    texts = {column: values.to_pylist() for column, values in said.items() if is_text(values.type)}
    if table.schema.id is not None:
        texts[table.schema.id] = table.ids
    rng = np.random.default_rng(0)
    other = rng.permutation(codes)
    for column, values in texts.items():
        words = [set(re.split(r"[\W_]+", (values[row] or "").lower())) for row in rows.tolist()]
        own = np.mean([_within(classes[code], w) for code, w in zip(codes, words, strict=True)])
        chance = np.mean([_within(classes[code], w) for code, w in zip(other, words, strict=True)])
        if own >= 0.5 and own - chance >= 0.5 * (1 - chance):
            yield Finding(
                "named_in_paths",
                column,
                f"says the class ({name}) in {own:.0%} of the rows; make sure that no input does",
            )


def _within(label: str, words: set[str]) -> bool:
    return set(re.split(r"[\W_]+", label)) - {""} <= words


def _unknown(table: Table, unknown_rate: Callable[[list[str]], float]) -> Iterator[Finding]:
    present = table.present()
    for name, modality in table.schema.modalities.items():
        rows = np.flatnonzero(present[name])
        if modality.kind != "text" or not len(rows):
            continue
        sample = rows[np.linspace(0, len(rows) - 1, min(SAMPLE, len(rows))).astype(int)]
        texts = [
            cell for cell in table.cells(name, sample.tolist()) if not (cell is None or isinstance(cell, CellError))
        ]
        rate = unknown_rate(texts) if texts else 0.0
        if rate > UNKNOWN:
            yield Finding(
                "unknown_text", name, f"the tokenizer does not know {rate:.0%} of it; take an encoder for its language"
            )

"""Train, validation and test rows: given by a column, or drawn so that classes are spread evenly and no group is torn.

Groups (single rows where there are none) go one by one, largest first and otherwise in the order of a hash of their
content and the seed, to the part that would be least full: 4 times the share of all rows that it would then have over
its fraction, plus the same over the rows of the group's own strata.  This is the greedy rule for scheduling on uniform
machines (Graham, "Bounds on Multiprocessing Timing Anomalies", 1969), once for all rows and once for each stratum.

The order depends on ids (or group names), not on the order of the rows.  A stratified split looks at the labels of all
rows; a given column looks at none, and is the way to keep test labels out of every decision.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from plait.core.errors import SchemaError, nearest

from ._labels import as_label
from .table import Table

Rows = np.ndarray[Any, np.dtype[np.int64]]

SPLITS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
}
"""What a split column may say, in any case, and what it means."""
PARTS = ("train", "validation", "test")
ALL_ROWS = 4
"""Weight of the size of a part against its shares of strata; with less, many strata of 3 rows leave test too small."""


def split(
    table: Table | Sequence[str],
    *,
    fractions: tuple[float, float, float] = (0.7, 0.15, 0.15),
    seed: int = 0,
    column: str | None = None,
    groups: Sequence[Any] | None = None,
    stratify: Sequence[int] | Rows | bool | None = None,
) -> dict[str, Rows]:
    """{"train", "validation", "test"}: ascending int64 rows; together all rows, or those that a column names.

    table: a Table, whose schema names the split and group columns and the target to stratify by unless said otherwise,
    or the ids of the rows.  groups: one value a row, None alone for itself.  stratify: one code a row, -1
    unlabelled, or False.
    A part is empty only if there are fewer than three groups.  A table that gives train and test rows but no validation
    rows gets them from its train rows.  Raises SchemaError if the column says something else, or gives no train rows.
    """
    if isinstance(table, Table):
        column = column or table.schema.split
        if groups is None and table.schema.group is not None:
            groups = table.column(table.schema.group).to_pylist()
        if column is not None:
            return _given(table, column, fractions, seed, groups)
        ids: Sequence[str] = table.ids
        if stratify is None or stratify is True:
            stratify = strata(table)
    else:
        ids = table
    codes = [-1] * len(ids) if stratify is None or isinstance(stratify, bool) else [int(code) for code in stratify]
    parts = _deal(_groups(ids, groups), codes, fractions, seed)
    _fill(parts, fractions, codes)
    return dict(zip(PARTS, (_rows(part) for part in parts), strict=True))


def _given(
    table: Table, column: str, fractions: tuple[float, ...], seed: int, groups: Sequence[Any] | None
) -> dict[str, Rows]:
    rows: dict[str, list[int]] = {part: [] for part in PARTS}
    for row, value in enumerate(table.column(column).to_pylist()):
        said = as_label(value)
        if said is None:
            continue
        if said.lower() not in SPLITS:
            meant = nearest(said, SPLITS)
            raise SchemaError(
                f"Split column {column!r} says {said!r} in row {row}; expected train, validation or test.{meant}"
            )
        rows[SPLITS[said.lower()]].append(row)
    if not rows["train"]:
        raise SchemaError(f"Split column {column!r} gives no row to train on.")
    if not rows["validation"]:
        train = rows["train"]
        ids = [table.ids[row] for row in train]
        inner = None if groups is None else [groups[row] for row in train]
        share = fractions[1] / (fractions[0] + fractions[1])
        parts = _deal(_groups(ids, inner), [-1] * len(train), (1 - share, share), seed)
        _fill(parts, (1 - share, share), [-1] * len(train))
        rows["train"], rows["validation"] = ([train[at] for group in part for at in group] for part in parts)
    return {part: np.array(sorted(found), np.int64) for part, found in rows.items()}


def folds(
    ids: int | Sequence[str],
    *,
    k: int = 5,
    repeats: int = 1,
    groups: Sequence[Any] | None = None,
    stratify: Sequence[int] | Rows | None = None,
    seed: int = 0,
) -> Iterator[tuple[Rows, Rows]]:
    """(train rows, test rows), k times per repeat; the test rows of one repeat are all rows, each once.

    ids: of the rows, or how many there are.  Raises ValueError if k < 2 or there are fewer than k groups.
    """
    ids = [str(row) for row in range(ids)] if isinstance(ids, int) else ids
    dealt = _groups(ids, groups)
    if k < 2 or len(dealt) < k:
        raise ValueError(f"{k} folds of {len(dealt)} groups: there must be at least two folds, and a group for each.")
    codes = [-1] * len(ids) if stratify is None else [int(code) for code in stratify]
    for repeat in range(repeats):
        parts = _deal(dealt, codes, (1 / k,) * k, (seed, repeat))
        _fill(parts, (1 / k,) * k, codes)
        for part in parts:
            test = _rows(part)
            yield np.setdiff1d(np.arange(len(ids)), test), test


def folds_among(
    table: Table,
    rows: Rows,
    k: int,
    *,
    repeats: int = 1,
    groups: Sequence[Any] | Rows | None = None,
    stratify: Sequence[int] | Rows | None = None,
    seed: int = 0,
) -> Iterator[tuple[Rows, Rows]]:
    """`folds` of some rows of a table: (the others of them, the part), as rows of the table.

    groups, stratify: one value for each row of the table.
    """
    for rest, part in folds(
        [table.ids[row] for row in rows],
        k=k,
        repeats=repeats,
        groups=None if groups is None else [groups[row] for row in rows],
        stratify=None if stratify is None else [stratify[row] for row in rows],
        seed=seed,
    ):
        yield rows[rest], rows[part]


def strata(table: Table) -> Rows | None:
    """One code a row to stratify by, from the first target, -1 where unlabelled; None without a target.

    class: its code.  multi_label: the rarest of the row's labels.  number: the fifth it lies in.  survival: the event.
    """
    if not table.schema.targets:
        return None
    name, target = next(iter(table.schema.targets.items()))
    rows, values = table.targets(name)
    codes = np.full(len(table), -1, np.int64)
    if target.kind == "class":
        codes[rows] = values
    elif target.kind == "number" and len(rows):
        codes[rows] = np.searchsorted(np.quantile(values, [0.2, 0.4, 0.6, 0.8]), values, side="right")
    elif target.kind == "survival":
        codes[rows] = values[:, 1].astype(np.int64)
    elif target.kind == "multi_label" and values.size:
        rarity = np.where(values > 0, values.sum(axis=0), np.inf)
        codes[rows] = np.where(values.any(axis=1), rarity.argmin(axis=1), values.shape[1])
    return codes


def _groups(ids: Sequence[str], groups: Sequence[Any] | None) -> list[tuple[str, list[int]]]:
    """(name, rows) of each group; a row without one is a group of its own."""
    if groups is not None and len(groups) != len(ids):
        raise ValueError(f"{len(groups)} groups for {len(ids)} rows.")
    members: dict[str, list[int]] = {}
    for row, id in enumerate(ids):
        group = None if groups is None else groups[row]
        alone = group is None or group == "" or group != group
        members.setdefault(f"row {id}" if alone else f"group {group}", []).append(row)
    return list(members.items())


def _deal(
    groups: list[tuple[str, list[int]]], codes: Sequence[int], fractions: Sequence[float], seed: Any
) -> list[list[list[int]]]:
    """Per part, the groups (lists of rows) that fell to it, in the order in which they did."""
    if any(fraction < 0 for fraction in fractions) or not np.isclose(sum(fractions), 1):
        raise ValueError(f"Fractions {tuple(fractions)} must be positive or 0 and add up to 1.")
    sizes = Counter(codes)
    total = len(codes)
    ranked = sorted(groups, key=lambda group: (-len(group[1]), _hash(seed, group[0])))
    parts: list[list[list[int]]] = [[] for _ in fractions]
    held = [0] * len(fractions)
    held_of: list[dict[int, int]] = [{} for _ in fractions]
    open_parts = sorted((p for p, fraction in enumerate(fractions) if fraction > 0), key=lambda p: -fractions[p])
    for _, rows in ranked:
        counts = Counter(codes[row] for row in rows) if len(rows) > 1 else {codes[rows[0]]: 1}
        best, least = -1, float("inf")
        for part in open_parts:
            own = sum(n * (held_of[part].get(code, 0) + n) / sizes[code] for code, n in counts.items()) / len(rows)
            fullness = (ALL_ROWS * (held[part] + len(rows)) / total + own) / fractions[part]
            if fullness < least:
                best, least = part, fullness
        parts[best].append(rows)
        held[best] += len(rows)
        for code, n in counts.items():
            held_of[best][code] = held_of[best].get(code, 0) + n
    return parts


def _fill(parts: list[list[list[int]]], fractions: Sequence[float], codes: Sequence[int]) -> None:
    """Gives an empty part the last group of the largest part, if possible one that leaves every stratum there."""
    for part in range(len(parts) - 1, -1, -1):
        largest = max(range(len(parts)), key=lambda p: len(parts[p]))
        if parts[part] or not fractions[part] or len(parts[largest]) < 2:
            continue
        giver = parts[largest]
        left = Counter(codes[row] for group in giver for row in group)
        spare = [
            at
            for at, group in enumerate(giver)
            if all(left[c] > n for c, n in Counter(codes[r] for r in group).items())
        ]
        parts[part].append(giver.pop(spare[-1] if spare else -1))


def _hash(seed: Any, name: str) -> bytes:
    return hashlib.blake2b(f"{seed}/{name}".encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _rows(part: list[list[int]]) -> Rows:
    return np.array(sorted(row for group in part for row in group), np.int64)

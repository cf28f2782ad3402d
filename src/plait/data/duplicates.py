"""Equal cells: within the table, and on both sides of a split, where they flatter every test figure.

Cells are equal if their content is (`Table.key`), wherever they lie and whatever column they stand in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .table import Table

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Duplicates:
    """Of one modality."""

    present: int
    """Cells that are there and can be read."""
    repeated: int
    """Cells that equal one in an earlier row."""
    across: int
    """Cells of validation and test that equal a cell of train, and of test that equal one of validation."""
    rows: tuple[tuple[int, ...], ...] = ()
    """The rows of each set of equal cells."""


def duplicates(table: Table, splits: Mapping[str, Array] | None = None) -> dict[str, Duplicates]:
    """Exact duplicates per modality, in table order; across the parts of `splits` (as `split` gives them) if given.

    Rows of a tabular modality are left out: few columns make equal rows that are different things.
    """
    part = np.full(len(table), -1, np.int64)
    for number, rows in enumerate((splits or {}).values()):
        part[rows] = number
    return {name: _of(*table.keys(name), part) for name in _comparable(table)}


def equal_groups(table: Table, modalities: Iterable[str] | None = None, also: Iterable[Sequence[Any]] = ()) -> Array:
    """int64 [N]: rows get the same number if a chain of equal cells (of all modalities but tabular ones) joins them.

    also: further columns of N values each; rows with equal values that are not None are joined too.  The number is
    the first row of the group.  For `split(groups=...)`: near-duplicates then stay on one side.
    """
    parent = np.arange(len(table))
    for name in _comparable(table) if modalities is None else modalities:
        rows, keys = table.keys(name)
        _join(parent, rows.tolist(), [key.tobytes() for key in keys])
    for values in also:
        if len(values) != len(table):
            raise ValueError(f"{len(values)} values for {len(table)} rows.")
        given = [row for row, value in enumerate(values) if value is not None]
        _join(parent, given, [values[row] for row in given])
    return np.array([_root(parent, row) for row in range(len(table))], np.int64)


def given_groups(table: Table) -> Array | None:
    """int64 [N]: rows get the same number if the table's group column says the same of them; a row of which it says
    nothing is a group by itself.  None if there is no such column."""
    if table.schema.group is None:
        return None
    said = table.column(table.schema.group).to_pylist()
    names = [f"row {row}" if value in (None, "") else f"group {value}" for row, value in enumerate(said)]
    return np.asarray(np.unique(names, return_inverse=True)[1])


def groups_of(table: Table) -> Array:
    """int64 [N]: `given_groups`, or `equal_groups` of a table that has none."""
    given = given_groups(table)
    return equal_groups(table) if given is None else given


def _comparable(table: Table) -> list[str]:
    return [name for name, modality in table.schema.modalities.items() if modality.kind != "tabular"]


def _of(rows: Array, keys: Array, part: Array) -> Duplicates:
    together: dict[bytes, list[int]] = {}
    for row, key in zip(rows.tolist(), keys, strict=True):
        together.setdefault(key.tobytes(), []).append(row)
    sets = [same for same in together.values() if len(same) > 1]
    across = 0
    for same in sets:
        parts = [int(part[row]) for row in same if part[row] >= 0]
        across += sum(number > min(parts) for number in parts)
    return Duplicates(len(rows), sum(len(same) - 1 for same in sets), across, tuple(map(tuple, sets)))


def _join(parent: Array, rows: list[int], values: list[Any]) -> None:
    first: dict[Any, int] = {}
    for row, value in zip(rows, values, strict=True):
        one, other = _root(parent, first.setdefault(value, row)), _root(parent, row)
        parent[max(one, other)] = min(one, other)


def _root(parent: Array, row: int) -> int:
    while parent[row] != row:
        parent[row] = parent[parent[row]]
        row = int(parent[row])
    return row

"""Rows that are no witnesses of their own: what a group column says of them, and copies of each other's cells."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from .duplicates import equal_groups, given_groups
from .table import Table

Array = np.ndarray[Any, np.dtype[Any]]
PARTS = 5
"""Cells that join more than one part in so many of the rows are no copies."""

PAIR = 2
"""Rows that may always be copies of each other, however few there are."""


def copies(table: Table, parts: int = PARTS, also: Iterable[Sequence[Any]] = ()) -> tuple[Array, list[str]]:
    """int64 [N]: rows get the same number if equal cells join them, as in `equal_groups`; and the modalities left out.

    Where that joins more than one of `parts` parts of the rows, cells are no copies but few values, such as the same
    question asked of many pictures: the modality with the most equal ones joins nothing then, and so on.
    """
    also = list(also)
    kept = [name for name, modality in table.schema.modalities.items() if modality.kind != "tabular"]
    few = []
    most = max(len(table) / parts, PAIR, _largest(equal_groups(table, [], also)))
    while _largest(joined := equal_groups(table, kept, also)) > most:
        worst = max(kept, key=lambda name: _largest(equal_groups(table, [name])))
        kept.remove(worst)
        few.append(worst)
    return joined, few


def witnesses(table: Table) -> tuple[Array, list[str]]:
    """int64 [N]: rows with the same number are one witness, by the table's group column, or as copies where it has none
    -> and the modalities that this left out."""
    given = given_groups(table)
    return copies(table) if given is None else (given, [])


def together(table: Table) -> list[Any]:
    """[N] for `split(groups=...)`: what the group column says of each row, or of a table that has none a name for all
    copies of each other's cells, which does not depend on the order of rows; None of a row that is alone."""
    if table.schema.group is not None:
        return list(table.column(table.schema.group).to_pylist())
    joined, _ = copies(table)
    names: dict[int, str] = {}
    for id, group in zip(table.ids, joined.tolist(), strict=True):
        names[group] = min(id, names.get(group, id))
    alone = np.bincount(joined) == 1
    return [None if alone[group] else names[group] for group in joined.tolist()]


def left_out(few: Iterable[str]) -> list[str]:
    """What is said of the modalities that were left out."""
    return [
        f"Equal cells of {name} join too many rows to be copies, so they hold no rows together. Where rows belong "
        "together all the same, let a group column say it."
        for name in few
    ]


def _largest(groups: Array) -> int:
    return int(np.bincount(groups).max(initial=1))

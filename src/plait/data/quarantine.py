"""Bad cells: set aside with row, column and reason, so that the run can go on without them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from plait.core.errors import DataError


@dataclass(frozen=True, order=True)
class Quarantined:
    """One cell that cannot be used.  row: position in the table; column: its name, or its modality's or target's."""

    row: int
    column: str
    reason: str


class Quarantine:
    """The bad cells of a table, one entry per (row, column), in table order.  strict: the first raises DataError."""

    def __init__(self, cells: Iterable[Quarantined] = (), strict: bool = False) -> None:
        self.strict = strict
        self._cells: dict[tuple[int, str], Quarantined] = {}
        for cell in cells:
            self.add(cell.row, cell.column, cell.reason)

    def add(self, row: int, column: str, reason: str) -> None:
        """Set a cell aside; the first reason stays.  Raises DataError if strict."""
        if self.strict:
            raise DataError(f"Row {row}, column {column!r}: {reason} (strict: the first bad cell stops the run)")
        self._cells.setdefault((int(row), column), Quarantined(int(row), column, reason))

    def __iter__(self) -> Iterator[Quarantined]:
        return iter(sorted(self._cells.values()))

    def __len__(self) -> int:
        return len(self._cells)

    def __contains__(self, place: tuple[int, str]) -> bool:
        return place in self._cells

"""Only rows of which a column says what is asked: a stage on the clean rows, or on those of one source.

    rows i with column_i in values   (or, turned around, all others)

The column may be one that the schema ignores.  A cell is compared as text, in any case, so that `false` in a recipe is
`False` of a boolean column and `false` of a file.  Where nothing is said is among the others.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch

from plait.core.errors import DataError
from plait.core.part import Edit, Tools


def says(cell: Any, values: list[Any]) -> bool:
    """Whether a cell is one of the values, as text in any case."""
    return cell is not None and str(cell).casefold() in {str(value).casefold() for value in values}


class Where(Edit):
    """values: one or several.  others: the rows that say something else stay, instead of these.

    optional: of a table without that column all rows stay.
    """

    def __init__(
        self,
        column: str,
        values: bool | int | float | str | list[bool | int | float | str],
        others: bool = False,
        optional: bool = False,
    ) -> None:
        super().__init__()
        self.column, self.others, self.optional = column, others, optional
        self.values = list(values) if isinstance(values, list) else [values]

    def fingerprint(self) -> str:
        return json.dumps([self.column, self.values, self.others, self.optional])

    def forward(self, table: Any, tools: Tools, g: torch.Generator) -> Any:
        """DataError if no row is left."""
        if self.optional and self.column not in table.names:
            return table
        cells = table.column(self.column).to_pylist()
        rows = np.flatnonzero([says(cell, self.values) != self.others for cell in cells])
        if not len(rows):
            wanted = "is not" if self.others else "is"
            raise DataError(
                f"edits.where: of {len(cells)} rows there is none whose {self.column!r} {wanted} {self.values}."
            )
        return table.take(rows)

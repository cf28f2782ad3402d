"""Each modality learns only from the rows whose evidence is in it: elsewhere its cell is absent.

    S_m = { i : column_i names m, or says nothing },   row i keeps its cell of m if i in S_m

An absent cell is never encoded and has no loss, so where each modality decides for itself (fusion: late_average,
objectives: singles) a branch gets a gradient from S_m alone.  The column is text like `video|text`, or a list; `|`
alone is a row whose evidence is in none, and a blank cell says nothing: the row stays as it is.  With every row in
every subset the table is the same.  Only training rows are edited: of other rows nobody has to know it.
Source: Ancarani et al., "Leveraging Multimodal Explanatory Annotations for Video Interpretation with Modality Specific
Dataset", arXiv:2504.11232, whose modalities are named by explanations that people gave.
"""

from __future__ import annotations

import json
from typing import Any

import torch

from plait.core.errors import DataError, nearest
from plait.core.part import Edit, Tools


class EvidenceSubsets(Edit):
    """column: names the modalities; the schema may ignore it.  modalities: of which it speaks; null: of all."""

    def __init__(self, column: str, modalities: list[str] | None = None) -> None:
        super().__init__()
        self.column, self.modalities = column, modalities

    def fingerprint(self) -> str:
        return json.dumps([self.column, self.modalities])

    def forward(self, table: Any, tools: Tools, g: torch.Generator) -> Any:
        """DataError if something is named that is no modality."""
        known = list(table.schema.modalities)
        said = table.labels(self.column)
        for name in [*(self.modalities or ()), *(name for names in said for name in names or ())]:
            if name not in known:
                raise DataError(f"edits.evidence_subsets: {name!r} is no modality.{nearest(name, known)}")
        for name in self.modalities or known:
            outside = [row for row, names in enumerate(said) if names is not None and name not in names]
            table = table.without_cells(name, outside) if outside else table
        return table

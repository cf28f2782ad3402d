"""What a table holds, before anything is trained: kinds, missing patterns, duplicates, bad cells, warnings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from plait.core.assemble import encoder_for
from plait.core.errors import MissingExtra
from plait.core.part import Encoder
from plait.core.plain import plain
from plait.data.copies import together
from plait.data.duplicates import Duplicates, duplicates
from plait.data.health import Finding, health
from plait.data.read import read
from plait.data.schema import Schema
from plait.data.splits import split as split_rows
from plait.data.table import Table
from plait.measures import presence

from .defaults import resolve
from .prepare import Progress, encode, silent


@dataclass
class Inspection:
    """present: {modality: bool [N]}, bad and empty cells left out.  splits: {part: rows} as `fit` draws them.

    patterns: {modalities that a row has: rows}.  duplicates: by modality, tabular ones left out.
    """

    table: Table
    present: dict[str, np.ndarray]
    splits: dict[str, np.ndarray]
    duplicates: dict[str, Duplicates]
    warnings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def patterns(self) -> dict[tuple[str, ...], int]:
        """{the modalities of a row: how many rows have just these}, the most frequent first."""
        names = list(self.present)
        have = np.array([self.present[name] for name in names], bool).reshape(len(names), len(self.table)).T
        return presence.patterns(have, names)

    def account(self) -> dict[str, Any]:
        """As `plait inspect --json` prints it."""
        out: dict[str, Any] = plain(
            {
                **overview(self.table, self.present),
                "patterns": [{"present": list(names), "rows": rows} for names, rows in self.patterns.items()],
                "duplicates": {name: vars(found) for name, found in self.duplicates.items()},
                "splits": {part: len(rows) for part, rows in self.splits.items()},
                "warnings": [vars(finding) for finding in self.warnings],
                "notes": self.notes,
                "schema": self.table.schema.dump(),
            }
        )
        return out


def overview(table: Table, present: Mapping[str, np.ndarray] | None = None) -> dict[str, Any]:
    """{"rows", "modalities", "targets", "quarantined"} of a table as far as it was read and decoded, as plain data."""
    schema = table.schema
    have = table.present() if present is None else present
    return {
        "rows": len(table),
        "modalities": {
            name: {
                "kind": schema.modalities[name].kind,
                "columns": list(schema.modalities[name].columns),
                "present": int(rows.sum()),
            }
            for name, rows in have.items()
        },
        "targets": {
            name: {"kind": target.kind, "labelled": len(table.targets(name)[0])}
            for name, target in schema.targets.items()
        },
        "quarantined": [vars(cell) for cell in table.quarantine],
    }


def inspect(
    source: Any,
    *,
    target: str | Sequence[str] | None = None,
    schema: Schema | str | Path | None = None,
    kinds: Mapping[str, str] | None = None,
    ignore: Iterable[str] = (),
    split: str | None = None,
    group: str | None = None,
    id: str | None = None,
    strict: bool = False,
    decode: bool = True,
    seed: int = 0,
    cache: Path | None = None,
    progress: Progress = silent,
) -> Inspection:
    """Look at a table as `fit` would with the default recipe and this seed; no encoder runs.

    decode: every distinct cell, once for all times, so that bad ones are found; otherwise only what reading shows.
    strict: DataError at the first bad cell.
    """
    table = read(
        source, schema, target=target, kinds=kinds, ignore=ignore, split=split, group=group, id=id, strict=strict
    )
    recipe = resolve(table.schema)
    encoders = {name: encoder_for(recipe, name, modality.kind) for name, modality in table.schema.modalities.items()}
    present = table.present()
    if decode:
        # Vectors of one width are numbers already, a million of them read in bulk.
        checks = {
            name: _Decodable(e.wants())
            for name, e in encoders.items()
            if table.schema.modalities[name].width is None or e.kind != "vector"
        }
        stores = encode(table, recipe, tuple(checks), encoders=checks, cache=cache, progress=progress).dataset.stores
        present |= {name: store.present.numpy() for name, store in stores.items()}
    splits = split_rows(table, groups=together(table), seed=seed) if len(table) else {}
    repeated = duplicates(table, splits)
    notes = list(table.notes)
    try:
        warnings = health(table, splits or None, _unknown_rate(encoders))
    except MissingExtra as error:
        warnings = health(table, splits or None)
        notes.append(f"How much text the tokenizer knows was not checked. {error}")
    return Inspection(table, present, splits, repeated, warnings, notes)


class _Decodable(Encoder):
    """Keeps nothing of a cell but that it can be decoded as another encoder wants it."""

    def __init__(self, wants: dict[str, Any]) -> None:
        super().__init__()
        self._wants = wants

    def wants(self) -> dict[str, Any]:
        return self._wants

    def precompute(self, cells: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [np.zeros(0, np.uint8) for _ in cells]

    def fingerprint(self) -> str:
        return "decodable"


def _unknown_rate(encoders: Mapping[str, Encoder]) -> Callable[[list[str]], float] | None:
    """Of the encoder for text, if it has a vocabulary."""
    rates = (getattr(encoder, "unknown_rate", None) for encoder in encoders.values() if encoder.kind == "text")
    return next((rate for rate in rates if rate is not None), None)

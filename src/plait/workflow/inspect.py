"""What a table holds, before anything is trained: kinds, missing patterns, duplicates, bad cells, warnings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from plait.core.assemble import encoder_for
from plait.core.errors import CellError, MissingExtra
from plait.core.part import Encoder
from plait.data import kinds as decoders
from plait.data.duplicates import Duplicates, duplicates
from plait.data.health import Finding, health
from plait.data.read import read
from plait.data.schema import Schema
from plait.data.splits import split as split_rows
from plait.data.store import BATCH, THREADS, details
from plait.data.table import Table
from plait.measures import presence

from .defaults import resolve
from .prepare import Progress, silent
from .run import plain


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
            name: {"kind": schema.modalities[name].kind, "present": int(rows.sum())} for name, rows in have.items()
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
    progress: Progress = silent,
) -> Inspection:
    """Look at a table as `fit` would with the default recipe and this seed; no encoder runs, nothing is written.

    decode: decode every distinct cell, so that bad ones are found; otherwise only what reading shows.
    strict: DataError at the first bad cell.
    """
    table = read(
        source, schema, target=target, kinds=kinds, ignore=ignore, split=split, group=group, id=id, strict=strict
    )
    recipe = resolve(table.schema)
    encoders = {name: encoder_for(recipe, name, modality.kind) for name, modality in table.schema.modalities.items()}
    empty = {}
    if decode:
        for name, encoder in encoders.items():
            empty[name] = _decode(table, name, encoder, progress)
    splits = split_rows(table, seed=seed) if len(table) else {}
    repeated = duplicates(table, splits)
    notes = list(table.notes)
    try:
        warnings = health(table, splits or None, _unknown_rate(encoders))
    except MissingExtra as error:
        warnings = health(table, splits or None)
        notes.append(f"How much text the tokenizer knows was not checked. {error}")
    present = table.present()
    for name, rows in empty.items():
        present[name][rows] = False
    return Inspection(table, present, splits, repeated, warnings, notes)


def _decode(table: Table, name: str, encoder: Encoder, progress: Progress) -> np.ndarray:
    """Quarantine the cells that cannot be decoded as the encoder wants them; -> rows int64 whose cell is empty."""
    spec = table.schema.modalities[name]
    rows, keys = table.keys(name)
    if spec.kind == "vector" and spec.width is not None:
        return rows[:0]  # read as numbers already, a million of them in bulk
    _, first, which = np.unique(keys.view("V16").ravel(), return_index=True, return_inverse=True)
    options, decode = details(spec) | encoder.wants(), decoders.decoder(spec.kind).decode
    found: dict[int, str | None] = {}
    done = 0
    with ThreadPoolExecutor(THREADS) as pool:
        for block in _blocks(np.sort(rows[first]), BATCH * THREADS):
            raws = list(table.cells(name, block))
            for row, reason in zip(block, pool.map(lambda raw: _reason(decode, raw, options), raws), strict=True):
                if reason != GOOD:
                    found[row] = reason
            done += len(block)
            progress(f"decode {name}", done, len(first))
    empty = []
    for row, like in zip(rows.tolist(), rows[first[which]].tolist(), strict=True):
        if like in found and (reason := found[like]) is not None:
            table.reject(row, name, reason)
        elif like in found:
            empty.append(row)
    return np.array(empty, np.int64)


GOOD = ""


def _reason(decode: Callable[..., Any], raw: Any, options: Mapping[str, Any]) -> str | None:
    """GOOD, None for a cell that turns out to be empty, or why it cannot be decoded."""
    try:
        return None if decode(raw, **options) is None else GOOD
    except CellError as error:
        return str(error)


def _blocks(rows: np.ndarray, size: int) -> Iterator[list[int]]:
    return (rows[start : start + size].tolist() for start in range(0, len(rows), size))


def _unknown_rate(encoders: Mapping[str, Encoder]) -> Callable[[list[str]], float] | None:
    """Of the encoder for text, if it has a vocabulary."""
    rates = (getattr(encoder, "unknown_rate", None) for encoder in encoders.values() if encoder.kind == "text")
    return next((rate for rate in rates if rate is not None), None)

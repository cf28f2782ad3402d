"""What `search` knows of the rows that it finds: id, split, what to show, and how to find their cells again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from plait.core.errors import RunError
from plait.data.cache import writing
from plait.data.schema import Modality
from plait.data.table import Table

ROWS = "rows.parquet"
LONGEST = 200
"""Characters of a text that are kept to show."""
_SOURCE = b"source"
_GROUP = 8192
"""Rows that are read together to find one."""


class Rows:
    """What is written of an index's rows; only what is asked for is read.  source: where their cells are, if known."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._file = pq.ParquetFile(path)
        except (OSError, pa.ArrowException) as error:
            raise self._unreadable(error) from error
        groups = [self._file.metadata.row_group(i).num_rows for i in range(self._file.num_row_groups)]
        self._starts = np.cumsum([0, *groups])
        said = (self._file.schema_arrow.metadata or {}).get(_SOURCE)
        self.source = None if said is None else said.decode()

    def __contains__(self, column: str) -> bool:
        return column in self._file.schema_arrow.names

    def of(self, rows: Sequence[int], column: str) -> list[Any]:
        """A column's values at `rows`, in that order."""
        groups = np.searchsorted(self._starts, rows, side="right") - 1
        found: dict[int, Any] = {}
        try:
            for group in np.unique(groups).tolist():
                values = self._file.read_row_group(group, [column])[column]
                for row in np.asarray(rows)[groups == group].tolist():
                    found[row] = values[row - int(self._starts[group])].as_py()
        except (OSError, pa.ArrowException) as error:
            raise self._unreadable(error) from error
        return [found[row] for row in rows]

    def _unreadable(self, error: Exception) -> RunError:
        return RunError(f"{self._path} cannot be read ({error}). Index again: plait index {self._path.parent}")


def write(path: Path, names: tuple[str, ...], table: Table, splits: Mapping[str, np.ndarray], source: Any) -> None:
    """As Parquet, whole or not at all.  source: where the table was read from, kept if it is a path."""
    part = np.full(len(table), None, object)
    for name, rows in splits.items():
        part[rows] = name
    shorts = {name: short(table, name) for name in names}
    columns = {
        "row": pa.array(range(len(table))),
        "id": table.ids,
        "split": pa.array(part.tolist(), pa.string()),
        "cells": pa.StructArray.from_arrays(list(shorts.values()), list(shorts)),
        "key": pa.Array.from_buffers(pa.binary(16), len(table), [None, pa.py_buffer(content_keys(table, names))]),
    }
    said = {_SOURCE: str(Path(source).absolute()).encode()} if isinstance(source, (str, Path)) else {}
    with writing(path) as unfinished:
        pq.write_table(pa.table(columns).replace_schema_metadata(said), unfinished, row_group_size=_GROUP)


def content_keys(table: Table, names: tuple[str, ...]) -> np.ndarray:
    """uint8 [N, 16]: equal where the cells of these modalities are."""
    keys = np.zeros((len(table), 16), np.uint8)
    for i, name in enumerate(names):
        rows, own = table.keys(name)
        # Turned, so that equal cells of two modalities do not cancel out.
        keys[rows] ^= np.roll(own, i, axis=1)
    return keys


def short(table: Table, name: str) -> pa.Array:
    """[N] texts to know a row by, null where it has no such cell; nothing is decoded.

    text: its beginning.  image, audio: the path as it stands in the table.  tabular: the values.  Others: the form.
    """
    spec = table.schema.modalities[name]
    present = table.present()[name]
    if spec.kind == "text":
        said = [cell[:LONGEST] if isinstance(cell, str) else None for cell in table.cells(name)]
    elif spec.kind == "tabular":
        said = [None if cell is None else _values(spec, cell) for cell in table.cells(name)]
    else:
        said = [path or _form(spec) for path in _paths(table.column(spec.columns[0]))]
    return pa.array([text if there else None for text, there in zip(said, present.tolist(), strict=True)], pa.string())


def _values(spec: Modality, cell: list[float | str | None]) -> str:
    said = []
    for name, value in zip(spec.columns, cell, strict=True):
        if isinstance(value, float):
            value = _date(value) if name in spec.dates else f"{value:g}"
        if value is not None:
            said.append(f"{name} {value}")
    return ", ".join(said)[:LONGEST]


def _date(seconds: float) -> str:
    """Of a date as tables have it, to the second and in UTC; without a time of day where it is midnight."""
    try:
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=round(seconds))
    except OverflowError:  # not in the years 1 to 9999
        return f"{seconds:g} seconds after 1970"
    return moment.date().isoformat() if moment.time() == time.min else moment.isoformat(" ").removesuffix("+00:00")


def _paths(column: pa.ChunkedArray) -> list[str | None]:
    """What the cells say where they are paths, None where they hold the content itself."""
    if pa.types.is_struct(column.type):
        names = {field.name for field in column.type}
        column = pc.struct_field(column, "member" if "member" in names else "path")
    if not pa.types.is_large_string(column.type):
        return [None] * len(column)
    said = [(cell or "").strip() for cell in column.to_pylist()]
    return [None if text[:1] in ("", "[", "{") else text[:LONGEST] for text in said]


def _form(spec: Modality) -> str:
    if spec.kind == "vector":
        return f"{spec.width} numbers"
    if spec.kind == "tokens":
        return f"tokens of {spec.width} numbers"
    if spec.kind == "series":
        return f"series of {', '.join(spec.channels)}" if spec.channels else "series"
    return spec.kind

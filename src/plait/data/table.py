"""Table: rows with cells of many kinds, any of them absent, seen through a `Schema`.  Nothing is decoded here."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from plait.core.errors import CellError, SchemaError, nearest

from . import _cells
from ._cells import Array, Files
from ._dense import Dense, blocks, bools
from ._labels import READ, SHAPE, as_label, is_number, labels_of, parse_date, parse_number
from .quarantine import Quarantine, Quarantined
from .schema import Modality, Schema


class Table:
    """N rows over an Arrow table, which may be memory-mapped.  A table made by `take` shares the Arrow table.

    columns: all columns as `read` normalises them (large_string and large_binary are the only texts and bytes);
    root: what relative paths in cells start from; files: False refuses every path in a cell (rows from strangers);
    quarantine: bad cells that reading has found; notes: what a person should know about how the table was understood;
    strict: the first bad cell raises DataError.
    """

    def __init__(
        self,
        columns: pa.Table,
        schema: Schema,
        *,
        root: Path | None = None,
        files: bool = True,
        quarantine: Iterable[Quarantined] = (),
        notes: Iterable[str] = (),
        strict: bool = False,
    ) -> None:
        self.schema = schema
        self.quarantine = Quarantine(quarantine, strict)
        self.notes = list(notes)
        self._columns = columns
        self._files = Files(root or Path.cwd(), files)
        self._index: Array | None = None
        self._clean: dict[str, pa.Array] = {}
        self._targets: dict[str, tuple[Array, Array]] = {}
        self._keys: dict[str, tuple[Array, Array]] = {}
        self._vector_rows: dict[str, Array] = {}
        self._ids: list[str] | None = None
        self._duplicate_ids: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._columns) if self._index is None else len(self._index)

    def __repr__(self) -> str:
        kinds = ", ".join(f"{name}: {modality.kind}" for name, modality in self.schema.modalities.items())
        return f"Table({len(self)} rows; {kinds}; targets: {', '.join(self.schema.targets) or 'none'})"

    @property
    def names(self) -> list[str]:
        """All columns that were read, also those that the schema ignores."""
        return list(self._columns.column_names)

    @property
    def columns(self) -> pa.Table:
        """All columns as Arrow, [N]; those of a table made by `take` are copied."""
        return self._columns if self._index is None else self._columns.take(pa.array(self._index))

    @property
    def root(self) -> Path:
        """What relative paths in cells start from."""
        return self._files.root

    @property
    def ids(self) -> list[str]:
        """One unique string a row: its id, with '#2', '#3' ... where repeated; without an id column, its number."""
        if self._ids is None:
            if self.schema.id is None or self.schema.id not in self._columns.column_names:
                self._ids = [str(row) for row in range(len(self))]
            else:
                said = [as_label(value) for value in self.column(self.schema.id).to_pylist()]
                named = [value if value is not None else f"row {row}" for row, value in enumerate(said)]
                self._duplicate_ids = {name: n for name, n in Counter(named).items() if n > 1}
                self._ids = _unique(named)
        return self._ids

    @property
    def duplicate_ids(self) -> dict[str, int]:
        """How often each id that is not unique stands in the table (as it was read, for a table made by `take`)."""
        _ = self.ids
        return self._duplicate_ids

    def column(self, name: str) -> pa.ChunkedArray:
        """A column as Arrow, [N]; all null if only the schema has it.  Raises SchemaError if not even that."""
        if name in self._columns.column_names:
            column = self._columns.column(name)
            return column if self._index is None else column.take(pa.array(self._index))
        if name not in self.schema.columns:
            raise SchemaError(f"The table has no column {name!r}.{nearest(name, self.names)}")
        return pa.chunked_array([pa.nulls(len(self))])

    def take(self, rows: Sequence[int] | Array) -> Table:
        """The table of these rows, in this order; nothing is copied.  Raises IndexError if a row is outside."""
        rows = np.asarray(rows, dtype=np.int64)
        if rows.size and (rows.min() < 0 or rows.max() >= len(self)):
            raise IndexError(f"Rows {rows.min()} to {rows.max()} asked of a table of {len(self)}.")
        where: dict[int, int] = {}
        for new, old in enumerate(rows.tolist() if len(self.quarantine) else ()):
            where.setdefault(old, new)
        kept = [Quarantined(where[c.row], c.column, c.reason) for c in self.quarantine if c.row in where]
        taken = Table(self._columns, self.schema, root=self._files.root, files=self._files.allowed, notes=self.notes)
        taken.quarantine = Quarantine(kept)
        taken.quarantine.strict = self.quarantine.strict
        taken._index = rows if self._index is None else self._index[rows]
        ids = self.ids
        taken._ids = _unique([ids[row] for row in rows.tolist()])
        taken._duplicate_ids = self._duplicate_ids
        place = np.empty(len(self), np.int64)
        for name, (present, keys) in self._keys.items():
            place.fill(-1)
            place[present] = np.arange(len(present))
            chosen = place[rows]
            taken._keys[name] = np.flatnonzero(chosen >= 0), keys[chosen[chosen >= 0]]
        return taken

    def with_column(self, name: str, values: Sequence[Any]) -> Table:
        """The same rows with other content, [N] of text or None, in a column that the table or its schema has.

        Cells of that column that were set aside are forgotten with it.  Raises SchemaError if there is no such column.
        """
        self.column(name)
        column = pa.chunked_array([pa.array(list(values), pa.large_string())])
        return self._changed({name: column}, [cell for cell in self.quarantine if cell.column != name])

    def without_cells(self, modality: str, rows: Sequence[int] | Array) -> Table:
        """The same rows, of which these have no cell of the modality."""
        gone = np.isin(np.arange(len(self)), np.asarray(rows, np.int64))
        left = pa.array(np.arange(len(self)), mask=gone)
        columns = [name for name in self._modality(modality).columns if name in self.names]
        return self._changed({name: self.column(name).take(left) for name in columns}, self.quarantine)

    def labels(self, name: str) -> list[list[str] | None]:
        """A column's cells as several labels each, [N]: lists, or text like 'a|b'; '|' alone is none, blank is None."""
        return [labels_of(cell) for cell in self.column(name).to_pylist()]

    def _changed(self, changes: Mapping[str, pa.ChunkedArray], quarantine: Iterable[Quarantined]) -> Table:
        """The same rows with these columns, [N] each, instead of those of their names, or beside them."""
        columns = self.columns
        for name, column in changes.items():
            if name in columns.column_names:
                columns = columns.set_column(columns.column_names.index(name), name, column)
            else:
                columns = columns.append_column(name, column)
        other = Table(columns, self.schema, root=self._files.root, files=self._files.allowed, notes=self.notes)
        other.quarantine = Quarantine(quarantine)
        other.quarantine.strict = self.quarantine.strict
        other._ids, other._duplicate_ids = self.ids, self._duplicate_ids
        return other

    def reject(self, row: int, modality: str, reason: str) -> None:
        """Quarantine a row's cell of a modality, as decoding does.  Raises DataError if the table is strict."""
        self.quarantine.add(row, ", ".join(self._modality(modality).columns), reason)

    def present(self) -> dict[str, Array]:
        """Per modality, bool [N]: whether the row has a cell.  Nothing is opened; quarantined cells are not present."""
        present = {name: self._present(modality) for name, modality in self.schema.modalities.items()}
        for cell in self.quarantine:
            for name, modality in self.schema.modalities.items():
                if cell.column == ", ".join(modality.columns):
                    present[name][cell.row] = False
        return present

    def _present(self, modality: Modality) -> Array:
        if modality.kind == "tabular":
            columns = [self._tabular(column, modality) for column in modality.columns]
            return np.asarray(np.any([bools(column.is_valid()) for column in columns], axis=0))
        if modality.columns[0] not in self._columns.column_names:
            return np.zeros(len(self), bool)
        nothing = _cells.NOTHING if modality.kind in ("series", "vector", "tokens") else {""}
        there = bools(_has(self._columns.column(modality.columns[0]), nothing))
        return there if self._index is None else np.asarray(there[self._index])

    def cells(self, modality: str, rows: Iterable[int] | None = None) -> Iterator[Any]:
        """The raw cells of a modality, row by row (all rows by default): None where absent, a CellError where unusable.

        image, audio: bytes.  text: str.  tabular: list of float, str and None in column order.  vector: float32 [D].
        tokens: float32 [T, D].  series: float64 [T, 1+C], the time first.
        An unusable cell is put into the quarantine as well.
        """
        spec = self._modality(modality)
        rows = range(len(self)) if rows is None else rows
        if spec.kind == "tabular":
            yield from self._tabular_cells(spec, rows)
            return
        for row in rows:
            try:
                cell = self._cell(spec, int(row))
            except CellError as error:
                self.reject(int(row), modality, str(error))
                cell = error
            yield cell

    def _tabular_cells(self, spec: Modality, rows: Iterable[int]) -> Iterator[list[float | str | None] | None]:
        columns = [self._tabular(column, spec) for column in spec.columns]
        for block in blocks(np.fromiter(rows, np.int64)):
            for values in zip(*(column.take(pa.array(block)).to_pylist() for column in columns), strict=True):
                yield list(values) if any(value is not None for value in values) else None

    def _cell(self, spec: Modality, row: int) -> Any:
        if spec.columns[0] not in self._columns.column_names:
            return None
        cell = self._columns.column(spec.columns[0])[row if self._index is None else int(self._index[row])]
        if not cell.is_valid:
            return None
        if spec.kind in ("image", "audio"):
            return _cells.content(cell, self._files)
        if spec.kind == "text":
            return _cells.text(cell)
        return {"vector": _cells.vector, "tokens": _cells.tokens, "series": _cells.series}[spec.kind](
            cell, spec, self._files
        )

    def excerpt(self, modality: str, rows: Sequence[int]) -> pa.Table:
        """Of these rows, the columns that a modality's cells are read from: what another process needs to read them."""
        columns = [name for name in self._modality(modality).columns if name in self._columns.column_names]
        return self._columns.select(columns).take(pa.array(self._base(np.asarray(rows, np.int64))))

    def vectors(self, modality: str) -> tuple[Array, Iterator[Array]]:
        """All present cells of a vector modality: rows int64 [P], and the values in blocks of float32 [n, D].

        Arrow lists are read in bulk, memory-mapped ones without loading the column; JSON text and files cell by cell.
        """
        spec = self._modality(modality)
        if spec.kind != "vector" or spec.width is None:
            raise SchemaError(f"vectors() reads modalities of kind vector with a width; {modality!r} is {spec.kind}.")
        dense = Dense.of(self._columns, spec.columns[0], spec.width)
        if modality not in self._vector_rows:
            candidates = np.flatnonzero(self.present()[modality])
            keep = [self._finite(modality, spec, dense, part) for part in blocks(candidates)]
            self._vector_rows[modality] = np.concatenate([*keep, np.zeros(0, np.int64)])
        rows = self._vector_rows[modality]
        return rows, (self._gather(modality, dense, part) for part in blocks(rows))

    def _finite(self, modality: str, spec: Modality, dense: Dense | None, rows: Array) -> Array:
        if dense is None:
            usable = [isinstance(cell, np.ndarray) for cell in self.cells(modality, rows)]
            return np.asarray(rows[np.array(usable, bool)])
        right = dense.whole[self._base(rows)]
        good = rows[right]
        finite = np.isfinite(self._gather(modality, dense, good)).all(axis=1)
        for row in np.concatenate([rows[~right], good[~finite]]):
            for _ in self.cells(modality, [row]):
                continue
        return np.asarray(good[finite])

    def _gather(self, modality: str, dense: Dense | None, rows: Array) -> Array:
        if dense is None:
            return np.stack(list(self.cells(modality, rows)))
        return dense.take(self._base(rows))

    def _base(self, rows: Array) -> Array:
        return rows if self._index is None else np.asarray(self._index[rows])

    def key(self, modality: str, raw: Any) -> bytes:
        """Content hash of a raw cell of the modality, 16 bytes."""
        return key_of(self._modality(modality).kind, raw)

    def keys(self, modality: str) -> tuple[Array, Array]:
        """Content hashes of all present, readable cells: rows int64 [P], keys uint8 [P, 16].  Reads every cell once."""
        if modality not in self._keys:
            spec = self._modality(modality)
            rows: list[int] = []
            found: list[bytes] = []
            if spec.kind == "vector" and spec.width is not None:
                which, vectors = self.vectors(modality)
                rows = which.tolist()
                found = [self.key(modality, vector) for block in vectors for vector in block]
            else:
                for row, cell in enumerate(self.cells(modality)):
                    if cell is not None and not isinstance(cell, CellError):
                        rows.append(row)
                        found.append(self.key(modality, cell))
            keys = np.frombuffer(b"".join(found), np.uint8).reshape(-1, 16)
            self._keys[modality] = np.array(rows, np.int64), keys
        return self._keys[modality]

    def fingerprint(self) -> str:
        """Hash of the schema, the ids, every cell's content, the targets, splits and groups; 32 hexadecimal digits.

        It does not depend on where the files lie or on the format in which the table was stored.
        """
        digest = hashlib.blake2b(json.dumps(self.schema.dump(), sort_keys=True).encode(), digest_size=16)
        digest.update(json.dumps(self.ids).encode())
        for name in self.schema.modalities:
            for part in self.keys(name):
                digest.update(part.tobytes())
        for name in self.schema.targets:
            for part in self.targets(name):
                digest.update(part.tobytes())
        for role in (self.schema.split, self.schema.group):
            if role is not None:
                digest.update(json.dumps([as_label(value) for value in self.column(role).to_pylist()]).encode())
        return digest.hexdigest()

    def targets(self, name: str) -> tuple[Array, Array]:
        """The labelled rows, int64 [P], and their values.  Labels that cannot be read are quarantined.

        class: int64 [P] codes into the schema's classes.  multi_label: float32 [P, C] of 0 and 1.  number: float64 [P].
        survival: float64 [P, 2], the time and 1 for an event or 0 for censored.
        """
        if name not in self.schema.targets:
            raise SchemaError(f"There is no target {name!r}.{nearest(name, self.schema.targets)}")
        if name not in self._targets:
            target = self.schema.targets[name]
            columns = [self.column(column).to_pylist() for column in target.columns]
            read = READ[target.kind]
            rows: list[int] = []
            values: list[Any] = []
            for row, said in enumerate(zip(*columns, strict=True)):
                try:
                    value = read(said, target)
                except CellError as error:
                    self.quarantine.add(row, ", ".join(target.columns), str(error))
                    continue
                if value is not None:
                    rows.append(row)
                    values.append(value)
            width, dtype = SHAPE[target.kind](target)
            self._targets[name] = np.array(rows, np.int64), np.array(values, dtype).reshape(len(rows), *width)
        return self._targets[name]

    def _modality(self, name: str) -> Modality:
        if name not in self.schema.modalities:
            raise SchemaError(f"There is no modality {name!r}.{nearest(name, self.schema.modalities)}")
        return self.schema.modalities[name]

    def _tabular(self, column: str, modality: Modality) -> pa.Array:
        """A column of a tabular modality with nothing in it but usable values and null; the rest is quarantined."""
        if column not in self._clean:
            values = self.column(column)
            if column in modality.categories:
                clean = pa.array([as_label(value) for value in values.to_pylist()], pa.large_string())
            else:
                clean = self._as_numbers(column, values, column in modality.dates)
            self._clean[column] = clean
        return self._clean[column]

    def _as_numbers(self, column: str, values: pa.ChunkedArray, dates: bool) -> pa.Array:
        bad: dict[int, str] = {}
        if _cells.is_text(values.type):
            numbers, parse = [], parse_date if dates else parse_number
            for row, said in enumerate(values.to_pylist()):
                number = parse(said)
                if isinstance(number, str):
                    bad[row] = number
                    number = None
                numbers.append(number)
            values = pa.chunked_array([pa.array(numbers, pa.float64())])
        elif pa.types.is_timestamp(values.type) or pa.types.is_date(values.type):
            values = _cells.seconds(values)
        elif pa.types.is_boolean(values.type):
            values = values.cast(pa.uint8())
        elif not (is_number(values.type) or pa.types.is_null(values.type)):
            raise SchemaError(f"Column {column!r} holds {values.type}, which cannot be read as numbers.")
        found = np.asarray(values.cast(pa.float64()).to_numpy(), np.float64)
        bad |= dict.fromkeys(np.flatnonzero(np.isinf(found)).tolist(), "is infinite")
        for row, reason in bad.items():
            self.quarantine.add(row, column, reason)
        return pa.array(found, mask=~np.isfinite(found))


def key_of(kind: str, raw: Any) -> bytes:
    """Content hash of a raw cell, 16 bytes (BLAKE2b): equal cells of a kind have equal keys anywhere."""
    digest = hashlib.blake2b(kind.encode(), digest_size=16)
    if isinstance(raw, np.ndarray):
        digest.update(b"%s%s" % (raw.dtype.str.encode(), str(raw.shape).encode()))
        raw = np.ascontiguousarray(raw).data
    elif isinstance(raw, list):
        raw = json.dumps(raw, ensure_ascii=False)
    digest.update(raw.encode("utf-8") if isinstance(raw, str) else raw)
    return digest.digest()


def _has(column: pa.ChunkedArray, nothing: set[str]) -> pa.ChunkedArray:
    """Whether each cell holds something, by its Arrow type alone."""
    valid = column.is_valid()
    if _cells.is_text(column.type):
        trimmed = pc.utf8_lower(pc.utf8_trim_whitespace(column))
        return pc.and_(valid, pc.fill_null(pc.invert(pc.is_in(trimmed, pa.array(sorted(nothing), column.type))), False))
    if _cells.is_binary(column.type):
        return pc.fill_null(pc.greater(pc.binary_length(column), 0), False)
    if _cells.is_list(column.type) and not pa.types.is_fixed_size_list(column.type):
        return pc.fill_null(pc.greater(pc.list_value_length(column), 0), False)
    if _cells.is_file(column.type):
        parts = [pc.struct_field(column, name) for name in ("bytes", "path") if column.type.get_field_index(name) >= 0]
        filled = [pc.fill_null(pc.greater(pc.binary_length(part), 0), False) for part in parts]
        return filled[0] if len(filled) == 1 else pc.or_(*filled)
    if pa.types.is_floating(column.type):
        return pc.and_(valid, pc.fill_null(pc.invert(pc.is_nan(column)), False))
    return valid


def _unique(names: list[str]) -> list[str]:
    taken, seen = set(names), Counter[str]()
    unique = []
    for name in names:
        seen[name] += 1
        if seen[name] > 1:
            number = seen[name]
            while (new := f"{name}#{number}") in taken:
                number += 1
            taken.add(new)
            name = new
        unique.append(name)
    return unique

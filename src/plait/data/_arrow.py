"""Anything tabular -> an Arrow table with few types; large files through a memory-mapped copy in the cache folder."""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path, PurePath
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from plait.core.errors import DataError

from ._cells import is_text
from ._labels import NO_NUMBER
from .cache import cache_root, writing
from .quarantine import Quarantined

SPILL = 256 * 2**20
"""Bytes from which a file is not held in memory but copied, once, into a memory-mapped one."""
BLOCK_BYTES = 64 * 2**20
BLOCK_ROWS = 8192
FORMAT = 1
"""Part of the key of a copy; to be raised when the copies change."""


@dataclass
class Columns:
    """A table as it was read, and its bad cells."""

    table: pa.Table
    bad: list[Quarantined] = field(default_factory=list)


Batches: TypeAlias = Callable[[], Iterator[pa.Table]]
"""Goes through a file from the start, each time it is called."""


def from_file(path: Path) -> Columns:
    """CSV, TSV, Parquet, JSON lines, Arrow IPC or Feather, by suffix.  Raises DataError if it cannot be read."""
    suffix = path.suffix.lower()
    if suffix not in _READERS:
        raise DataError(
            f"{path} is no table known here; expected one of {', '.join(_READERS)}, a folder, or .tar shards."
        )
    try:
        return _READERS[suffix](path)
    except pa.ArrowInvalid as error:
        raise DataError(f"{path} cannot be read as {suffix}: {error}") from error
    except PermissionError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error


def from_columns(columns: Mapping[str, Any]) -> Columns:
    """A dict of equally long lists or arrays; cells may be NumPy, tensors, Paths, PIL images.  DataError if ragged."""
    read: dict[str, pa.Array] = {}
    bad: list[Quarantined] = []
    for name, values in columns.items():
        read[str(name)], at = _column(str(name), values)
        bad += [Quarantined(row, str(name), "is not UTF-8") for row in at]
    lengths = {name: len(column) for name, column in read.items()}
    if len(set(lengths.values())) > 1:
        raise DataError(f"The columns have different lengths: {lengths}.")
    return normal(pa.table(read), bad)


def from_rows(rows: Sequence[Mapping[str, Any]]) -> Columns:
    """A list of dicts; a key that a row does not have is an absent cell."""
    names = dict.fromkeys(str(name) for row in rows for name in row)
    return from_columns({name: [row.get(name) for row in rows] for name in names})


def normal(table: pa.Table, bad: Iterable[Quarantined] = (), first: int = 0) -> Columns:
    """The table with large_string and large_binary for all text and bytes, no dictionaries and no extension types.

    Text that is not UTF-8 is set to null and reported, with rows counted from `first`.
    """
    found = list(bad)
    arrays = []
    _no_twice(table.column_names, "The table")
    for name, column in zip(table.column_names, table.columns, strict=True):
        type = _plain(column.type)
        chunks, at = [], first
        for chunk in column.chunks:
            chunk = chunk.storage if isinstance(chunk, pa.ExtensionArray) else chunk
            chunk = chunk.cast(type) if chunk.type != type else chunk
            if is_text(type):
                chunk, wrong = _valid_text(chunk)
                found += [Quarantined(at + row, name, "is not UTF-8") for row in wrong]
            chunks.append(chunk)
            at += len(chunk)
        arrays.append(pa.chunked_array(chunks, type))
    return Columns(pa.table(arrays, names=table.column_names), found)


def _plain(type: pa.DataType) -> pa.DataType:
    if isinstance(type, pa.BaseExtensionType):
        return _plain(type.storage_type)
    if pa.types.is_dictionary(type):
        return _plain(type.value_type)
    if pa.types.is_string(type) or pa.types.is_string_view(type):
        return pa.large_string()
    if pa.types.is_binary(type) or pa.types.is_binary_view(type) or pa.types.is_fixed_size_binary(type):
        return pa.large_binary()
    if pa.types.is_decimal(type) or pa.types.is_float16(type):
        return pa.float64()
    if pa.types.is_list_view(type) or pa.types.is_large_list_view(type):
        return pa.large_list(type.value_type)
    return type


def _valid_text(chunk: pa.Array) -> tuple[pa.Array, list[int]]:
    """The text with null where it is not UTF-8, and where that is."""
    try:
        chunk.validate(full=True)
    except pa.ArrowInvalid:
        cells: list[str | None] = []
        wrong: list[int] = []
        for row, value in enumerate(chunk.view(pa.large_binary()).to_pylist()):
            try:
                cells.append(None if value is None else value.decode("utf-8"))
            except UnicodeDecodeError:
                cells.append(None)
                wrong.append(row)
        return pa.array(cells, pa.large_string()), wrong
    return chunk, []


def _no_twice(names: Sequence[str], where: str) -> None:
    twice = sorted({name for name in names if list(names).count(name) > 1})
    if twice:
        raise DataError(f"{where} has more than one column named {', '.join(map(repr, twice))}; rename them.")


def _csv(path: Path) -> Columns:
    with path.open("rb") as file:
        head = file.read(1 << 16)
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{path} is UTF-16; save it as UTF-8 and read it again.")
    if not head.strip():
        raise DataError(f"{path} is empty; expected a line of column names.")
    line = head.split(b"\n", 1)[0]
    marks = ["\t"] if path.suffix.lower() == ".tsv" else [",", ";", "\t", "|"]
    form = pa.csv.ParseOptions(
        delimiter=max(marks, key=lambda mark: line.count(mark.encode())), newlines_in_values=True
    )
    reading = pa.csv.ReadOptions(use_threads=False, block_size=BLOCK_BYTES)
    # Arrow takes a header without a line end for an empty file.
    source = (lambda: path) if b"\n" in head else (lambda: io.BytesIO(head + b"\n"))
    try:
        names = pa.csv.open_csv(source(), reading, form, pa.csv.ConvertOptions(check_utf8=False)).schema.names
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: the column names are not UTF-8; save the file as UTF-8.") from error
    _no_twice(names, str(path))
    as_bytes = pa.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.large_binary()))

    def batches() -> Iterator[pa.Table]:
        for batch in pa.csv.open_csv(source(), reading, form, as_bytes):
            texts = [column.view(pa.large_string()) for column in batch.columns]
            yield pa.table(texts, names=names)

    found = dict.fromkeys(names, pa.null())
    for block in batches():
        for name, column in zip(names, normal(block).table.columns, strict=True):
            found[name] = _common(found[name], _narrowest(column)) if found[name] != pa.large_string() else found[name]

    def narrowed() -> Iterator[pa.Table]:
        for block in batches():
            columns = [_as(column, found[name]) for name, column in zip(names, block.columns, strict=True)]
            yield pa.table(columns, names=names)

    empty = pa.schema([(name, type) for name, type in found.items()])
    return _held(path, narrowed, empty, path.stat().st_size)


def _bare(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Text without outer blanks, null where it says that there is no value."""
    trimmed = pc.utf8_trim_whitespace(column)
    return pc.if_else(pc.is_in(pc.utf8_lower(trimmed), pa.array(NO_NUMBER, trimmed.type)), None, trimmed)


def _narrowest(column: pa.ChunkedArray) -> pa.DataType:
    """null, int64, float64, bool or large_string: the first that can hold every value.  '007' is text."""
    values = _bare(column)
    if values.null_count == len(values):
        return pa.null()
    if pc.any(pc.match_substring_regex(values, r"^[+-]?0[0-9]")).as_py():
        return pa.large_string()
    for type in (pa.int64(), pa.float64()):
        try:
            values.cast(type)
        except pa.ArrowInvalid:
            continue
        return type
    said = pc.utf8_lower(values.drop_null())
    return pa.bool_() if pc.all(pc.is_in(said, pa.array(["true", "false"], said.type))).as_py() else pa.large_string()


def _common(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    if one == other or pa.types.is_null(other):
        return one
    if pa.types.is_null(one):
        return other
    return pa.float64() if {one, other} == {pa.int64(), pa.float64()} else pa.large_string()


def _as(column: pa.ChunkedArray, type: pa.DataType) -> pa.ChunkedArray:
    if is_text(type):
        return column
    values = _bare(column)
    if pa.types.is_null(type):
        return pa.chunked_array([pa.nulls(len(values))])
    return pc.equal(pc.utf8_lower(values), "true") if pa.types.is_boolean(type) else values.cast(type)


def _json_lines(path: Path) -> Columns:
    def blocks() -> Iterator[list[dict[str, Any]]]:
        with path.open("rb") as file:
            lines = (_json_line(line, number, path) for number, line in enumerate(file, 1) if line.strip())
            while block := list(islice(lines, BLOCK_ROWS)):
                yield block

    types: dict[str, pa.DataType] = {}
    for block in blocks():
        for name in dict.fromkeys(name for row in block for name in row):
            values = [_no_surrogates(row.get(name)) for row in block]
            types[name] = _wider(types.get(name, pa.null()), _array(values).type)

    def batches() -> Iterator[pa.Table]:
        for block in blocks():
            yield pa.table({name: _typed([row.get(name) for row in block], type) for name, type in types.items()})

    return _held(path, batches, pa.schema(list(types.items())), path.stat().st_size)


def _json_line(line: bytes, number: int, path: Path) -> dict[str, Any]:
    try:
        # Bytes that are not UTF-8 come through as lone surrogates, so that only their cell is bad and not the line.
        row = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8", "surrogateescape"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}, line {number}: not valid JSON ({error}).") from error
    if not isinstance(row, dict):
        raise DataError(f"{path}, line {number}: {type(row).__name__}, expected an object with the columns as keys.")
    return row


def _no_surrogates(value: Any) -> Any:
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def _array(values: list[Any]) -> pa.Array:
    """As Arrow infers it; values of mixed types as JSON text."""
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return pa.array([_as_text(value) for value in values], pa.large_string())


def _as_text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _wider(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    try:
        merged = pa.unify_schemas([pa.schema([("x", one)]), pa.schema([("x", other)])], promote_options="permissive")
    except pa.ArrowTypeError:
        return pa.large_string()
    return _plain(merged.field(0).type)


def _typed(values: list[Any], type: pa.DataType) -> pa.Array:
    if is_text(type):
        # Not yet checked: `normal` finds the cells that are not UTF-8.
        texts = [None if value is None else _as_text(value) for value in values]
        raw = [None if text is None else text.encode("utf-8", "surrogateescape") for text in texts]
        return pa.array(raw, pa.large_binary()).view(pa.large_string())
    return pa.array(values, type)


def _parquet(path: Path) -> Columns:
    file = pa.parquet.ParquetFile(path, memory_map=True)
    groups = [file.metadata.row_group(at) for at in range(file.metadata.num_row_groups)]

    def batches() -> Iterator[pa.Table]:
        try:
            for batch in file.iter_batches(BLOCK_ROWS):
                yield pa.Table.from_batches([batch])
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{path} cannot be read as .parquet: {error}. Write or fetch it again.") from error

    return _held(path, batches, file.schema_arrow, sum(group.total_byte_size for group in groups))


def _ipc(path: Path) -> Columns:
    try:
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
    except pa.ArrowInvalid:
        return _held(
            path, lambda: _streamed(path), pa.ipc.open_stream(pa.memory_map(str(path))).schema, path.stat().st_size
        )

    def batches() -> Iterator[pa.Table]:
        for at in range(reader.num_record_batches):
            yield pa.Table.from_batches([reader.get_batch(at)])

    if not _compressed(reader):
        return normal(_without_index(reader.read_all()))
    return _held(path, batches, reader.schema, path.stat().st_size)


def _streamed(path: Path) -> Iterator[pa.Table]:
    for batch in pa.ipc.open_stream(pa.memory_map(str(path))):
        yield pa.Table.from_batches([batch])


def _compressed(reader: pa.ipc.RecordBatchFileReader) -> bool:
    """Whether reading allocates memory; the buffers of an uncompressed file stay in the mapped one."""
    before = pa.total_allocated_bytes()
    batch = reader.get_batch(0) if reader.num_record_batches else None
    return batch is not None and pa.total_allocated_bytes() - before > batch.nbytes // 2


def _held(path: Path, batches: Batches, schema: pa.Schema, size: int) -> Columns:
    """The batches in memory, or above SPILL bytes in a memory-mapped copy that is made once per version of the file."""
    if size <= SPILL:
        blocks = list(batches())
        return normal(_without_index(pa.concat_tables(blocks) if blocks else schema.empty_table()))
    status = path.stat()
    named = f"{FORMAT}/{path.resolve()}/{status.st_size}/{status.st_mtime_ns}"
    copy = cache_root() / "tables" / f"{hashlib.blake2b(named.encode(), digest_size=16).hexdigest()}.arrow"
    notes = copy.with_suffix(".json")
    if not copy.exists():
        _spill(copy, notes, batches, normal(_without_index(schema.empty_table())).table.schema)
    bad = [Quarantined(*cell) for cell in json.loads(notes.read_text(encoding="utf-8"))]
    return Columns(pa.ipc.open_file(pa.memory_map(str(copy))).read_all(), bad)


def _spill(copy: Path, notes: Path, batches: Batches, schema: pa.Schema) -> None:
    bad: list[Quarantined] = []
    rows = 0
    with writing(copy) as part:
        with pa.OSFile(str(part), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
            for block in batches():
                clean = normal(_without_index(block), first=rows)
                writer.write_table(clean.table.cast(schema))
                rows += len(block)
                bad += clean.bad
        with writing(notes) as side:
            side.write_text(json.dumps([[c.row, c.column, c.reason] for c in bad]), encoding="utf-8")


def _without_index(table: pa.Table) -> pa.Table:
    """Without the row numbers that pandas leaves behind."""
    return table.select([name for name in table.column_names if not name.startswith("__index_level_")])


def from_stream(source: Any) -> Columns:
    """Anything with the Arrow PyCapsule interface: pandas, polars, pyarrow, DuckDB ..."""
    frame = hasattr(source, "columns") and hasattr(source, "to_dict")
    if frame:
        _no_twice([str(name) for name in source.columns], "The table")
    try:
        return normal(_without_index(pa.table(source)))
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        # pandas columns of Python objects that Arrow does not know, such as arrays or mixed types.
        if frame:
            return from_columns({str(name): source[name].tolist() for name in source.columns})
        raise DataError(f"The table cannot be taken over: {error}") from error


def from_datasets(source: Any) -> Columns:
    """A Hugging Face `Dataset`, or a `DatasetDict`: its parts' names become the column `split`.  Codes become names."""
    if isinstance(source, dict):
        parts = []
        for name, part in source.items():
            table = _of_dataset(part)
            parts.append(table.append_column("split", pa.array([name] * len(table), pa.large_string())))
        return normal(pa.concat_tables(parts, promote_options="permissive"))
    return normal(_of_dataset(source))


def _of_dataset(dataset: Any) -> pa.Table:
    if not hasattr(dataset, "data") or not hasattr(dataset, "with_format"):
        raise DataError(f"{type(dataset).__name__} gives its rows one by one; save it as Parquet and read that.")
    arranged = getattr(dataset, "_indices", None) is not None
    table = dataset.with_format("arrow")[:] if arranged else dataset.data.table
    for at, (name, feature) in enumerate(dataset.features.items()):
        names = getattr(feature, "names", None)
        if isinstance(names, list):
            codes = table.column(name).to_pylist()
            said = [None if code is None or code < 0 else names[code] for code in codes]
            table = table.set_column(at, name, pa.array(said, pa.large_string()))
    return table


def _column(name: str, values: Any) -> tuple[pa.Array, list[int]]:
    """A column of Python values; and the rows whose text is not UTF-8, now null."""
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return (values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values), []
    if hasattr(values, "__array__") and np.asarray(values).ndim > 1:
        return _dense(np.asarray(values)), []
    if isinstance(values, str | bytes) or not hasattr(values, "__iter__"):
        raise DataError(f"Column {name!r} is {type(values).__name__}, expected a list with one value per row.")
    cells = [_cell(value) for value in values]
    wrong = [row for row, cell in enumerate(cells) if isinstance(cell, str) and not _encodable(cell)]
    for row in wrong:
        cells[row] = None
    try:
        return pa.array(cells, from_pandas=True), wrong
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
        if all(cell is None or isinstance(cell, str | int | float) for cell in cells):
            return pa.array(
                [None if cell is None or cell != cell else str(cell) for cell in cells], pa.large_string()
            ), wrong
        raise DataError(f"Column {name!r} mixes values that do not go together: {error}") from error


def _encodable(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _cell(value: Any) -> Any:
    if isinstance(value, PurePath):
        return os.fspath(value)
    if type(value).__module__.split(".")[0] == "PIL":
        buffer = io.BytesIO()
        value.save(buffer, format="PNG")
        return buffer.getvalue()
    if isinstance(value, np.generic):
        return value.item()
    if hasattr(value, "__array__"):
        return np.asarray(value).tolist()
    if isinstance(value, float) and math.isnan(value):
        return None
    return value


def _dense(values: np.ndarray[Any, Any]) -> pa.Array:
    """[N, D] or [N, T, D] as lists of fixed size, without going through Python."""
    column = pa.array(np.ascontiguousarray(values).reshape(-1))
    for size in values.shape[:0:-1]:
        column = pa.FixedSizeListArray.from_arrays(column, int(size))
    return column


_READERS: dict[str, Callable[[Path], Columns]] = {
    ".csv": _csv,
    ".tsv": _csv,
    ".parquet": _parquet,
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".arrow": _ipc,
    ".feather": _ipc,
    ".ipc": _ipc,
}

"""read: any table, folder or shard -> Table."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from plait.core.errors import DataError

from . import _arrow, _stems
from ._arrow import Columns
from ._cells import Files
from .infer import infer
from .schema import Schema
from .table import Table

TABLES = tuple(f"table{suffix}" for suffix in (".parquet", ".csv", ".tsv", ".jsonl", ".arrow"))


def read(
    source: Any,
    schema: Schema | Mapping[str, Any] | str | Path | None = None,
    *,
    target: str | Sequence[str] | None = None,
    kinds: Mapping[str, str] | None = None,
    ignore: Iterable[str] = (),
    split: str | None = None,
    group: str | None = None,
    id: str | None = None,
    strict: bool = False,
    partial: bool = False,
    files: bool = True,
) -> Table:
    """A `Table` of anything tabular.

    source: a CSV, TSV, Parquet, JSONL, Arrow or Feather file; a folder that holds `table.parquet` (or .csv, .tsv,
    .jsonl, .arrow) and perhaps a `schema.yaml`; a folder of .tar shards, one .tar, or a pattern such as
    `shard-{000..009}.tar`; a folder of stems; anything with the Arrow PyCapsule interface (pandas, polars ...);
    a Hugging Face data set; a dict of columns; a list of dicts; or a Table.  Relative paths in cells start from the
    file's folder, or from the current one.

    schema: a Schema, its plain data, or a YAML file; inferred where None.  The others edit it: target: a column,
    'time,event' for survival, or several; kinds: {column: kind}; ignore, split, group, id: columns.  strict: the first
    bad cell raises.  partial: columns of the schema that the table does not have are absent cells, not an error (for
    prediction).  files: False refuses paths in cells.

    Raises DataError if the source cannot be read, SchemaError if the schema does not fit it.
    """
    found = _found(source, schema if schema is None or isinstance(schema, Schema) else Schema.load(schema))
    names = found.columns.table.column_names
    if not names:
        raise DataError("The table has no columns.")
    if found.schema is not None:
        found.schema.fit_to(names, partial)
    elif id is None and found.id in names:
        id = found.id
    inferred = infer(
        found.columns.table,
        Files(found.root, files),
        given=found.schema,
        target=target,
        kinds=kinds,
        ignore=ignore,
        split=split,
        group=group,
        id=id,
    )
    notes = [*found.notes, *inferred.notes]
    return Table(
        found.columns.table,
        inferred.schema,
        root=found.root,
        files=files,
        quarantine=found.columns.bad,
        notes=notes,
        strict=strict,
    )


@dataclass
class _Found:
    """What a source turned out to be.  id: the column that names its rows, if its form says so."""

    columns: Columns
    root: Path
    schema: Schema | None = None
    notes: list[str] = field(default_factory=list)
    id: str | None = None


def _found(source: Any, schema: Schema | None) -> _Found:
    if isinstance(source, str | Path):
        return _on_disk(Path(source), schema)
    if isinstance(source, Table):
        return _Found(
            Columns(source.columns, list(source.quarantine)), source.root, schema or source.schema, list(source.notes)
        )
    if type(source).__module__.split(".")[0] == "datasets":
        columns = _arrow.from_datasets(source)
    elif hasattr(source, "__arrow_c_stream__") or hasattr(source, "__arrow_c_array__"):
        columns = _arrow.from_stream(source)
    elif isinstance(source, Mapping):
        columns = _arrow.from_columns(source)
    elif isinstance(source, Sequence) and all(isinstance(row, Mapping) for row in source):
        columns = _arrow.from_rows(source)
    else:
        raise DataError(
            f"{type(source).__name__} is no table known here; expected a path, a data frame or Arrow table, a Hugging "
            "Face data set, a dict of columns or a list of dicts."
        )
    return _Found(columns, Path.cwd(), schema)


def _on_disk(path: Path, schema: Schema | None) -> _Found:
    wanted = schema.columns if schema is not None else ()
    if path.is_dir():
        table = next((path / name for name in TABLES if (path / name).is_file()), None)
        if table is not None:
            beside = path / "schema.yaml"
            if schema is None and beside.is_file():
                schema = Schema.load(beside)
            return _Found(_arrow.from_file(table), path, schema)
        tars = sorted(p for p in path.iterdir() if p.is_file() and _is_tar(p))
        columns, notes = _stems.from_tars(tars, wanted) if tars else _stems.from_folder(path, wanted)
        return _Found(columns, path, schema, notes, _stems.STEM)
    if path.is_file() and not _is_tar(path):
        return _Found(_arrow.from_file(path), path.parent, schema)
    if path.is_file() or re.search(r"[*?\[{]", str(path)):
        tars = _stems.shards(str(path)) if not path.is_file() else [path]
        columns, notes = _stems.from_tars(tars, wanted)
        return _Found(columns, tars[0].parent, schema, notes, _stems.STEM)
    raise DataError(f"There is no file or folder {path}.")


def _is_tar(path: Path) -> bool:
    return re.search(r"\.(tar(\.(gz|bz2|xz))?|tgz)$", path.name.lower()) is not None

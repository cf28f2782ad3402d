"""Searching the rows that a run was fitted on, by any cell of any modality that the model knows."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from plait.core.errors import DataError, RunError, nearest
from plait.data.dataset import Dataset
from plait.data.schema import Modality
from plait.data.table import Table
from plait.retrieval.index import Index
from plait.training.checkpoint import WEIGHTS

from .model import Model
from .prepare import encode
from .run import read_parquet, write_parquet

EMBEDDINGS = "embeddings.safetensors"
ROWS = "rows.parquet"
LONGEST = 200
"""Characters of a text that are kept to show."""


def save(folder: Path, model: Model, table: Table, dataset: Dataset, splits: Mapping[str, np.ndarray]) -> bool:
    """Write what `search` needs of the rows of a table, their cells already stored; False if there are no embeddings.

    MissingExtra without faiss.
    """
    found = {name: cells for name, cells in model.embeddings(dataset).items() if name in model.names}
    if not found:
        return False
    Index.build(found, table.ids).save(folder / EMBEDDINGS)
    part = np.full(len(table), None, object)
    for name, rows in splits.items():
        part[rows] = name
    columns = {"row": pa.array(range(len(table))), "id": table.ids, "split": pa.array(part.tolist(), pa.string())}
    cells = {name: short(table, name) for name in model.names}
    columns["cells"] = pa.StructArray.from_arrays(list(cells.values()), list(cells))
    write_parquet(folder / ROWS, pa.table(columns))
    return True


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
    known = [(name, value) for name, value in zip(spec.columns, cell, strict=True) if value is not None]
    return ", ".join(f"{name} {value if isinstance(value, str) else f'{value:g}'}" for name, value in known)[:LONGEST]


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


def search(
    folder: str | Path,
    query: Mapping[str, Any],
    *,
    k: int = 10,
    among: Iterable[str] | None = None,
    weights: Mapping[str, float] | None = None,
) -> list[dict[str, Any]]:
    """The k rows of a run that match best, best first: row, id, score, modalities {name: {"score", "value"}}.

    query: {modality: cell}: text, a path or bytes for image and audio, {column: value} for tabular, numbers otherwise;
    several ask for their mean direction, weighed by `weights`.  among: the modalities to search in.
    A hit's score counts standard deviations (`plait.retrieval.index`), that of a modality is its cosine; a value is
    what one knows the cell by.
    RunError without an index; DataError for a modality that the model does not know or a cell that cannot be read.
    """
    model, index, cells = loaded(folder)
    hits = index.search(embed(model, query), k, among, weights)
    out = []
    for hit in hits:
        value = cells[hit.row].as_py()
        modalities = {name: {"score": cosine, "value": value[name]} for name, cosine in hit.modalities.items()}
        out.append({"row": hit.row, "id": hit.id, "score": hit.score, "modalities": modalities})
    return out


def embed(model: Model, query: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """{modality: unit vector [E]} of a query's cells.  DataError as in `search`."""
    row: dict[str, Any] = {}
    for name, cell in query.items():
        if name not in model.names:
            raise DataError(f"The model has no modality {name!r}, only {', '.join(model.names)}.{_meant(name, model)}")
        columns = model.schema.modalities[name].columns
        if model.schema.modalities[name].kind != "tabular":
            row[columns[0]] = cell
        elif isinstance(cell, Mapping) and set(cell) <= set(columns):
            row |= cell
        else:
            raise DataError(f"A query in {name!r} is a mapping of its columns {', '.join(columns)}; found {cell!r}.")
    if not row:
        return {}
    table = model.read([row])
    # Another cache folder: a query is asked once, and should not stay on the disk.
    with tempfile.TemporaryDirectory() as cache:
        encoders: Any = dict(model.network.encoders.items())
        stored = encode(table, model.recipe, tuple(query), encoders=encoders, cache=Path(cache)).dataset
        found = model.embeddings(stored)
    for bad in table.quarantine:
        raise DataError(f"The query's {bad.column}: {bad.reason}.")
    for name in query:
        if not len(found[name][0]):
            raise DataError(f"The query's {name} is empty.")
    return {name: found[name][1][0] for name in query}


def _meant(name: str, model: Model) -> str:
    said = nearest(name, model.names)
    return said if said.startswith(" Did") else ""


def loaded(folder: str | Path) -> tuple[Model, Index, pa.Array]:
    """A run's model, index and what its rows are known by; read once while they do not change."""
    folder = Path(folder)
    files = [folder / WEIGHTS, folder / EMBEDDINGS, folder / ROWS]
    changed = tuple(path.stat().st_mtime_ns if path.exists() else 0 for path in files)
    return _loaded(folder.resolve(), changed)


@functools.lru_cache(maxsize=2)
def _loaded(folder: Path, changed: tuple[int, ...]) -> tuple[Model, Index, pa.Array]:
    model = Model.load(folder)
    if 0 in changed:
        raise RunError(
            f"The run in {folder} has no index to search: its recipe has no projection, or faiss was missing when it "
            "was fitted. Install it with: pip install 'plait[search]', and fit again."
        )
    return model, Index.load(folder / EMBEDDINGS), read_parquet(folder / ROWS)["cells"].combine_chunks()

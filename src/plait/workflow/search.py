"""Searching the rows of a run by any cell of any modality that the model knows."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from plait.core.errors import DataError, RunError, nearest
from plait.data.dataset import Dataset
from plait.data.table import Table
from plait.retrieval.index import Index
from plait.retrieval.ranker import Ranker
from plait.training.checkpoint import WEIGHTS

from .indexing import EMBEDDINGS
from .model import Model
from .prepare import encode
from .rerank import reranked
from .rows import ROWS, Rows


def search(
    folder: str | Path,
    query: Mapping[str, Any],
    *,
    k: int = 10,
    among: Iterable[str] | None = None,
    weights: Mapping[str, float] | None = None,
    rerank: str | Mapping[str, Any] | Ranker | None = None,
    depth: int = 100,
) -> list[dict[str, Any]]:
    """The k rows of a run that match best, best first: row, id, score, modalities {name: {"score", "value"}}.

    query: {modality: cell}: text, a path or bytes for image and audio, {column: value} for tabular, numbers otherwise;
    several ask for their mean direction, weighed by `weights`.  among: the modalities to search in.
    rerank: a ranker by name, `{name: arguments}` or itself, which looks at the cells of the best `depth` rows again.
    A hit's score counts standard deviations (`plait.retrieval.index`) or is the ranker's, that of a modality is its
    cosine; a value is what one knows the cell by.
    RunError without an index, or, to rank again, without the rows' cells; DataError for a modality that the model does
    not know or a cell that cannot be read.
    """
    model, index, rows = loaded(folder)
    among = None if among is None else list(among)
    asked = read_query(model, query)
    hits = index.search(embed(model, asked), k if rerank is None else max(k, depth), among, weights)
    if rerank is not None:
        hits = reranked(Path(folder), model, rerank, asked, hits, rows, among, weights or {})[:k]
    out = []
    for hit, said in zip(hits, rows.of([hit.row for hit in hits], "cells"), strict=True):
        modalities = {name: {"score": cosine, "value": said[name]} for name, cosine in hit.modalities.items()}
        out.append({"row": hit.row, "id": hit.id, "score": hit.score, "modalities": modalities})
    return out


def embed(model: Model, asked: Dataset) -> dict[str, np.ndarray]:
    """{modality: unit vector [E]} of a query's cells."""
    found = model.embeddings(asked)
    return {name: found[name][1][0] for name in asked.names}


def read_query(model: Model, query: Mapping[str, Any]) -> Dataset:
    """A query's cells as the one row of a data set.  DataError as in `search`."""
    if not query:
        raise DataError("The query is empty: give a text, an image or another cell to search with.")
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
    table = model.read([row])
    for name in query:
        if model.schema.modalities[name].kind == "tabular":
            _known(name, table)
    # Another cache folder: a query is asked once, and should not stay on the disk.
    with tempfile.TemporaryDirectory() as cache:
        encoders: Any = dict(model.network.encoders.items())
        stored = encode(table, model.recipe, tuple(query), encoders=encoders, cache=Path(cache)).dataset
    for bad in table.quarantine:
        raise DataError(f"The query's {bad.column}: {bad.reason}.")
    for name, store in stored.stores.items():
        if not store.present[0]:
            raise DataError(f"The query's {name} is empty.")
    return stored


def _known(name: str, table: Table) -> None:
    """DataError on a category that no row has: it would count as absent."""
    modality = table.schema.modalities[name]
    for column, said in zip(modality.columns, next(table.cells(name)) or (), strict=False):
        values = modality.categories.get(column)
        if values is not None and said is not None and said not in values:
            raise DataError(f"No row that the model knows has {said!r} in {column}.{nearest(said, values)}")


def _meant(name: str, model: Model) -> str:
    holder = next((one for one, modality in model.schema.modalities.items() if name in modality.columns), None)
    if holder is not None:
        return f" {name!r} is a column of {holder!r}: give {holder} a mapping, --query '{holder}={{{name}: ...}}'."
    said = nearest(name, model.names)
    return said if said.startswith(" Did") else ""


def loaded(folder: str | Path) -> tuple[Model, Index, Rows]:
    """A run's model, index and what its rows are known by; read once while they do not change."""
    folder = Path(folder)
    files = [folder / WEIGHTS, folder / EMBEDDINGS, folder / ROWS]
    changed = tuple(path.stat().st_mtime_ns if path.exists() else 0 for path in files)
    return _loaded(folder.resolve(), changed)


@functools.lru_cache(maxsize=2)
def _loaded(folder: Path, changed: tuple[int, ...]) -> tuple[Model, Index, Rows]:
    model = Model.load(folder)
    if 0 in changed:
        raise RunError(
            f"The run in {folder} has no index to search: its recipe has no projection, or faiss was missing when it "
            f"was fitted. Install it with: pip install 'plait[search]', and make one: plait index {folder}"
        )
    return model, Index.load(folder / EMBEDDINGS), Rows(folder / ROWS)

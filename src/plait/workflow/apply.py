"""A model's predictions and embeddings of a table, as a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv

from plait.core.errors import DataError
from plait.core.part import Target
from plait.data.cache import writing
from plait.data.table import Table

from .model import Model, decide
from .prepare import Progress, silent
from .run import write_parquet


def predict_to(path: str | Path, model: Model, source: Any, progress: Progress = silent) -> tuple[Table, list[str]]:
    """Write `predictions` of `source` as Parquet or CSV, where several labels are `a|b`; -> rows read, columns written.

    DataError if the path ends in neither.
    """
    return _write(path, model, source, predictions, progress, {".parquet": write_parquet, ".csv": _write_csv})


def embed_to(path: str | Path, model: Model, source: Any, progress: Progress = silent) -> tuple[Table, list[str]]:
    """Write `embeddings` of `source` as Parquet; -> rows read, columns written.  DataError if it ends otherwise."""
    return _write(path, model, source, embeddings, progress, {".parquet": write_parquet})


def _write(
    path: str | Path,
    model: Model,
    source: Any,
    make: Callable[[Model, Table, Progress], pa.Table],
    progress: Progress,
    formats: Mapping[str, Callable[[Path, pa.Table], None]],
) -> tuple[Table, list[str]]:
    if Path(path).suffix not in formats:
        raise DataError(f"{path} cannot be written: give it a name that ends in {' or '.join(formats)}.")
    table = model.read(source)
    made = make(model, table, progress)
    formats[Path(path).suffix](Path(path), made)
    return table, list(made.column_names)


def _write_csv(path: Path, made: pa.Table) -> None:
    """Labels as they are read: `a|b`, and `|` for none.  Whole or not at all.

    DataError if the disk refuses, or a label has a bar in it.
    """
    for i, column in enumerate(made.columns):
        if pa.types.is_list(column.type):
            every = column.to_pylist()
            if bars := sorted({label for labels in every for label in labels if "|" in label}):
                raise DataError(f"In CSV the label {bars[0]!r} would be read as several. Write a .parquet file.")
            joined = pa.array(["|".join(labels) or "|" for labels in every], pa.string())
            made = made.set_column(i, made.column_names[i], joined)
    with writing(path) as part:
        pa.csv.write_csv(made, part)


def predictions(model: Model, table: Table, progress: Progress = silent) -> pa.Table:
    """[N] rows: id, row, prediction, and the probability of each class or label.

    With several targets the columns of each begin with its name and a slash.  DataError if the model has no target.
    """
    if not model.targets:
        raise DataError(
            "The model was fitted without a target and predicts nothing. Use `plait embed` or fit with one."
        )
    found = model.parameters(model.encode(table, progress).dataset)
    columns = _rows(table)
    for name, values in found.items():
        prefix = "" if len(found) == 1 else f"{name}/"
        for column, of in _columns(model.targets[name], values).items():
            columns[prefix + column] = of
    return pa.table(columns)


def _columns(target: Target, values: np.ndarray) -> dict[str, pa.Array]:
    decided = decide(target, values)
    if target.kind == "multi_label":
        labels = [[c for c, has in zip(target.classes, row, strict=True) if has] for row in decided]
        prediction = pa.array(labels, pa.list_(pa.string()))
    else:
        prediction = pa.array(decided.tolist(), pa.string() if target.classes else pa.float32())
    shares = {f"probability_{c}": pa.array(values[:, i]) for i, c in enumerate(target.classes)}
    return {"prediction": prediction, **shares}


def embeddings(model: Model, table: Table, progress: Progress = silent) -> pa.Table:
    """[N] rows: id, row, and a list of E numbers for each modality and for `joint`; null where absent.

    DataError if the recipe has no projection.
    """
    columns = _rows(table)
    found = model.embeddings(model.encode(table, progress).dataset)
    if not found:
        raise DataError("The model has no embeddings: its recipe has no projection. Fit with --set projection=linear.")
    for name, (rows, values) in found.items():
        size = values.shape[1]
        whole = np.zeros((len(table), size), np.float32)
        whole[rows] = values
        absent = np.ones(len(table), bool)
        absent[rows] = False
        while name in columns:
            name += "_"
        columns[name] = pa.FixedSizeListArray.from_arrays(pa.array(whole.ravel()), size, mask=pa.array(absent))
    return pa.table(columns)


def _rows(table: Table) -> dict[str, pa.Array]:
    return {"id": pa.array(table.ids, pa.string()), "row": pa.array(range(len(table)), pa.int64())}

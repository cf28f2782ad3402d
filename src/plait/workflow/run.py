"""A run folder: who may write it, what it was made from, and the rows of each split."""

from __future__ import annotations

import fcntl
import json
import platform
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import yaml

from plait.core.errors import DataError, RunError
from plait.core.plain import plain
from plait.data.cache import writing
from plait.data.read import read
from plait.data.schema import Schema
from plait.data.table import Table
from plait.training.loop import HISTORY
from plait.training.runs import CONFIG

from .model import SCHEMA, Begun, Model

SPLITS = "splits.parquet"
DATA = "data.json"
FIT = "fit.json"
EVALUATION = "evaluation.json"
EXPLANATION = "explanation.json"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Nobody else writes this run meanwhile; a new folder in which nothing was written is gone afterwards.

    RunError if somebody does.
    """
    new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunError(f"Another process is writing {folder}. Wait for it, or choose another --out.") from error
        try:
            yield
        finally:
            if new and [path.name for path in folder.glob("*")] == [".lock"]:
                shutil.rmtree(folder)


def begin(folder: Path, config: Mapping[str, Any], schema: Schema, table: Table) -> None:
    """What the run is made from, before anything is computed.  RunError if the folder already holds a run."""
    if (folder / CONFIG).exists():
        raise RunError(
            f"{folder} already holds a run. Choose another --out, remove it, or go on with: plait fit --resume {folder}"
        )
    schema.save(folder / SCHEMA)
    write_json(folder / DATA, made_from(table))
    # Last, since a folder with a configuration counts as begun.
    with writing(folder / CONFIG) as part:
        part.write_text(yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True), encoding="utf-8")


def forget(folder: Path) -> None:
    """Undo `begin`.  The configuration first, so that a folder that is left half done counts as not begun."""
    for name in (CONFIG, DATA, SCHEMA, SPLITS, HISTORY):
        (folder / name).unlink(missing_ok=True)


def made_from(table: Table) -> dict[str, Any]:
    """The data's fingerprint, the thread count and the versions: what equal weights depend on."""
    return {
        "fingerprint": table.fingerprint(),
        "rows": len(table),
        "threads": torch.get_num_threads(),
        "versions": versions(),
    }


def again(folder: Path, table: Table) -> None:
    """Take up a run on the same data with the same thread count.  RunError if the data changed."""
    said = read_json(folder / DATA)
    if table.fingerprint() != said["fingerprint"]:
        raise RunError(
            f"The data is not what the run in {folder} was begun with ({said['rows']} rows then, {len(table)} now, or "
            "other content). Restore it, or fit anew with another --out."
        )
    torch.set_num_threads(said["threads"])


def versions() -> dict[str, str]:
    """Of Plait, Python and the packages that results depend on."""
    out = {"python": platform.python_version()}
    for name in ("plait", "torch", "numpy", "pyarrow", "transformers", "scikit-learn"):
        try:
            out[name] = version(name)
        except PackageNotFoundError:
            continue
    return out


def write_splits(folder: Path, table: Table, splits: Mapping[str, np.ndarray]) -> None:
    """A row of the file for each row of the table that is in a split: row, id, split."""
    ids = table.ids
    rows = np.concatenate([splits[part] for part in splits])
    names = [part for part in splits for _ in splits[part]]
    order = rows.argsort(kind="stable")
    columns = {
        "row": pa.array(rows[order]),
        "id": pa.array([ids[row] for row in rows[order]]),
        "split": pa.array([names[i] for i in order]),
    }
    write_parquet(folder / SPLITS, pa.table(columns))


def read_splits(folder: Path) -> dict[str, np.ndarray]:
    """{"train", "validation", "test": rows}."""
    table = read_parquet(folder / SPLITS)
    rows, names = table["row"].to_numpy(), np.asarray(table["split"].to_pylist())
    return {part: rows[names == part] for part in ("train", "validation", "test")}


def own_rows(model: Model) -> tuple[Table, Begun]:
    """The table that the run was fitted on, and its splits.  RunError if it is not at hand, or has changed."""
    folder, source = model.folder, model.info.get("source")
    if folder is None or not (folder / SPLITS).exists():
        raise RunError("The model was not fitted in a run folder: give the rows.")
    if source is None:
        raise RunError(f"The run in {folder} was fitted on data in memory: give the rows.")
    try:
        table = read(source, model.schema)
    except DataError as error:
        raise RunError(
            f"The table of the run in {folder} cannot be read: {error} If it was moved, name it where it "
            f"is now, behind the run, as in: plait evaluate {folder} DATA"
        ) from error
    begun = begun_with(model)
    assert begun is not None
    if table.fingerprint() != begun.fingerprint:
        raise RunError(f"{source} is not what the run in {folder} was fitted on: its content has changed. Restore it.")
    return table, begun


def begun_with(model: Model) -> Begun | None:
    """What a model was fitted on, if its run folder or the model itself still says so."""
    folder = model.folder
    if folder is None or not (folder / SPLITS).exists():
        return model.begun
    said = read_json(folder / DATA)
    return Begun(said["fingerprint"], said["rows"], read_splits(folder))


def asked_about(model: Model, source: Any) -> tuple[Table, dict[str, np.ndarray] | None]:
    """The table `source`, or the run's own where None, and the splits of the run's own, wherever it lies now.

    RunError if the run's own is needed and not at hand, or has changed.
    """
    if source is None:
        table, own = own_rows(model)
        return table, dict(own.splits)
    table, begun = model.read(source), begun_with(model)
    if begun is None or len(table) != begun.rows or not set(table.schema.columns) <= set(table.columns.column_names):
        return table, None
    return table, dict(begun.splits) if table.fingerprint() == begun.fingerprint else None


def read_json(path: Path) -> Any:
    """What `write_json` wrote in a run folder.  RunError if it cannot be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read ({error}). Fit the model again.") from error


def read_parquet(path: Path) -> pa.Table:
    """What `write_parquet` wrote in a run folder.  RunError if it cannot be read."""
    try:
        return pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise RunError(f"{path} cannot be read ({error}). Fit the model again.") from error


def write_parquet(path: Path, table: pa.Table) -> None:
    """Whole or not at all.  DataError if the disk refuses."""
    with writing(path) as part:
        pq.write_table(table, part)


def write_json(path: Path, data: Any) -> None:
    """Whole or not at all.  DataError if the disk refuses.  Numbers that are not finite become null."""
    with writing(path) as part:
        part.write_text(json.dumps(plain(data), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

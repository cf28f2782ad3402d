"""Data sets through package managers: `fetch("stamps")` -> a folder that `plait.read` takes.

    table.parquet   one row an item, paths relative to the folder      schema.yaml   what its columns are
    SOURCE.json     package, version, hash, licence, counts, notes, fingerprint     and the files that the table names

A folder appears whole or not at all, and is made once; whoever asks at the same time waits for the first.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib
import inspect
import json
import os
import pkgutil
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from plait.core.errors import DataError, nearest

from . import sets
from .cache import cache_root, explained
from .sets import Built
from .sets._package import hash_of


def names() -> list[str]:
    """The data sets that can be fetched."""
    return sorted(module.name for module in pkgutil.iter_modules(sets.__path__) if not module.name.startswith("_"))


def fetch(name: str, into: str | Path | None = None, *, deb: str | Path | None = None) -> Path:
    """The folder of a data set, fetched the first time.

    into: the folder to make (default: `sets/NAME` in the cache folder).  deb: a Debian package file to take instead of
    asking apt.  Raises DataError if the name is unknown, the package cannot be had or is not the expected file, or
    `into` holds something else.
    """
    if name not in names():
        raise DataError(f"There is no data set {name!r}.{nearest(name, names())}")
    module = importlib.import_module(f"{sets.__name__}.{name}")
    options: dict[str, Path] = {}
    if deb is not None:
        if "deb" not in inspect.signature(module.build).parameters:
            raise DataError(f"{name} does not come from a Debian package; leave out --deb.")
        if not Path(deb).is_file():
            raise DataError(f"There is no file {deb}.")
        options["deb"] = Path(deb).resolve()
    target = Path(into).absolute() if into is not None else cache_root().absolute() / "sets" / name
    with explained(target), _alone(target):
        if _is_made(target, name, module.EDITION):
            if options and (digest := hash_of(options["deb"])) != source(target)["sha256"]:
                raise DataError(
                    f"{target} was made from another package file than {deb} ({digest}). "
                    "Choose another folder, or delete it."
                )
            return target
        with _workplace(target) as place:
            built = module.build(place / "set", place / "scratch", **options)
            _write(built, place / "set", name, module.EDITION)
            if target.exists():
                os.replace(target, place / "old")
            os.replace(place / "set", target)
    return target


def source(folder: str | Path) -> dict[str, Any]:
    """What is known about a fetched folder.  Raises DataError if it is none.

    Keys: set, edition, package, version, sha256 (of the package file), licence, rows, columns, files, bytes (of all
    files), fingerprint, notes (what a person should be told), counts.
    """
    try:
        found: dict[str, Any] = json.loads((Path(folder) / "SOURCE.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError) as error:
        raise DataError(f"{folder} is no fetched data set: it has no readable SOURCE.json.") from error
    return found


@contextlib.contextmanager
def _alone(target: Path) -> Iterator[None]:
    """One process at a time; the lock goes with the process, however it ends."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"Cannot make the folder {target.parent}: {error.strerror}. Choose another with `into` or PLAIT_CACHE."
        ) from error
    with (target.parent / f".{target.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _workplace(target: Path) -> Iterator[Path]:
    """A folder beside `target`, cleared of what a killed process left, and gone at the end."""
    place = target.parent / f".{target.name}.part"
    if place.exists():
        shutil.rmtree(place)
    for folder in ("set", "scratch"):
        (place / folder).mkdir(parents=True)
    try:
        yield place
    finally:
        shutil.rmtree(place)


def _is_made(target: Path, name: str, edition: int) -> bool:
    """Whether `target` is this set as it would be made today.  Raises DataError if it is something else altogether."""
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return False
    if not (target / "SOURCE.json").is_file() or (found := source(target)).get("set") != name:
        raise DataError(f"{target} exists and is not the data set {name}. Choose another folder with `into`.")
    return bool(found["edition"] == edition)


def _write(built: Built, folder: Path, name: str, edition: int) -> None:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    fingerprint = _fingerprint(built, folder, files)
    size = sum(path.stat().st_size for path in files)
    pq.write_table(built.table, folder / "table.parquet", compression="zstd")
    built.schema.save(folder / "schema.yaml")
    facts = {
        "set": name,
        "edition": edition,
        "package": built.package,
        "version": built.version,
        "sha256": built.sha256,
        "licence": built.licence,
        "rows": built.table.num_rows,
        "columns": built.table.num_columns,
        "files": len(files),
        "bytes": size + (folder / "table.parquet").stat().st_size,
        "fingerprint": fingerprint,
        "notes": list(built.notes),
        "counts": built.counts,
    }
    (folder / "SOURCE.json").write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _fingerprint(built: Built, folder: Path, files: list[Path]) -> str:
    """Hash of the schema, every value and every file, 32 hexadecimal digits: the same on every machine."""
    digest = hashlib.blake2b(json.dumps(built.schema.dump(), sort_keys=True).encode(), digest_size=16)
    for column, values in zip(built.table.column_names, built.table.columns, strict=True):
        digest.update(json.dumps([column, values.to_pylist()]).encode())
    for path in files:
        digest.update(f"{path.relative_to(folder).as_posix()} {hash_of(path)}\n".encode())
    return digest.hexdigest()

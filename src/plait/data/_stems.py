"""Folders and tar shards in which files that share a stem are one row: bird.png, bird.txt, bird.es.wav, bird.json.

The stem ends at the first dot of the file's name, as in WebDataset; what follows names the column.  Pictures (or
sounds, or texts) of one stem whose suffixes differ only in the format are one cell.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import json
import lzma
import os
import re
import shutil
import tarfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from glob import glob
from pathlib import Path
from typing import Any

import pyarrow as pa

from plait.core.errors import CellError, DataError

from ._arrow import Columns, from_columns, normal
from ._cells import Files
from .cache import cache_root, writing
from .quarantine import Quarantined

TWINS = (
    ("png", "webp", "jpg", "jpeg", "tif", "tiff", "bmp", "gif", "svg"),
    ("wav", "flac", "ogg", "oga", "opus", "mp3"),
    ("txt", "text", "caption"),
)
"""Formats of the same thing, the preferred first."""
TEXTS = {"txt", "text", "caption", "cls", "label"}
MEMBER = pa.struct(
    [("path", pa.large_string()), ("offset", pa.int64()), ("size", pa.int64()), ("member", pa.large_string())]
)
"""A cell that is a member of a tar file."""
MOST_COLUMNS = 200
STEM = "stem"


@dataclass(frozen=True)
class _File:
    """One file or member.  read: its bytes, or a CellError."""

    row: tuple[str, str]
    suffix: str
    cell: Any
    read: Callable[[], bytes]


def from_folder(root: Path, wanted: Iterable[str] = ()) -> tuple[Columns, list[str]]:
    """The rows of a folder of stems, ordered by stem, and notes.  wanted: names that columns should get if they can.

    Columns: `stem` (with its folders), `folder` where there are sub-folders, one per suffix, and keys of .json files.
    """
    files = Files(root)
    found: list[_File] = []
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = (Path(folder) / name).relative_to(root).as_posix()
            stem, suffix = _cut(path)
            if suffix and not name.startswith("."):
                found.append(_File(("", stem), suffix, path, partial(files.read, path)))
    if not found:
        raise DataError(
            f"{root} holds no table (table.parquet, table.csv, table.jsonl), no .tar shards and no files to be rows."
        )
    return _rows(sorted(found, key=lambda file: file.row), pa.large_string(), [], wanted)


def from_tars(paths: list[Path], wanted: Iterable[str] = ()) -> tuple[Columns, list[str]]:
    """The rows of tar shards, in the order of the shards and their members, and notes.

    Nothing is unpacked; cells say where in the tar their bytes are.  Absolute paths, '..' and links are refused.
    Compressed shards are uncompressed, once, into the cache folder.
    """
    found: list[_File] = []
    refused: list[tuple[tuple[str, str], str, str]] = []
    for path in paths:
        plain = _uncompressed(path)
        try:
            with tarfile.open(plain, "r:") as tar:
                for member in tar:
                    stem, suffix = _cut(member.name)
                    if member.isdir() or not suffix:
                        continue
                    row = (str(path), stem)
                    if member.name.startswith("/") or ".." in member.name.split("/"):
                        refused.append((row, suffix, f"{member.name!r} leaves the archive"))
                    elif not member.isreg() or member.issparse():
                        refused.append((row, suffix, f"{member.name!r} is a link or no regular file"))
                    else:
                        found.append(_member(plain, row, suffix, member))
        except tarfile.TarError as error:
            raise DataError(f"{path} cannot be read as a tar file: {error}") from error
    if not found and not refused:
        raise DataError(f"{', '.join(map(str, paths)) or 'The pattern'}: no files in it to take as rows.")
    return _rows(found, MEMBER, refused, wanted)


def _member(tar: Path, row: tuple[str, str], suffix: str, member: tarfile.TarInfo) -> _File:
    files = Files(tar.parent)
    offset, size = member.offset_data, member.size
    cell = {"path": str(tar), "offset": offset, "size": size, "member": member.name}
    return _File(row, suffix, cell, partial(files.read, str(tar), offset, size))


def shards(pattern: str) -> list[Path]:
    """The files of a pattern with *, ?, [..], {000..012} or {a,b}, in order.  Raises DataError if there are none."""
    found = sorted(
        {Path(path) for said in _braces(pattern) for path in (glob(said) if re.search(r"[*?\[]", said) else [said])}
    )
    missing = [str(path) for path in found if not path.is_file()]
    if missing or not found:
        raise DataError(f"{pattern}: no such file{': ' + missing[0] if missing else ''}.")
    return found


def _braces(pattern: str) -> Iterator[str]:
    match = re.search(r"\{([^{}]*)\}", pattern)
    if match is None:
        yield pattern
        return
    span = re.fullmatch(r"(\d+)\.\.(\d+)", match[1])
    if span:
        first, last = int(span[1]), int(span[2])
        options = [str(number).zfill(len(span[1])) for number in range(first, last + 1)]
    else:
        options = match[1].split(",")
    for option in options:
        yield from _braces(pattern[: match.start()] + option + pattern[match.end() :])


def _cut(path: str) -> tuple[str, str]:
    """'a/bird.es.WAV' -> ('a/bird', 'es.wav')."""
    folder, slash, name = path.removeprefix("./").rpartition("/")
    stem, _, suffix = name.partition(".")
    return f"{folder}{slash}{stem}", suffix.lower()


def _uncompressed(path: Path) -> Path:
    with path.open("rb") as file:
        head = file.read(6)
    openers: dict[bytes, Callable[[Path], Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
    opener = next((opener for magic, opener in openers.items() if head.startswith(magic)), None)
    if opener is None:
        return path
    status = path.stat()
    named = f"{path.resolve()}/{status.st_size}/{status.st_mtime_ns}"
    plain = cache_root() / "tables" / f"{hashlib.blake2b(named.encode(), digest_size=16).hexdigest()}.tar"
    if not plain.exists():
        try:
            with opener(path) as packed, writing(plain) as part, part.open("wb") as out:
                shutil.copyfileobj(packed, out, 1 << 20)
        except (EOFError, lzma.LZMAError, gzip.BadGzipFile) as error:
            raise DataError(f"{path} cannot be unpacked: {error}") from error
    return plain


def _rows(
    found: list[_File], kind: pa.DataType, refused: list[tuple[tuple[str, str], str, str]], wanted: Iterable[str]
) -> tuple[Columns, list[str]]:
    order = dict.fromkeys([file.row for file in found] + [row for row, _, _ in refused])
    at = {row: number for number, row in enumerate(order)}
    names, notes = _column_names([file.suffix for file in found] + [suffix for _, suffix, _ in refused], set(wanted))
    files: dict[str, list[Any]] = {}
    said: dict[str, list[Any]] = {STEM: [stem for _, stem in order]}
    if any("/" in stem for _, stem in order):
        said["folder"] = [stem.rpartition("/")[0] or None for _, stem in order]
    taken: dict[tuple[int, str], int] = {}
    bad = [Quarantined(at[row], names[suffix], reason) for row, suffix, reason in refused]
    for file in found:
        row, last = at[file.row], file.suffix.rpartition(".")[2]
        name = names[file.suffix]
        rank = next((twins.index(last) for twins in TWINS if last in twins), 0)
        if taken.get((row, name), rank) < rank:
            continue
        taken[row, name] = rank
        if last in TEXTS or last == "json":
            try:
                _put_text(said, name, row, len(order), file.read().decode("utf-8"), last == "json")
            except UnicodeDecodeError:
                bad.append(Quarantined(row, name, "is not UTF-8"))
            except CellError as error:
                if not str(error).endswith("is empty"):
                    bad.append(Quarantined(row, name, str(error)))
        else:
            files.setdefault(name, [None] * len(order))[row] = file.cell
    for cell in bad:
        if cell.column not in said:
            files.setdefault(cell.column, [None] * len(order))
    if len(said) + len(files) > MOST_COLUMNS:
        some = ", ".join([*said, *files][:5])
        raise DataError(
            f"The names give {len(said) + len(files)} columns ({some} ...). What follows the first dot of a name is "
            "its column: take the dots out of the stems."
        )
    columns = from_columns(said)
    table = columns.table
    for name in sorted(files):
        table = table.append_column(name, pa.array(files[name], kind))
    return normal(table, [*columns.bad, *bad]), notes


def _put_text(said: dict[str, list[Any]], name: str, row: int, rows: int, text: str, is_json: bool) -> None:
    entries: dict[str, Any] = {name: text}
    if is_json:
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise CellError(f"is not valid JSON: {error}") from error
        prefix = name.removesuffix("json")
        if isinstance(value, dict):
            entries = {
                (f"{name}.{key}" if key in (STEM, "folder") else f"{prefix}{key}"): cell for key, cell in value.items()
            }
    for key, cell in entries.items():
        said.setdefault(key, [None] * rows)[row] = cell


def _column_names(suffixes: list[str], wanted: set[str]) -> tuple[dict[str, str], list[str]]:
    """The column of each suffix: itself, or for formats of the same thing the commonest, or one that is wanted."""
    counts = Counter(suffixes)
    names: dict[str, str] = {}
    notes: list[str] = []
    for suffix in sorted(counts):
        prefix, dot, last = suffix.rpartition(".")
        twins = next((twins for twins in TWINS if last in twins), (last,))
        group = [f"{prefix}{dot}{twin}" for twin in twins]
        there = [twin for twin in group if twin in counts]
        asked = [twin for twin in group if twin in wanted]
        names[suffix] = asked[0] if asked else max(there, key=lambda twin: counts[twin])
        if len(there) > 1 and suffix == there[0]:
            listed = ", ".join(f"{counts[twin]} {twin}" for twin in there)
            notes.append(f"{names[suffix]}: one column for {listed}; where a row has several, the first of these")
    return names, notes

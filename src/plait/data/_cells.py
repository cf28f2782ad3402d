"""One Arrow cell -> the raw form its kind is decoded from.  Every fault of the data is a CellError."""

from __future__ import annotations

import errno
import io
import json
import math
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from plait.core.errors import CellError

from .schema import Modality

LIMIT = 256 * 2**20
"""Bytes that one cell may have."""

UNREADABLE = {
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EACCES,
    errno.EPERM,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.EIO,
}
NOTHING = {"", "[]", "null", "nan", "none"}
"""Texts that mean an absent array; in lower case."""

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Files:
    """Reads the files that cells name.  root: what relative paths start from; allowed: False refuses every path."""

    root: Path
    allowed: bool = True

    def locate(self, path: str) -> Path:
        """Where a cell's path leads.  Raises CellError if it is refused; the file need not exist."""
        if not self.allowed:
            raise CellError("is a path, and paths are not accepted here: give the content")
        if "://" in path[:12]:
            raise CellError(f"{path!r} is a URL; download it and give its path")
        if "\0" in path:
            raise CellError("the path holds a zero byte")
        if not os.path.isabs(path) and Path(os.path.normpath(path)).parts[:1] == ("..",):
            raise CellError(f"{path!r} leaves the data folder")
        return self.root / path

    def read(self, path: str, offset: int = 0, size: int | None = None) -> bytes:
        """The file's bytes, or `size` from `offset`.  Raises CellError if missing, oversized or no regular file."""
        place = self.locate(path)
        try:
            status = place.stat()
            if not stat.S_ISREG(status.st_mode):
                raise CellError(f"{path!r} is not a regular file")
            size = status.st_size if size is None else size
            if size > LIMIT:
                raise CellError(f"{path!r} has {size} bytes, more than the {LIMIT} that a cell may have")
            with place.open("rb") as file:
                file.seek(offset)
                content = file.read(size)
        except OSError as error:
            if error.errno not in UNREADABLE:
                raise
            raise CellError(f"{path!r} cannot be read: {error.strerror}") from error
        if not content:
            raise CellError(f"{path!r} is empty")
        if len(content) < size:
            raise CellError(f"{path!r} ends after {len(content)} of {size} bytes")
        return content


def is_text(type: pa.DataType) -> bool:
    """Whether an Arrow type holds text."""
    return bool(pa.types.is_large_string(type) or pa.types.is_string(type))


def is_binary(type: pa.DataType) -> bool:
    """Whether an Arrow type holds bytes."""
    return bool(pa.types.is_large_binary(type) or pa.types.is_binary(type))


def is_list(type: pa.DataType) -> bool:
    """Whether an Arrow type is a list of some form."""
    return bool(pa.types.is_list(type) or pa.types.is_large_list(type) or pa.types.is_fixed_size_list(type))


def is_file(type: pa.DataType) -> bool:
    """struct{bytes, path} as Hugging Face data sets have it, or struct{path, offset, size}: a member of a tar file."""
    return pa.types.is_struct(type) and {f.name for f in type} in (
        {"bytes", "path"},
        {"path", "offset", "size", "member"},
    )


def content(cell: pa.Scalar, files: Files) -> bytes | None:
    """image, audio: the encoded bytes."""
    value = cell.as_py()
    if isinstance(value, dict):
        if "offset" in value:
            return files.read(value["path"], value["offset"], value["size"])
        value = value["bytes"] if value["bytes"] else value["path"]
    if isinstance(value, str):
        value = files.read(value.strip()) if value.strip() else None
    if value is not None and not isinstance(value, bytes):
        raise CellError(f"is {cell.type}, expected a path or bytes")
    if value and len(value) > LIMIT:
        raise CellError(f"has {len(value)} bytes, more than the {LIMIT} that a cell may have")
    return value or None


def text(cell: pa.Scalar) -> str | None:
    """text: a str, as it stands."""
    value = cell.as_py()
    if isinstance(value, bytes):
        try:
            value = value.decode("utf-8")
        except UnicodeDecodeError as error:
            raise CellError(f"is not UTF-8: byte {error.start} is 0x{value[error.start]:02x}") from error
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    value = str(value)
    if len(value) > LIMIT:
        raise CellError(f"has {len(value)} characters, more than the {LIMIT} that a cell may have")
    return value if value.strip() else None


def vector(cell: pa.Scalar, modality: Modality, files: Files) -> Array | None:
    """vector: float32 [D].  All NaN is absent; some NaN, infinity or another width is a CellError."""
    value = array(cell, modality, files)
    if value is None:
        return None
    if value.ndim != 1:
        raise CellError(f"has shape {list(value.shape)}, expected one list of {modality.width} numbers")
    return _embedded(value, modality)


def tokens(cell: pa.Scalar, modality: Modality, files: Files) -> Array | None:
    """tokens: float32 [T, D]."""
    value = array(cell, modality, files)
    if value is None:
        return None
    if value.ndim != 2:
        raise CellError(f"has shape {list(value.shape)}, expected a list of tokens of {modality.width} numbers")
    return _embedded(value, modality)


def _embedded(value: Array, modality: Modality) -> Array | None:
    if modality.width is not None and value.shape[-1] != modality.width:
        raise CellError(f"has width {value.shape[-1]}, expected {modality.width}")
    with np.errstate(over="ignore"):
        single = value.astype(np.float32, copy=False)
    finite = np.isfinite(single)
    if finite.all():
        return single
    if np.isnan(single).all():
        return None
    raise CellError("holds infinity or NaN" if value.ndim == 1 else "holds infinity or NaN in a token")


def series(cell: pa.Scalar, modality: Modality, files: Files) -> Array | None:
    """series: float64 [T, 1+C]; the time (the step's number if there is none), then the channels, NaN where missing."""
    value = array(cell, modality, files)
    if value is None:
        return None
    if value.ndim == 1:
        value = value[:, None]
    expected = len(modality.channels) + modality.time if modality.channels else value.shape[-1]
    if value.ndim != 2 or value.shape[1] != expected:
        raise CellError(f"has shape {list(value.shape)}, expected steps of {expected} numbers")
    if np.isinf(value).any():
        raise CellError("holds infinity")
    if not modality.time:
        value = np.column_stack([np.arange(len(value), dtype=np.float64), value])
    elif np.isnan(value[:, 0]).any():
        raise CellError("holds a step without a time")
    else:
        value = value[np.argsort(value[:, 0], kind="stable")]
    return None if np.isnan(value[:, 1:]).all() else value


def array(cell: pa.Scalar, modality: Modality, files: Files) -> Array | None:
    """The numbers of a cell, None if it has none: an Arrow list, JSON text, or the path of a .npy, .json or .csv."""
    if not cell.is_valid:
        return None
    if is_list(cell.type):
        found = _from_list(cell.values, modality)
    elif is_file(cell.type):
        found = _from_bytes(content(cell, files) or b"", _named(cell.as_py()), modality)
    elif is_text(cell.type):
        found = _from_text(cell.as_py().strip(), modality, files)
    elif pa.types.is_floating(cell.type) or pa.types.is_integer(cell.type):
        found = np.array([cell.as_py()], np.float64)
    else:
        raise CellError(f"is {cell.type}, expected a list of numbers, JSON text or a path")
    return found if found is not None and found.size and not np.isnan(found).all() else None


def _named(value: dict[str, Any]) -> str:
    return str(value.get("member") or value["path"] or "")


def _from_list(values: pa.Array, modality: Modality) -> Array | None:
    if pa.types.is_struct(values.type):
        names = _columns([f.name for f in values.type], modality)
        return np.column_stack([_numbers(values.field(name)) for name in names]) if names else None
    if not is_list(values.type):
        return _numbers(values)
    if values.null_count:
        raise CellError("holds an empty step")
    lengths = (
        values.value_lengths().to_numpy() if not pa.types.is_fixed_size_list(values.type) else [values.type.list_size]
    )
    if len(set(lengths)) > 1:
        raise CellError(f"has steps of {min(lengths)} to {max(lengths)} numbers, expected all the same")
    return _numbers(values.flatten()).reshape(len(values), -1) if len(values) else None


def _numbers(values: pa.Array) -> Array:
    if pa.types.is_timestamp(values.type) or pa.types.is_date(values.type):
        return np.asarray(seconds(values).to_numpy(zero_copy_only=False), np.float64)
    if not (pa.types.is_floating(values.type) or pa.types.is_integer(values.type) or pa.types.is_null(values.type)):
        raise CellError(f"holds {values.type}, expected numbers")
    found = values.to_numpy(zero_copy_only=False)
    return np.asarray(found, np.float64) if found.dtype != np.float32 else found


def seconds(values: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Dates and time stamps as float64 seconds since 1970."""
    return pc.divide(values.cast(pa.timestamp("us")).cast(pa.int64()).cast(pa.float64()), 1e6)


def _from_text(said: str, modality: Modality, files: Files) -> Array | None:
    if said.lower() in NOTHING:
        return None
    if said[0] in "[{":
        return _from_json(said, modality)
    return _from_bytes(files.read(said), said, modality)


def _from_bytes(found: bytes, name: str, modality: Modality) -> Array | None:
    suffix = os.path.splitext(name)[1].lower()
    if suffix == ".npy":
        try:
            value = np.load(io.BytesIO(found), allow_pickle=False)
        except (ValueError, EOFError, OSError) as error:
            raise CellError(f"is not a readable .npy file: {error}") from error
        if not (np.issubdtype(value.dtype, np.floating) or np.issubdtype(value.dtype, np.integer)):
            raise CellError(f"holds {value.dtype}, expected numbers")
        return np.asarray(value if value.dtype == np.float32 else value.astype(np.float64))
    if suffix == ".csv":
        return _from_csv(found, modality)
    if suffix == ".json":
        try:
            return _from_json(found.decode("utf-8"), modality)
        except UnicodeDecodeError as error:
            raise CellError("is not UTF-8") from error
    raise CellError(f"{name!r} is no list of numbers, JSON text or path of a .npy, .csv or .json file")


def _from_json(said: str, modality: Modality) -> Array | None:
    try:
        value = json.loads(said)
    except (ValueError, RecursionError) as error:
        raise CellError(f"is not valid JSON: {error}") from error
    if isinstance(value, dict):
        names = _columns(list(value), modality)
        lengths = {len(value[n]) if isinstance(value[n], list) else -1 for n in names}
        if len(lengths) > 1 or -1 in lengths:
            raise CellError("is a JSON object whose entries are not lists of one length")
        value = list(zip(*(value[n] for n in names), strict=True))
    return from_python(value)


def from_python(value: Any) -> Array | None:
    """Numbers in nested lists, None where one is missing.  Raises CellError if they are ragged or no numbers."""
    try:
        return np.asarray(value, dtype=np.float64) if value is not None else None
    except (TypeError, ValueError, OverflowError) as error:
        raise CellError("is not a regular array of numbers") from error


def _from_csv(found: bytes, modality: Modality) -> Array | None:
    try:
        head = found.split(b"\n", 1)[0].decode("utf-8").strip().split(",")
        bare = all(_is_number(entry) for entry in head)
        table = pa.csv.read_csv(io.BytesIO(found), read_options=pa.csv.ReadOptions(autogenerate_column_names=bare))
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        raise CellError(f"is not a readable .csv file: {error}") from error
    names = table.column_names if bare else _columns(table.column_names, modality)
    return np.column_stack([_numbers(table.column(n).combine_chunks()) for n in names]) if len(table) else None


def _is_number(said: str) -> bool:
    try:
        float(said)
    except ValueError:
        return False
    return True


def _columns(found: list[str], modality: Modality) -> list[str]:
    """The named columns in the schema's order: the time, then the channels."""
    if not modality.channels:
        return found
    rest = [name for name in found if name not in modality.channels]
    missing = [name for name in modality.channels if name not in found]
    if missing or (modality.time and not rest):
        raise CellError(
            f"has the columns {found}, expected {'a time and ' if modality.time else ''}{list(modality.channels)}"
        )
    return rest[:1] * modality.time + list(modality.channels)

"""Chunk files: features of cells under the hashes of their content, written whole or not at all, checked on reading."""

from __future__ import annotations

import itertools
import json
import math
import os
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .cache import writing

MAGIC = b"PLAIT\x00\x00\x01"
_PREFIX = struct.Struct("<8sII")
"""Magic, length and CRC-32 of the header, which is JSON; after it the features, one cell after the other."""


class Damaged(Exception):
    """Chunks whose content is not what was written."""

    def __init__(self, paths: set[Path]) -> None:
        super().__init__(f"damaged: {sorted(map(str, paths))}")
        self.paths = paths


class Cell(NamedTuple):
    """Where in a chunk a cell's features lie."""

    path: Path
    offset: int
    shape: tuple[int, ...]
    dtype: str
    checksum: int

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


Found = dict[bytes, Cell | str | None]
"""By content hash: the features; the reason why there are none; None: the cell is empty."""


def write(path: Path, keys: Sequence[bytes], made: Sequence[np.ndarray | str | None]) -> Found:
    """One chunk, whole or not at all -> what it holds."""
    cells = []
    blobs = []
    for key, cell in zip(keys, made, strict=True):
        if isinstance(cell, np.ndarray):
            blobs.append(np.ascontiguousarray(cell).tobytes())
            cells.append([key.hex(), list(cell.shape), cell.dtype.str, zlib.crc32(blobs[-1])])
        else:
            cells.append([key.hex(), cell])
    header = json.dumps(cells).encode()
    with writing(path) as unfinished, unfinished.open("wb") as file:
        file.write(_PREFIX.pack(MAGIC, len(header), zlib.crc32(header)) + header)
        file.writelines(blobs)
    return _listed(path, cells, _PREFIX.size + len(header))


def index(path: Path) -> Found | None:
    """What a chunk holds; None if there is no such file, or it is not what was written."""
    try:
        with path.open("rb") as file:
            prefix = file.read(_PREFIX.size)
            if len(prefix) < _PREFIX.size:
                return None
            magic, length, checksum = _PREFIX.unpack(prefix)
            header = file.read(length)
            if magic != MAGIC or zlib.crc32(header) != checksum:
                return None
            found = _listed(path, json.loads(header), _PREFIX.size + length)
            end = sum(cell.bytes for cell in found.values() if isinstance(cell, Cell)) + _PREFIX.size + length
            return found if os.fstat(file.fileno()).st_size == end else None
    except FileNotFoundError:
        return None


def _listed(path: Path, cells: list[list[Any]], offset: int) -> Found:
    found: Found = {}
    for key, *cell in cells:
        if len(cell) == 1:
            found[bytes.fromhex(key)] = cell[0]
            continue
        shape, dtype, checksum = cell
        placed = Cell(path, offset, tuple(shape), dtype, checksum)
        found[bytes.fromhex(key)] = placed
        offset += placed.bytes
    return found


def contents(cells: Iterable[Cell]) -> Iterator[bytes]:
    """The features of each cell.  Raises Damaged at the end, naming all chunks whose content is not what it was."""
    damaged = set()
    for path, group in itertools.groupby(cells, key=lambda cell: cell.path):
        try:
            with path.open("rb") as file:
                for cell in group:
                    file.seek(cell.offset)
                    content = file.read(cell.bytes)
                    if zlib.crc32(content) != cell.checksum:
                        damaged.add(path)
                        content = bytes(cell.bytes)
                    yield content
        except FileNotFoundError:
            damaged.add(path)
    if damaged:
        raise Damaged(damaged)

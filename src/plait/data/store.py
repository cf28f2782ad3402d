"""Stored cells: each distinct cell of a modality decoded and precomputed once, then gathered at memory speed.

A cell's features lie in the cache under the hash of its content, in a folder for how they were made: kind, decoding
options, the decoder's code, the encoder's fingerprint.  They are written in chunks, each whole or not at all, so that
a run that is killed loses at most one chunk.

The low bits of a feature may depend on the cells it was computed with.  Batches are therefore cut from the cells that
the cache does not have, in the order of the table, and a chunk is a whole number of batches: a run that continues
after an interruption, or replaces a damaged chunk of its own, computes the same batches and gets the same bits.
(Cells that a table shares with others keep the bits that they were given first.)
"""

from __future__ import annotations

import hashlib
import inspect
import itertools
import json
import math
import os
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from plait.core.errors import CellError, DataError
from plait.core.packed import Packed
from plait.core.part import Encoder

from . import _chunks, kinds
from ._chunks import Cell, Damaged, Found
from .cache import cache_root, writing
from .schema import Modality
from .table import Table

BATCH = 64
"""Cells that are decoded, and precomputed, together."""
CHUNK = 256
"""Cells that are written together; a multiple of BATCH."""
THREADS = min(8, os.cpu_count() or 1)
"""That decode."""
IN_MEMORY = 256 * 2**20
"""Bytes of cells that are held in memory; more are memory-mapped."""

Progress = Callable[[int, int], None]
"""Told how many of how many cells are done."""


class Store:
    """The cells that some of N rows have: of a modality, or of a target.

    values: [S, ...], or, for cells that differ in length, [sum of lengths, ...] with `starts` [S + 1].
    rows: int64 [P], ascending: the rows that have a cell.  slots: int64 [P], which cell; in order unless given.
    seconds: what making it took, by "decode" and "encode".
    """

    def __init__(
        self,
        size: int,
        rows: np.ndarray,
        values: np.ndarray,
        *,
        slots: np.ndarray | None = None,
        starts: np.ndarray | None = None,
        seconds: dict[str, float] | None = None,
    ) -> None:
        self.size = size
        self.rows = rows
        self.seconds = seconds or {"decode": 0.0, "encode": 0.0}
        self._values = values
        self._starts = starts
        self._slot = torch.full((size,), -1, dtype=torch.long)
        self._slot[torch.from_numpy(rows)] = torch.arange(len(rows)) if slots is None else torch.from_numpy(slots)

    @property
    def ragged(self) -> bool:
        """Whether cells differ in length along their first axis."""
        return self._starts is not None

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one cell, without the first axis if it is ragged."""
        return self._values.shape[1:]

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._values.dtype

    @property
    def present(self) -> Tensor:
        """[N] bool: which rows have a cell."""
        return self._slot >= 0

    def gather(self, rows: Tensor) -> Packed:
        """The cells of `rows` [B], in any order, repeats allowed -> values [P, ...], rows [P] counting along `rows`.

        Ragged cells are padded with zeros to the longest of them, and notes["length"] [P] says how long each is.
        """
        slots = self._slot[rows]
        here = (slots >= 0).nonzero().squeeze(1)
        slots = slots[here]
        if self._starts is None:
            return Packed(torch.from_numpy(self._values).index_select(0, slots), here)
        first = self._starts[slots.numpy()]
        lengths = self._starts[slots.numpy() + 1] - first
        padded = np.zeros((len(slots), lengths.max(initial=0), *self.shape), self.dtype)
        for cell, begin, length in zip(padded, first.tolist(), lengths.tolist(), strict=True):
            cell[:length] = self._values[begin : begin + length]
        return Packed(torch.from_numpy(padded), here, notes={"length": torch.from_numpy(lengths)})


def details(modality: Modality) -> dict[str, Any]:
    """What the schema knows of a modality that decoding its cells depends on, such as a vector's width."""
    accepted = inspect.signature(kinds.decoder(modality.kind).decode).parameters
    return {name: value for name, value in modality.model_dump(mode="json").items() if name in accepted}


def build_store(
    table: Table, modality: str, encoder: Encoder, *, cache: Path | None = None, progress: Progress | None = None
) -> Store:
    """Decode and precompute the cells of a modality as `encoder` wants them, as far as the cache does not have them.

    Cells that cannot be decoded go to the table's quarantine and are not in the store; nor are those that turn out to
    be empty.  Two processes may do this at once.  A large store (IN_MEMORY) is a second copy on disk, memory-mapped.

    Raises DataError if the disk is full, if cells are of shapes that do not go together, if a file changes meanwhile,
    and, for a strict table, at the first cell that cannot be decoded.
    """
    root = (cache or cache_root()) / "cells"
    spec = table.schema.modalities[modality]
    as_decoded = type(encoder).precompute is Encoder.precompute
    if spec.kind == "vector" and spec.width is not None and as_decoded:
        return _stream(table, modality, spec.width, root / "vector")
    making = _Making(table, modality, encoder, root, progress or (lambda done, total: None))
    for _ in range(3):
        making.fill()
        try:
            return making.assemble(always_ragged=as_decoded and kinds.decoder(spec.kind).RAGGED)
        except Damaged as damage:
            for path in damage.paths:
                path.unlink(missing_ok=True)
    raise DataError(f"Files in {making.folder} are damaged as soon as they are written. Check the disk.")


def _stream(table: Table, modality: str, width: int, folder: Path) -> Store:
    """Vectors as they are: nothing to decode and nothing to hash one by one, so that a million take seconds."""
    began = time.perf_counter()
    rows, blocks = table.vectors(modality)
    shape = (len(rows), width)
    if 4 * math.prod(shape) <= IN_MEMORY:
        values = np.concatenate([np.zeros((0, width), np.float32), *blocks])
    else:
        digest = hashlib.blake2b(digest_size=16)
        for block in blocks:
            digest.update(np.ascontiguousarray(block).data)
        _, blocks = table.vectors(modality)
        values = _mapped(folder / f"{digest.hexdigest()}.table", shape, np.dtype(np.float32), blocks)
    return Store(len(table), rows, values, seconds={"decode": time.perf_counter() - began, "encode": 0.0})


def _filled(shape: tuple[int, ...], dtype: np.dtype[Any], parts: Iterable[bytes]) -> np.ndarray:
    values = np.empty(math.prod(shape) * dtype.itemsize, np.uint8)
    at = 0
    for part in parts:
        values[at : at + len(part)] = np.frombuffer(part, np.uint8)
        at += len(part)
    return values.view(dtype).reshape(shape)


def _mapped(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any], parts: Iterable[Any]) -> np.ndarray:
    """The file of these contiguous parts, written unless it is there, and memory-mapped."""
    if not path.exists() or path.stat().st_size != math.prod(shape) * dtype.itemsize:
        with writing(path) as unfinished, unfinished.open("wb") as file:
            for part in parts:
                file.write(part)
    # Copy-on-write: torch wants memory that it may write to, and the file must not change.
    return np.memmap(path, dtype, "c", shape=shape)


class _Making:
    """The making of one store.  Slots count the distinct cells in the order in which the table first has them."""

    def __init__(self, table: Table, modality: str, encoder: Encoder, root: Path, progress: Progress) -> None:
        spec = table.schema.modalities[modality]
        self.table, self.modality, self.encoder, self.progress = table, modality, encoder, progress
        self.options = details(spec) | encoder.wants()
        self.decode = kinds.decoder(spec.kind).decode
        made_by = json.dumps([kinds.version(spec.kind), self.options, encoder.fingerprint()], sort_keys=True)
        self.folder = root / f"{spec.kind}-{_digest(made_by.encode())}"
        self.seconds = {"decode": 0.0, "encode": 0.0}
        began = time.perf_counter()
        self.rows, hashes = table.keys(modality)
        whole = hashes.tobytes()
        numbered: dict[bytes, int] = {}
        self.slots = np.array(
            [numbered.setdefault(whole[i : i + 16], len(numbered)) for i in range(0, len(whole), 16)], np.int64
        )
        self.keys = list(numbered)
        self.first = self.rows[np.unique(self.slots, return_index=True)[1]]
        self.found: Found = {}
        self.seconds["decode"] += time.perf_counter() - began

    def fill(self) -> None:
        """Decode and precompute what the cache does not have."""
        wanted = set(self.keys)
        self.found = {}
        for path in sorted(self.folder.glob("*.cells")):
            self.found |= {key: cell for key, cell in (_chunks.index(path) or {}).items() if key in wanted}
        missing = [slot for slot, key in enumerate(self.keys) if key not in self.found]
        self.progress(len(self.keys) - len(missing), len(self.keys))
        with ThreadPoolExecutor(THREADS) as pool:
            for begin in range(0, len(missing), CHUNK):
                part = missing[begin : begin + CHUNK]
                path = self.folder / f"{_digest(b''.join(self.keys[slot] for slot in part))}.cells"
                if (found := _chunks.index(path)) is None:  # otherwise another process was faster
                    made: list[np.ndarray | str | None] = []
                    for at in range(0, len(part), BATCH):
                        made += self._make(part[at : at + BATCH], pool)
                    found = _chunks.write(path, [self.keys[slot] for slot in part], made)
                self.found |= found
                self.progress(len(self.keys) - len(missing) + begin + len(part), len(self.keys))

    def _make(self, slots: Sequence[int], pool: ThreadPoolExecutor) -> list[np.ndarray | str | None]:
        """Features of one batch of cells; the reason, for a bad cell; None for an empty one."""
        began = time.perf_counter()
        raws = list(self.table.cells(self.modality, self.first[slots]))
        for slot, raw in zip(slots, raws, strict=True):
            if raw is None or isinstance(raw, CellError) or self.table.key(self.modality, raw) != self.keys[slot]:
                raise DataError(
                    f"Row {self.first[slot]}, {self.modality}: the cell changed while it was read. Start again."
                )
        share = math.ceil(len(raws) / THREADS)
        shares = [raws[at : at + share] for at in range(0, len(raws), share)]
        decoded = list(itertools.chain(*pool.map(self._decode, shares)))
        cells = [cell for cell in decoded if isinstance(cell, np.ndarray)]
        self.seconds["decode"] += time.perf_counter() - began
        for slot, cell in zip(slots, decoded, strict=True):
            if isinstance(cell, CellError):
                self.table.reject(int(self.first[slot]), self.modality, str(cell))
        began = time.perf_counter()
        with torch.no_grad():
            features = self.encoder.precompute(cells) if cells else []
        self.seconds["encode"] += time.perf_counter() - began
        if len(features) != len(cells):
            name = type(self.encoder).__name__
            raise TypeError(f"{name}.precompute gave {len(features)} results for {len(cells)} cells")
        each = iter(features)
        return [str(cell) if isinstance(cell, CellError) else None if cell is None else next(each) for cell in decoded]

    def _decode(self, raws: Iterable[Any]) -> list[np.ndarray | CellError | None]:
        cells: list[np.ndarray | CellError | None] = []
        for raw in raws:
            try:
                cells.append(self.decode(raw, **self.options))
            except CellError as error:
                cells.append(error)
        return cells

    def assemble(self, always_ragged: bool) -> Store:
        """One contiguous array of all features.  Raises Damaged, DataError."""
        found = [self.found[key] for key in self.keys]
        for row, slot in zip(self.rows.tolist(), self.slots.tolist(), strict=True):
            if isinstance(reason := found[slot], str):
                self.table.reject(row, self.modality, reason)
        good = np.array([isinstance(cell, Cell) for cell in found], bool)
        cells = [cell for cell in found if isinstance(cell, Cell)]
        shape, dtype, ragged = self._form(cells, always_ragged)
        starts = np.cumsum([0, *(cell.shape[0] for cell in cells)]) if ragged else None
        whole = (len(cells) if starts is None else int(starts[-1]), *shape)
        if math.prod(whole) * dtype.itemsize <= IN_MEMORY:
            values = _filled(whole, dtype, _chunks.contents(cells))
        else:
            name = _digest(b"".join(self.keys) + good.tobytes())
            values = _mapped(self.folder / f"{name}.table", whole, dtype, _chunks.contents(cells))
        usable = good[self.slots]
        slots = (np.cumsum(good) - 1)[self.slots[usable]]
        return Store(len(self.table), self.rows[usable], values, slots=slots, starts=starts, seconds=self.seconds)

    def _form(self, cells: Sequence[Cell], always_ragged: bool) -> tuple[tuple[int, ...], np.dtype[Any], bool]:
        """Of all cells: shape (without the first axis if ragged), dtype, and whether they are ragged."""
        forms = {(cell.shape, cell.dtype) for cell in cells}
        ragged = always_ragged or len(forms) > 1
        if not ragged:
            shape, dtype = next(iter(forms), ((0,), "<f4"))
            return shape, np.dtype(dtype), False
        trailing = {(shape[1:], dtype) for shape, dtype in forms}
        if len(trailing) > 1 or any(not shape for shape, _ in forms):
            found = sorted({f"{dtype} {list(shape)}" for shape, dtype in forms})
            raise DataError(
                f"Cells of modality {self.modality!r} do not go together: {', '.join(found[:6])}. "
                "All need the same width or the same number of channels."
            )
        shape, dtype = next(iter(trailing), ((), "<f4"))
        return shape, np.dtype(dtype), True


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()

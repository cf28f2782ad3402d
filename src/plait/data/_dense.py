"""List columns of numbers as blocks of vectors, read where they are mapped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from ._cells import Array, is_list

BLOCK = 8192
"""Rows that are in hand at once while a column is gone through."""


class Dense:
    """A list column as flat numbers, mapped and not copied: per row, where its values start and how many they are."""

    def __init__(self, chunks: Sequence[pa.Array], width: int) -> None:
        self.width = width
        self.ends = np.cumsum([len(chunk) for chunk in chunks])
        self.values: list[Array] = []
        starts, lengths, gaps = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0, bool)]
        for chunk in chunks:
            if pa.types.is_fixed_size_list(chunk.type):
                size = chunk.type.list_size
                first, length = (chunk.offset + np.arange(len(chunk))) * size, np.full(len(chunk), size)
            else:
                offsets = chunk.offsets.to_numpy().astype(np.int64)
                first, length = offsets[:-1], np.diff(offsets)
            starts.append(first)
            lengths.append(length)
            gaps.append(_gaps(chunk.values, first, length))
            self.values.append(_unmasked(chunk.values))
        self.starts, self.lengths = np.concatenate(starts), np.concatenate(lengths)
        self.whole = (self.lengths == width) & ~np.concatenate(gaps)
        """Rows that have D values, none of them null."""

    @classmethod
    def of(cls, columns: pa.Table, name: str, width: int) -> Dense | None:
        """None unless the column is an Arrow list of numbers."""
        type = columns.schema.field(name).type if name in columns.column_names else pa.null()
        if not (is_list(type) and (pa.types.is_floating(type.value_type) or pa.types.is_integer(type.value_type))):
            return None
        return cls(columns.column(name).chunks, width)

    def take(self, rows: Array) -> Array:
        """float32 [n, D] of whole rows."""
        out = np.empty((len(rows), self.width), np.float32)
        which = np.searchsorted(self.ends, rows, side="right")
        with np.errstate(over="ignore"):
            for chunk in np.unique(which):
                at = np.flatnonzero(which == chunk)
                first, values = self.starts[rows[at]], self.values[chunk]
                shift = int(first[0] % self.width)
                if (first % self.width == shift).all():
                    even = values[shift : shift + (len(values) - shift) // self.width * self.width]
                    out[at] = even.reshape(-1, self.width)[(first - shift) // self.width]
                else:
                    out[at] = values[first[:, None] + np.arange(self.width)]
        return out


def _unmasked(values: pa.Array) -> Array:
    """The numbers of an Arrow array where they lie; those that are null are arbitrary."""
    dtype = np.dtype(values.type.to_pandas_dtype())
    buffer = values.buffers()[1]
    if buffer is None or not len(values):
        return np.zeros(0, dtype)
    return np.frombuffer(buffer, dtype, len(values), values.offset * dtype.itemsize)


def _gaps(values: pa.Array, starts: Array, lengths: Array) -> Array:
    """bool [n]: whether a null is among the values of each row."""
    gaps = np.zeros(len(starts), bool)
    for rows in blocks(np.arange(len(starts)) if values.null_count else np.zeros(0, np.int64)):
        low, high = int(starts[rows[0]]), int((starts[rows] + lengths[rows]).max())
        nulls = np.concatenate([[0], np.cumsum(bools(values.slice(low, high - low).is_null()))])
        gaps[rows] = nulls[starts[rows] + lengths[rows] - low] > nulls[starts[rows] - low]
    return gaps


def blocks(rows: Array) -> Iterator[Array]:
    """The rows, BLOCK at a time."""
    return (rows[start : start + BLOCK] for start in range(0, len(rows), BLOCK))


def bools(values: pa.Array | pa.ChunkedArray) -> Array:
    """An Arrow column of booleans as NumPy."""
    return np.array(values.to_numpy(zero_copy_only=False) if isinstance(values, pa.Array) else values.to_numpy(), bool)

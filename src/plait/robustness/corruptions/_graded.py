"""What all corruptions share: five strengths, and draws that belong to the cell.

A cell's draw depends on its content, the corruption and the seed, not on its place in a table; and not on the strength:
a stronger corruption is more of the same, so that damage never shrinks with strength.
"""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def amount(strength: int, amounts: tuple[float, float, float, float, float]) -> float:
    """The amount of a strength 1 .. 5; ValueError for another.  Strength 0 is the caller's: it changes nothing."""
    if isinstance(strength, bool) or strength not in (1, 2, 3, 4, 5):
        raise ValueError(f"strength: expected a whole number from 0 to 5, found {strength!r}")
    return amounts[strength - 1]


def drawn(name: str, seed: int, cell: Array | str) -> np.random.Generator:
    """The generator of one corruption of one cell; equal on every machine."""
    if isinstance(cell, str):
        content, form = cell.encode("utf-8", "surrogatepass"), "text"
    else:
        content, form = np.ascontiguousarray(cell).tobytes(), f"{cell.dtype.str} {cell.shape}"
    digest = hashlib.blake2b(f"{name} {seed} {form}".encode() + b"\0" + content, digest_size=16).digest()
    return np.random.default_rng(int.from_bytes(digest, "big"))


def some(share: float, count: int, most: int) -> int:
    """How many of `count` a share is: rounded up, at most `most`."""
    # Less a rounding error: 0.3 of 10 is 3, though 0.3 * 10 may come out above 3.
    return max(0, min(math.ceil(share * count - 1e-9), most))


def narrowed(values: Array, like: Array, low: float, high: float) -> Array:
    """Held in low .. high, and of the type of `like`: integers are rounded."""
    values = np.clip(values, low, high)
    return (np.rint(values) if like.dtype.kind in "iu" else values).astype(like.dtype)

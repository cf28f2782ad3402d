"""Sequences of vectors computed elsewhere: words, patches or regions, one vector each."""

from __future__ import annotations

import numpy as np

from plait.core.errors import CellError

from ._floats import finite

RAGGED = True


def decode(raw: np.ndarray, *, width: int | None = None, max_tokens: int = 4096) -> np.ndarray | None:
    """-> [T, D] float32, at most the first `max_tokens`.  Empty, or NaN throughout, is absent.  width: D if known.

    Raises CellError for another width, other than two axes, single NaN, and infinity.
    """
    if np.isnan(raw).all():
        return None
    if raw.ndim != 2:
        raise CellError(f"array of shape {list(raw.shape)}, expected tokens [T, D]")
    if width is not None and raw.shape[1] != width:
        raise CellError(f"tokens of {raw.shape[1]} numbers, expected {width}")
    return finite(raw)[:max_tokens]

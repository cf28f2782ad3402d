"""Vectors computed elsewhere, such as embeddings."""

from __future__ import annotations

import numpy as np

from plait.core.errors import CellError

from ._floats import finite

RAGGED = False


def decode(raw: np.ndarray, *, width: int | None = None) -> np.ndarray | None:
    """-> [D] float32.  NaN throughout, or empty, is absent.  width: D if it is known.

    Raises CellError for another width, more than one axis, single NaN, and infinity.
    """
    if raw.ndim != 1:
        raise CellError(f"array of shape {list(raw.shape)}, expected a vector")
    if np.isnan(raw).all():
        return None
    if width is not None and len(raw) != width:
        raise CellError(f"vector of {len(raw)} numbers, expected {width}")
    return finite(raw)

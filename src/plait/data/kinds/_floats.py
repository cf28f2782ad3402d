"""Checked narrowing to 32-bit floats."""

from __future__ import annotations

import numpy as np

from plait.core.errors import CellError


def narrow(values: np.ndarray) -> np.ndarray:
    """To float32.  Raises CellError for infinity, also where only float32 cannot hold the number."""
    with np.errstate(over="ignore"):
        single = values.astype(np.float32)
    if np.isinf(single).any():
        raise CellError("infinity, or a number too large for 32 bits")
    return single


def finite(values: np.ndarray) -> np.ndarray:
    """To float32.  Raises CellError for NaN as well."""
    if missing := int(np.isnan(values).sum()):
        raise CellError(f"NaN in {missing} of {values.size} places")
    return narrow(values)

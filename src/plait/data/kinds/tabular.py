"""A group of numeric and categorical columns, with missing cells of its own."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from plait.core.errors import CellError

from ._floats import narrow

RAGGED = False


def decode(
    raw: Sequence[float | str | None],
    *,
    columns: Sequence[str],
    categories: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> np.ndarray | None:
    """-> [K] float32 for K columns: the number, or the position in the column's categories; NaN where it is missing.

    raw: one value per column.  None, NaN and empty text are missing, and so is a category that is not known.  A row
    of which all is missing is absent.  Raises CellError for infinity and for text that is not a number.
    """
    coded = [
        _position(value, categories[name]) if name in categories else _number(value, name)
        for value, name in zip(raw, columns, strict=True)
    ]
    values = np.array(coded, dtype=np.float64)
    return None if np.isnan(values).all() else narrow(values)


def _position(value: float | str | None, categories: Sequence[str]) -> float:
    return float(categories.index(str(value))) if str(value) in categories else math.nan


def _number(value: float | str | None, name: str) -> float:
    if value is None or value == "":
        return math.nan
    try:
        return float(value)
    except (ValueError, OverflowError) as error:
        raise CellError(f"{name}: {value!r:.40} is not a number") from error

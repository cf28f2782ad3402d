"""Anything as JSON can say it."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping
from typing import Any

import numpy as np


def plain(data: Any) -> Any:
    """Dicts, lists, numbers and strings; dataclasses as their fields, NaN and infinity as null."""
    if dataclasses.is_dataclass(data):
        return {field.name: plain(getattr(data, field.name)) for field in dataclasses.fields(data)}
    if isinstance(data, Mapping):
        return {str(key): plain(value) for key, value in data.items()}
    if isinstance(data, np.ndarray | np.generic):
        return plain(data.tolist())
    if isinstance(data, list | tuple):
        return [plain(value) for value in data]
    if isinstance(data, float) and not math.isfinite(data):
        return None
    return os.fspath(data) if isinstance(data, os.PathLike) else data

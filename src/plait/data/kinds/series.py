"""Time series: several channels, at regular or irregular times, of different lengths, with gaps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from plait.core.errors import CellError

from ._floats import narrow

RAGGED = True


def decode(raw: np.ndarray, *, channels: Sequence[str] = (), max_steps: int = 4096) -> np.ndarray | None:
    """raw [T, 1 + C], the time first -> [T, 1 + C] float32, ascending in time, at most the first `max_steps` steps.

    The first column of the result is the time since the first step, the others are the channels, NaN where nothing
    was observed.  No steps, or nothing observed, is absent.  channels: names of the C channels if they are known.

    Raises CellError for another number of channels, steps without a time, and infinity.
    """
    if raw.ndim != 2 or raw.shape[1] < 2:
        raise CellError(f"array of shape {list(raw.shape)}, expected a series [T, 1 + C]")
    if channels and raw.shape[1] != 1 + len(channels):
        raise CellError(f"series of {raw.shape[1] - 1} channels, expected {len(channels)}")
    if np.isnan(raw[:, 1:]).all():
        return None
    if not np.isfinite(raw[:, 0]).all():
        raise CellError("series with steps whose time is missing or infinite")
    steps = raw[np.argsort(raw[:, 0], kind="stable")[:max_steps]].astype(np.float64)
    # Since the first step: seconds since 1970 do not fit into a 32-bit float.
    steps[:, 0] -= steps[0, 0]
    return narrow(steps)

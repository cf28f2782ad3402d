from __future__ import annotations

import numpy as np
import pytest

from plait.core.errors import CellError
from plait.data.kinds import tokens


def test_tokens_come_back_as_float32() -> None:
    raw = np.arange(12.0).reshape(6, 2)
    cell = tokens.decode(raw, width=2, max_tokens=4)
    assert cell is not None
    assert cell.dtype == np.float32
    np.testing.assert_array_equal(cell, raw[:4])


def test_no_tokens_are_absent() -> None:
    assert tokens.decode(np.zeros((0, 4)), width=4) is None
    assert tokens.decode(np.full((2, 4), np.nan)) is None


@pytest.mark.parametrize(
    ("raw", "said"),
    [([[1, 2, 3]], "expected 2"), ([1, 2], "shape"), ([[1, np.nan]], "NaN"), ([[1, -np.inf]], "infinity")],
)
def test_bad_tokens_are_refused(raw: list[float], said: str) -> None:
    with pytest.raises(CellError, match=said):
        tokens.decode(np.array(raw, dtype=np.float64), width=2)

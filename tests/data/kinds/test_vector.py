from __future__ import annotations

import numpy as np
import pytest

from plait.core.errors import CellError
from plait.data.kinds import vector


def test_a_vector_comes_back_as_float32() -> None:
    cell = vector.decode(np.array([1.0, 2.5], np.float64), width=2)
    assert cell is not None
    assert cell.dtype == np.float32
    assert cell.tolist() == [1, 2.5]


def test_nan_throughout_is_absent() -> None:
    assert vector.decode(np.full(3, np.nan)) is None
    assert vector.decode(np.zeros(0), width=3) is None


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ([1, 2, 3], "expected 2"),
        ([[1, 2]], "shape"),
        ([1, np.nan], "NaN"),
        ([1, np.inf], "infinity"),
        ([1, 1e39], "large"),
    ],
)
def test_bad_vectors_are_refused(raw: list[float], said: str) -> None:
    with pytest.raises(CellError, match=said):
        vector.decode(np.array(raw, dtype=np.float64), width=2)

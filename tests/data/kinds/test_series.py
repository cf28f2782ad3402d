from __future__ import annotations

import numpy as np
import pytest

from plait.core.errors import CellError
from plait.data.kinds import series

NAN = float("nan")


def test_steps_are_sorted_and_time_counts_from_the_first() -> None:
    began = 1_700_000_000.0  # in float32 the next number is 128 away
    raw = np.array([[began + 2.5, 3, 30], [began, 1, NAN], [began + 0.5, 2, 20]])
    cell = series.decode(raw)
    assert cell is not None
    assert cell.dtype == np.float32
    np.testing.assert_array_equal(cell, np.float32([[0, 1, NAN], [0.5, 2, 20], [2.5, 3, 30]]))


def test_equal_times_keep_their_order() -> None:
    cell = series.decode(np.array([[1.0, 1], [0.0, 2], [1.0, 3]]))
    assert cell is not None
    assert cell[:, 1].tolist() == [2, 1, 3]


def test_the_first_steps_in_time_are_kept() -> None:
    cell = series.decode(np.array([[3.0, 3], [1.0, 1], [2.0, 2]]), max_steps=2)
    assert cell is not None
    assert cell.tolist() == [[0, 1], [1, 2]]


def test_nothing_observed_is_absent() -> None:
    assert series.decode(np.zeros((0, 3))) is None
    assert series.decode(np.array([[0, NAN], [1, NAN]])) is None


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ([[0, np.inf]], "infinity"),
        ([[0, 1e39]], "too large"),
        ([[0, 1], [np.inf, 2]], "time"),
        ([[0, 1], [NAN, 2]], "time"),
        ([[0, 1, 2]], "channels"),
        ([[0]], "shape"),
        ([1, 2], "shape"),
    ],
)
def test_bad_series_are_refused(raw: list[float], said: str) -> None:
    with pytest.raises(CellError, match=said):
        series.decode(np.array(raw, dtype=np.float64), channels=("x",))

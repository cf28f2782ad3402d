from __future__ import annotations

import math

import numpy as np
import pytest

from plait.core.errors import CellError
from plait.data.kinds import tabular

COLUMNS = ("age", "city", "size")
CATEGORIES = {"city": ("Bern", "Oslo")}


def test_numbers_and_categories() -> None:
    cell = tabular.decode([3.5, "Oslo", "1e2"], columns=COLUMNS, categories=CATEGORIES)
    assert cell is not None
    assert cell.dtype == np.float32
    assert cell.tolist() == [3.5, 1, 100]


def test_missing_and_unknown_values_are_nan() -> None:
    cell = tabular.decode([None, "Rome", 0.0], columns=COLUMNS, categories=CATEGORIES)
    assert cell is not None
    np.testing.assert_array_equal(cell, np.float32([math.nan, math.nan, 0]))
    np.testing.assert_array_equal(
        tabular.decode(["", "Bern", math.nan], columns=COLUMNS, categories=CATEGORIES),
        np.float32([math.nan, 0, math.nan]),
    )


def test_a_row_of_which_all_is_missing_is_absent() -> None:
    assert tabular.decode([None, "Rome", math.nan], columns=COLUMNS, categories=CATEGORIES) is None


@pytest.mark.parametrize("value", [math.inf, -math.inf, 1e39, "inf"])
def test_infinity_is_refused(value: float | str) -> None:
    with pytest.raises(CellError, match="infinity"):
        tabular.decode([value], columns=("x",))


def test_text_that_is_no_number_is_refused() -> None:
    with pytest.raises(CellError, match="age: 'young'"):
        tabular.decode(["young"], columns=("age",))


def test_a_wrong_number_of_values_is_a_fault_of_the_program() -> None:
    with pytest.raises(ValueError):
        tabular.decode([1.0], columns=COLUMNS)

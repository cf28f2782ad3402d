import numpy as np
import pytest

from plait.measures.trust._checked import codes, finite, probabilities, singles


@pytest.mark.parametrize("row", [[1.2, -0.2], [0.5, 0.4], [0.6, 0.5], [2.0, -1.0]])
def test_one_row_that_is_no_distribution_among_many_is_found(row):
    good = [[0.5, 0.5], [1.0, 0.0], [0.3, 0.7004]]
    assert probabilities(np.array(good), "p", None, 2).shape == (3, 2)
    with pytest.raises(ValueError, match="softmax"):
        probabilities(np.array([*good, row]), "p", None, 2)


@pytest.mark.parametrize("values", [[0, 1, 3], [-1, 0, 1], [0.0, 1.0, 2.0], [0, 1], [[0], [1], [2]]])
def test_codes_that_are_none_are_refused(values):
    assert codes(np.array([0, 2, 1], np.uint8), "truth", 3, 3).tolist() == [0, 2, 1]
    with pytest.raises(ValueError, match="truth"):
        codes(np.array(values), "truth", 3, 3)


def test_numbers_only():
    assert finite([1, 2], "x", 2).dtype == np.float64
    for values in (["a", "b"], [1.0, np.inf], [1.0], [[1.0, 2.0]]):
        with pytest.raises(ValueError, match="x: "):
            finite(values, "x", 2)


def test_absent_cells_become_zeros_whatever_they_were():
    have = np.array([[True, False]])
    out, there = singles(np.array([[[0.5, 0.5], [np.nan, 7.0]]]), have, "p")
    assert out.tolist() == [[[0.5, 0.5], [0, 0]]]
    assert there is have

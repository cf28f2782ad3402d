import numpy as np
import pytest

from plait.catalogue.experiments._readers import bit, cells, codes, nearby, odd, of_truth, probabilities
from plait.data.sets.factors import factors


def test_the_nearest_rows_read_a_parity_and_a_logistic_regression_does_not():
    table = factors(rows=600, shared=0, unique=0, synergy=1, target="synergy", width=4, noise=0.2)
    x, y, judge = np.concatenate([cells(table, "a"), cells(table, "b")], 1), codes(table, "y"), odd(600)
    for reader, least, most in ((nearby, 0.97, 1.0), (probabilities, 0.35, 0.65)):
        chances = reader(x, y, ~judge)
        assert chances.sum(1) == pytest.approx(1)
        assert least <= np.mean(chances.argmax(1)[judge] == y[judge]) <= most


def test_no_class_is_thought_impossible():
    x, y = np.arange(40.0)[:, None], np.repeat([0, 1, 2], [19, 19, 2])
    chances = nearby(x, y, np.arange(40) < 38, k=10)
    assert chances.shape == (40, 3)
    assert chances[0] == pytest.approx([11 / 13, 1 / 13, 1 / 13])


def test_bits_of_the_truth():
    assert of_truth(np.array([[0.25, 0.75], [0.5, 0.5]]), np.array([0, 1])) == pytest.approx([-2, -1])


def test_rows_that_judge_and_bits():
    assert odd(4).tolist() == [False, True, False, True]
    table = factors(rows=40, unique=0, target="shared")
    assert bit(table, "shared_0").tolist() == [float(said) for said in table.column("y").to_pylist()]

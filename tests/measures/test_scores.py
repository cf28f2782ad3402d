import numpy as np
import pytest

from plait.core.errors import RecipeError
from plait.measures import scores

RNG = np.random.default_rng(0)
CASES = {
    "class": (RNG.dirichlet(np.ones(3), 60), RNG.integers(0, 3, 60)),
    "multi_label": (RNG.random((60, 3)), RNG.integers(0, 2, (60, 3)).astype(float)),
    "number": (RNG.normal(size=60), RNG.normal(size=60)),
    "survival": (RNG.normal(size=60), np.stack([RNG.random(60), RNG.integers(0, 2, 60)], 1)),
}


@pytest.mark.parametrize("kind", CASES)
def test_every_measure_has_an_interval_around_it(kind):
    predicted, truth = CASES[kind]
    found = scores.score(kind, predicted, truth)
    interval = scores.intervals(kind, predicted, truth, draws=200)
    assert set(interval) == set(found)
    assert next(iter(found)) == scores.of(kind).main
    for name, (low, high) in interval.items():
        assert low <= found[name] <= high


@pytest.mark.parametrize("kind", CASES)
def test_an_arm_does_not_differ_from_itself(kind):
    predicted, truth = CASES[kind]
    for low, high in scores.differences(kind, predicted, predicted, truth, draws=50).values():
        assert (low, high) == (0, 0)


def test_a_better_arm_differs():
    truth = CASES["class"][1]
    good, bad = np.eye(3)[truth] * 0.9 + 0.1 / 3, np.full((60, 3), 1 / 3)
    found = scores.differences("class", good, bad, truth, draws=100)
    assert found["accuracy"][0] > 0.3
    assert found["log_loss"][1] < 0
    assert not scores.of("class").higher("log_loss")


def test_an_unknown_kind_is_named():
    with pytest.raises(ValueError, match="Did you mean 'number'"):
        scores.of("numbers")


def test_rows_that_are_all_right_do_not_make_anything_certain():
    truth = np.arange(12) % 3
    found = scores.intervals("class", np.eye(3)[truth], truth)
    assert found["accuracy"][0] < 0.8
    assert found["accuracy"][1] == 1
    for name in ("balanced_accuracy", "macro_f1", "auc"):
        assert np.isnan(found[name]).all()


def test_one_measure_comes_with_its_rows_if_it_has_any():
    predicted, truth = np.array([[0.9, 0.1], [0.4, 0.6], [0.7, 0.3]]), np.array([0, 0, 1])
    value, rows = scores.value_of("class", "accuracy", predicted, truth)
    assert (value, rows.tolist()) == (pytest.approx(1 / 3), [1, 0, 0])
    every = scores.score("class", predicted, truth)
    assert scores.value_of("class", "macro_f1", predicted, truth) == (every["macro_f1"], None)
    with pytest.raises(RecipeError, match=r"of kind class have no measure 'acuracy'.*accuracy"):
        scores.value_of("class", "acuracy", predicted, truth)

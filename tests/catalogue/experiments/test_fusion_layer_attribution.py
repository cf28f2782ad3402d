from functools import partial

import numpy as np
import pytest

from plait.catalogue.experiments import fusion_layer_attribution as experiment
from plait.data.sets.factors import factors


def test_purity():
    groups, cause = np.array([0, 0, 0, 1, 1, 2]), np.array([1, 1, 0, 2, 2, 0])
    assert experiment.purity(groups, cause) == pytest.approx(5 / 6)
    assert experiment.purity(groups, groups) == 1
    assert experiment.purity(np.zeros(4, int), np.arange(4)) == 0.25
    assert experiment.purity(np.zeros(0, int), np.zeros(0, int)) == 1


def test_the_gradient_is_that_of_the_value():
    rng = np.random.default_rng(0)
    weights = {"a": rng.normal(size=3), "b": rng.normal(size=2)}
    tokens = {"a": rng.normal(size=(5, 3)), "b": rng.normal(size=(5, 2))}
    of = experiment._sigmoid(weights, 0.2)
    value, gradient = of(tokens)
    step = 1e-6
    for name, at in (("a", 1), ("b", 0)):
        moved = {n: v.copy() for n, v in tokens.items()}
        moved[name][:, at] += step
        assert (of(moved)[0] - value) / step == pytest.approx(gradient[name][:, at], abs=1e-5)


def test_rows_and_drowned_cells_are_those_of_the_test_part():
    draw = partial(factors, rows=400, modalities=3, shared=1, unique=0, target="shared", corrupted=0.2)
    found, wrong, drowned = experiment._attributed(draw)
    table = draw()
    test = np.array(table.column("split").to_pylist()) == "test"
    assert len(wrong) == len(found.difference) == test.sum()
    for m, name in enumerate("abc"):
        assert drowned[:, m].tolist() == table.column(f"corrupted_{name}").to_numpy(zero_copy_only=False)[test].tolist()
    assert found.complete
    assert wrong.mean() < 0.2

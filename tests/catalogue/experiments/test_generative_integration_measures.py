from functools import partial

import numpy as np
import pytest

from plait.catalogue.experiments import generative_integration_measures as experiment
from plait.data.sets.factors import factors

SMALL = partial(factors, rows=80, shared=2, unique=0, target="shared", width=6)


def test_what_is_judged_are_reconstructions_of_test_cells_on_their_own_scale(monkeypatch):
    seen = {}

    def keep(truth, full, alone, withheld):
        seen.update(truth=truth, full=full, alone=alone, withheld=withheld)
        return experiment_of(truth, full, alone, withheld)

    experiment_of = experiment.generative_integration
    monkeypatch.setattr(experiment, "generative_integration", keep)
    table = SMALL(noise=0.1)
    error = experiment.found(lambda: table, experiment.NONE, 0)
    test = np.array(table.column("split").to_pylist()) == "test"
    for name in "ab":
        cells = np.array(table.column(name).to_pylist(), np.float32)[test]
        assert np.array_equal(seen["truth"][name][:, 0], cells)
    # Of two, being alone is having the other withheld.
    for j in "ab":
        assert np.array_equal(seen["alone"]["a"][j], seen["withheld"]["b"][j])
        assert np.array_equal(seen["alone"]["b"][j], seen["withheld"]["a"][j])
        assert not np.array_equal(seen["alone"]["a"][j], seen["full"][j])
        assert error.error[j].value < 0.7


def test_reconstructions_are_on_the_scale_of_the_cells():
    error = experiment.found(partial(SMALL, rows=400, noise=0.2, strength=4.0), experiment.NONE, 0)
    assert all(e.value < 0.15 for e in error.error.values())


def test_the_arms_differ_by_the_weight_alone(monkeypatch):
    for name in ("RISING", "FALLING", "NONE"):
        monkeypatch.setattr(experiment, name, experiment.FULL)
    for function in (experiment.error_of_rising, experiment.error_of_falling, experiment.error_of_none):
        method, baseline = function(SMALL, 0)
        assert method == baseline
    monkeypatch.setattr(experiment, "RISING", {"beta": 1.0, "first": 0.0, "anneal": experiment.STEPS})
    method, baseline = experiment.error_of_rising(SMALL, 0)
    assert method != baseline


def test_the_identities_hold():
    assert experiment.identities() == pytest.approx(0, abs=1e-12)

from functools import partial

import numpy as np
import pytest

from plait.catalogue.experiments import missingness_corrected_information as experiment
from plait.data.sets.factors import factors

MADE = {"rows": 2000, "unique": 0, "target": "shared", "strength": [0.5, 1.0]}


def test_levels_have_as_many_rows_each():
    levels = experiment._levels(np.random.default_rng(0).random(400))
    assert np.bincount(levels).tolist() == [100] * experiment.LEVELS


def test_only_who_is_observed_differs_between_the_arms():
    draw = partial(factors, **MADE, missing=[0.0, 0.2], pattern="mar")
    read, observed, judge, _ = experiment._read(draw)
    assert {name: len(chances) for name, chances in read.items()} == {"a": 2000, "b": 2000, "ab": 2000}
    assert np.isfinite(read["b"]).all()
    assert len(observed) == judge.sum()
    assert observed.mean() == pytest.approx(0.8, abs=0.04)
    assert np.array_equal(experiment._known(draw), experiment._known(partial(factors, **MADE)))


@pytest.mark.parametrize("function", [experiment.distance_from_all_rows, experiment.distance_in_bits])
def test_where_all_are_observed_both_are_right(function):
    assert function(partial(factors, **MADE, missing=0.0), 0) == pytest.approx((0, 0), abs=1e-6)

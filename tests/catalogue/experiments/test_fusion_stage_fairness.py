import numpy as np
import pytest

from plait.catalogue.experiments import fusion_stage_fairness as experiment
from plait.catalogue.experiments._readers import bit
from plait.data.sets.factors import factors


@pytest.mark.parametrize(
    ("knobs", "parts"),
    [
        ({"shared": 1, "unique": 1}, ["a_0", "b_0", "c_0"]),
        ({"shared": 2, "unique": 0}, ["shared_1"]),
    ],
)
def test_the_score_has_all_bits_but_the_group_s(knobs, parts):
    table = factors(rows=200, modalities=3, target="shared", **knobs)
    merit = experiment.scores(table)
    assert (merit.mean(), merit.std()) == pytest.approx((0, 1), abs=1e-12)
    total = sum(bit(table, name) for name in parts)
    assert np.corrcoef(merit, total)[0, 1] == pytest.approx(1)

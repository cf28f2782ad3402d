import numpy as np
import pytest

from plait.catalogue.experiments import unit_selectivity_probe as experiment


def test_the_layer_is_the_same_for_every_encoder_and_knows_no_scale():
    x = np.random.default_rng(0).normal(size=(50, experiment.FEATURES))
    units = experiment.layer(x, 3)
    assert units.shape == (50, experiment.UNITS)
    assert (units >= 0).all()
    assert experiment.layer(7 * x, 3) == pytest.approx(units)
    assert not np.allclose(experiment.layer(x, 4), units)

import numpy as np
import pytest

from plait.catalogue.experiments import alignment_performance_study as experiment


def test_rank_correlation():
    rising = np.array([[0.1, 1.0], [0.2, 5.0], [0.9, 6.0]])
    assert experiment.rank_correlation(rising) == pytest.approx(1)
    assert experiment.rank_correlation(rising * [1, -1]) == pytest.approx(-1)
    assert experiment.rank_correlation(rising * [1, 0]) == 0


def test_scores_rank_classes_and_leave_out_none():
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1, 2], 50)
    x = 5 * np.eye(3)[y] + rng.normal(size=(150, 3))
    assert np.mean(experiment._scores(x, y, np.arange(0, 150, 3)).argmax(1) == y) > 0.95
    without = experiment._scores(x, y, np.arange(100))
    assert without.shape == (150, 3)
    assert (without[:, 2] == 0).all()

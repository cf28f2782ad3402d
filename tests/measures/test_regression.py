import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from plait.measures import scores


@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_scikit_learn_and_scipy(seed):
    rng = np.random.default_rng(seed)
    truth = np.round(rng.normal(size=80) * 10)
    predicted = np.round(truth + rng.normal(size=80) * 8)
    found = scores.score("number", predicted, truth)
    assert found["mae"] == pytest.approx(metrics.mean_absolute_error(truth, predicted))
    assert found["rmse"] == pytest.approx(metrics.root_mean_squared_error(truth, predicted))
    assert found["r2"] == pytest.approx(metrics.r2_score(truth, predicted))
    assert found["spearman"] == pytest.approx(stats.spearmanr(predicted, truth).statistic)


def test_limits():
    truth = np.array([1.0, 2.0, 4.0])
    perfect = scores.score("number", truth, truth)
    assert (perfect["r2"], perfect["rmse"], perfect["spearman"]) == (1, 0, pytest.approx(1))
    flat = scores.score("number", np.full(3, truth.mean()), truth)
    assert (flat["r2"], flat["spearman"]) == (pytest.approx(0), 0)
    constant = scores.score("number", truth, np.full(3, 2.0))
    assert np.isnan(constant["r2"])
    assert constant["mae"] == 1
    assert all(np.isnan(v) for v in scores.score("number", np.zeros(0), np.zeros(0)).values())

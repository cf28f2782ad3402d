import numpy as np
import pytest
from sklearn import metrics

from plait.measures import multi_label, scores


def drawn(rows=200, labels=6, seed=0):
    rng = np.random.default_rng(seed)
    truth = (rng.random((rows, labels)) < np.linspace(0.1, 0.6, labels)).astype(np.float32)
    return np.round(np.clip(0.4 * truth + 0.6 * rng.random((rows, labels)), 0, 1), 2), truth


@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_scikit_learn(seed):
    predicted, truth = drawn(seed=seed)
    decided = predicted >= 0.5
    found = scores.score("multi_label", predicted, truth)
    assert found["micro_f1"] == pytest.approx(metrics.f1_score(truth, decided, average="micro"))
    assert found["macro_f1"] == pytest.approx(metrics.f1_score(truth, decided, average="macro"))
    assert found["average_precision"] == pytest.approx(metrics.average_precision_score(truth, predicted))
    assert next(iter(found)) == "average_precision"
    every = [metrics.log_loss(truth[:, c], predicted[:, c], labels=[0, 1]) for c in range(truth.shape[1])]
    assert found["log_loss"] == pytest.approx(np.mean(every))


def test_unknown_entries_take_part_in_nothing():
    predicted, truth = drawn(labels=3)
    unknown = np.random.default_rng(1).random(truth.shape) < 0.4
    holed = np.where(unknown, np.nan, truth)
    found = scores.score("multi_label", predicted, holed)
    shaken = np.where(unknown, 1 - predicted, predicted)
    assert scores.score("multi_label", shaken, holed) == found
    each = [metrics.average_precision_score(truth[~u, c], predicted[~u, c]) for c, u in enumerate(unknown.T)]
    assert found["average_precision"] == pytest.approx(np.mean(each))
    assert found["micro_f1"] == pytest.approx(metrics.f1_score(truth[~unknown], predicted[~unknown] >= 0.5))
    some = [
        metrics.log_loss(t[k], p[k], labels=[0, 1])
        for t, p, k in zip(truth, predicted, ~unknown, strict=True)
        if k.any()
    ]
    assert found["log_loss"] == pytest.approx(np.mean(some))
    assert len(some) < len(truth)
    low, high = scores.intervals("multi_label", predicted, holed)["log_loss"]
    assert low < found["log_loss"] < high


def test_a_label_that_nobody_has_is_left_out():
    predicted, truth = drawn(labels=3)
    truth[:, 1], predicted[:, 1] = 0, 0.1
    found = scores.score("multi_label", predicted, truth)
    kept = scores.score("multi_label", predicted[:, [0, 2]], truth[:, [0, 2]])
    # That it was given a chance of .1 is a small loss; no other measure knows of it.
    assert {**found, "log_loss": 0} == {**kept, "log_loss": 0}
    assert found["log_loss"] == pytest.approx((2 * kept["log_loss"] - np.log(0.9)) / 3)


def test_equal_scores_give_the_share_of_positives():
    assert multi_label.average_precision(np.full(10, 0.3), np.arange(10) < 4) == pytest.approx(0.4)


def test_nothing_known_is_nan():
    assert all(np.isnan(v) for v in scores.score("multi_label", np.ones((4, 2)), np.full((4, 2), np.nan)).values())
    assert all(np.isnan(v) for v in scores.score("multi_label", np.ones((0, 2)), np.ones((0, 2))).values())

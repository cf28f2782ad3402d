import numpy as np
import pytest

from plait.measures import scores


def slow_c_index(risk, time, event):
    won = pairs = 0.0
    for i in range(len(risk)):
        for j in range(len(risk)):
            later = time[j] > time[i] or (time[j] == time[i] and not event[j])
            if event[i] and i != j and later:
                pairs += 1
                won += 1 if risk[i] > risk[j] else 0.5 if risk[i] == risk[j] else 0
    return won / pairs if pairs else float("nan")


@pytest.mark.parametrize("seed", range(20))
def test_agrees_with_counting_pairs(seed):
    rng = np.random.default_rng(seed)
    rows = rng.integers(2, 12)
    time, event = rng.integers(1, 6, rows).astype(float), rng.random(rows) < 0.4
    risk = np.round(rng.normal(size=rows), 1)
    found = scores.score("survival", risk, np.stack([time, event], 1))["c_index"]
    assert found == pytest.approx(slow_c_index(risk, time, event), nan_ok=True)


def test_limits():
    truth = np.array([[1.0, 1], [2, 1], [3, 0], [4, 1]])
    assert scores.score("survival", -truth[:, 0], truth)["c_index"] == 1
    assert scores.score("survival", truth[:, 0], truth)["c_index"] == 0
    assert scores.score("survival", np.zeros(4), truth)["c_index"] == 0.5
    for rows in (truth[:0], truth[:1], truth * [1, 0]):
        assert np.isnan(scores.score("survival", np.zeros(len(rows)), rows)["c_index"])


def test_a_training_that_diverged_is_judged_and_does_not_stop_anything():
    truth = np.array([[1.0, 1], [2, 1], [3, 1]])
    assert scores.score("survival", np.array([np.inf, np.inf, 1.0], np.float32), truth)["c_index"] == pytest.approx(
        2.5 / 3
    )
    assert np.isnan(scores.score("survival", np.array([np.nan, 2.0, 1.0]), truth)["c_index"])

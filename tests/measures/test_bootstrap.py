import numpy as np
import pytest
from scipy import stats

from plait.measures.bootstrap import intervals, mean_interval, resamples


def test_mean_interval_is_students_where_that_is_exact():
    values = np.random.default_rng(0).normal(5, 2, 12)
    low, high = mean_interval(values, draws=40_000)
    exact = stats.t.interval(0.95, 11, values.mean(), stats.sem(values))
    assert (low, high) == pytest.approx(exact, abs=0.15 * (exact[1] - exact[0]))


def test_covers_nineteen_in_twenty_of_grouped_samples_and_ignoring_groups_does_not():
    rng = np.random.default_rng(0)
    covered = naive = 0
    for _ in range(300):
        group = np.repeat(np.arange(15), 6)
        values = rng.normal(size=15)[group] + rng.normal(size=90)
        low, high = mean_interval(values, groups=group, draws=500)
        covered += low < 0 < high
        low, high = mean_interval(values, draws=500)
        naive += low < 0 < high
    assert 0.91 < covered / 300 <= 0.98
    assert naive / 300 < 0.8


def test_both_ways_agree_on_a_mean():
    rng = np.random.default_rng(0)
    values, group = rng.random(60), rng.integers(0, 20, 60)
    quick = mean_interval(values, groups=group, draws=4000)
    slow = intervals(lambda rows: {"mean": values[rows].mean()}, 60, groups=group, draws=4000)["mean"]
    assert quick == pytest.approx(slow, abs=0.01)


def test_groups_stay_together():
    group = np.array(["b", "a", "b", "c", "a"])
    for rows in resamples(5, 50, groups=group):
        count = np.bincount(rows, minlength=5)
        assert count[0] == count[2]
        assert count[1] == count[4]


def test_seed_decides():
    values = np.random.default_rng(0).random(40)
    assert mean_interval(values, seed=1) == mean_interval(values, seed=1)
    assert mean_interval(values, seed=1) != mean_interval(values, seed=2)


def test_pairing_removes_what_both_share():
    rng = np.random.default_rng(0)
    hard = rng.normal(size=100)
    low, high = mean_interval((hard + 0.1) - hard)
    assert (low, high) == pytest.approx((0.1, 0.1))
    assert mean_interval(np.zeros(30), exact=False) == (0, 0)


def test_a_perfect_score_is_not_certain():
    low, high = mean_interval(np.ones(20))
    assert (low, high) == pytest.approx((stats.binomtest(20, 20).proportion_ci().low, 1))
    assert mean_interval(np.zeros(20))[1] == pytest.approx(1 - low)
    assert mean_interval(np.ones(40), groups=np.arange(40) // 2) == pytest.approx((low, high))


def test_what_cannot_be_said_is_nan():
    assert all(np.isnan(mean_interval(np.ones(1))))
    assert all(np.isnan(mean_interval(np.ones(5), groups=np.zeros(5))))
    assert all(np.isnan(intervals(lambda rows: {"x": 1.0}, 0)["x"]))
    assert all(np.isnan(intervals(lambda rows: {"x": float("nan")}, 9)["x"]))
    with pytest.raises(ValueError, match="a group for each"):
        mean_interval(np.ones(5), groups=np.zeros(4))

import itertools

import numpy as np
import pytest

from plait.measures.bootstrap import mean_interval
from plait.measures.worth.inverse_probability_weighting import inverse_probability_weighting
from plait.measures.worth.sensitivity_bounds import extremes, sensitivity_bounds, tipping_gamma, worst_case


def self_masking(rows, seed, gamma):
    """A right answer multiplies the odds of being observed by gamma; so no odds are further from the known ones."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=rows)
    right = (rng.random(rows) < 1 / (1 + np.exp(-x))).astype(float)
    observed = rng.random(rows) < 1 / (1 + np.exp(-(0.5 * x - 0.3 + np.log(gamma) * right)))
    return np.where(observed, right, np.nan), observed, x


TRUTH = 0.5
"""E of a logistic function of a symmetric variable."""


@pytest.mark.parametrize("gamma", [1.0, 1.7, 6.0])
def test_sorting_finds_the_extremes_over_all_weights(gamma):
    rng = np.random.default_rng(0)
    for _ in range(5):
        v, p = np.round(rng.normal(size=9), 1), rng.uniform(0.1, 0.9, 9)
        odds = (1 - p) / p
        corners = [1 + odds * gamma ** np.array(sign) for sign in itertools.product([-1, 1], repeat=9)]
        means = [w @ v / w.sum() for w in corners]
        assert extremes(v, p, gamma) == pytest.approx((min(means), max(means)))


def test_one_is_the_inverse_probability_weighted_mean():
    values, observed, x = self_masking(150, 0, 2)
    for known in ({"features": x}, {"propensity": np.linspace(0.2, 0.9, 150)}):
        weighted = inverse_probability_weighting(values, observed, **known, draws=100)
        found = sensitivity_bounds(values, observed, **known, gammas=[1], draws=100)[1]
        assert (found.low, found.high) == pytest.approx((weighted.mean, weighted.mean))
        assert found.interval == pytest.approx(weighted.interval)


def test_more_doubt_is_a_wider_interval_that_ends_at_what_was_seen():
    values, observed, x = self_masking(150, 1, 2)
    gammas = [1, 1.2, 2, 5, 1e6]
    found = list(sensitivity_bounds(values, observed, x, gammas=gammas, draws=50).values())
    for narrow, wide in itertools.pairwise(found):
        assert wide.low < narrow.low
        assert narrow.high < wide.high
        assert wide.interval[0] <= narrow.interval[0]
        assert narrow.interval[1] <= wide.interval[1]
        assert wide.interval[0] <= wide.low <= wide.high <= wide.interval[1]
    assert (found[-1].low, found[-1].high) == pytest.approx((0, 1), abs=1e-3)


def test_units_and_sign():
    rng = np.random.default_rng(2)
    v, p = rng.normal(size=30), rng.uniform(0.2, 0.9, 30)
    low, high = extremes(v, p, 2)
    assert extremes(-3 * v + 1, p, 2) == pytest.approx((-3 * high + 1, -3 * low + 1))
    assert extremes(v, np.ones(30), 5) == pytest.approx((v.mean(), v.mean()))


def test_tips_where_the_bound_meets_the_reference():
    rng = np.random.default_rng(3)
    v, p = rng.normal(0.4, 1, 60), rng.uniform(0.3, 0.8, 60)
    tip = tipping_gamma(v, p)
    assert tip > 1.05
    assert extremes(v, p, tip)[0] == pytest.approx(0, abs=1e-6)
    assert tipping_gamma(-v, p) == pytest.approx(tip)
    assert tipping_gamma(v, p, reference=extremes(v, p, 1)[0]) == 1
    assert tipping_gamma(np.abs(v), p) == np.inf


def test_tipping_in_closed_form():
    """One value up, one down, equal propensities: the mean is 0 when weights 1 + gamma and 1 + 1 / gamma are 2 to 1."""
    assert tipping_gamma(np.array([1.0, -0.5]), np.full(2, 0.5)) == pytest.approx(2)


def test_the_worst_case_fills_absent_rows():
    values, observed, _ = self_masking(200, 4, 2)
    found = worst_case(values, observed, 0, 1)
    assert found.low == pytest.approx(np.nansum(values) / 200)
    assert found.high - found.low == pytest.approx(np.mean(~observed))
    assert found.interval[0] == mean_interval(np.nan_to_num(values), exact=False)[0]
    everything = worst_case(np.nan_to_num(values), np.ones(200, bool), 0, 1)
    assert everything.low == everything.high
    with pytest.raises(ValueError, match=r"0 \.\. 0\.5"):
        worst_case(values, observed, 0, 0.5)


def test_the_truth_is_inside_where_gamma_is_right_and_not_where_it_is_denied():
    values, observed, x = self_masking(8000, 5, 3)
    found = sensitivity_bounds(values, observed, x, gammas=[1, 3], draws=20)
    assert found[1].interval[0] > TRUTH + 0.03
    assert found[3].low < TRUTH < found[3].high
    worst = worst_case(values, observed, 0, 1)
    assert worst.low < TRUTH < worst.high


@pytest.mark.slow
def test_intervals_hold_the_truth():
    inside = []
    for seed in range(100):
        values, observed, x = self_masking(250, seed, 2)
        found = sensitivity_bounds(values, observed, x, gammas=[1, 2], draws=100)
        inside.append([found[g].interval[0] <= TRUTH <= found[g].interval[1] for g in (1, 2)])
    unaware, aware = np.mean(inside, 0)
    assert aware >= 0.93
    assert unaware < 0.75


def test_what_does_not_fit_is_refused():
    values, observed, x = self_masking(50, 6, 2)
    with pytest.raises(ValueError, match="1 or more"):
        sensitivity_bounds(values, observed, x, gammas=[0.5])
    with pytest.raises(ValueError, match="features"):
        sensitivity_bounds(values, observed)
    with pytest.raises(ValueError, match="0 to 1"):
        sensitivity_bounds(values, observed, propensity=np.full(50, 2.0))
    with pytest.raises(ValueError, match="above 0"):
        extremes(np.ones(2), np.array([0.5, 0.0]), 2)

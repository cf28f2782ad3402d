import numpy as np
import pytest

from plait.measures.worth.inverse_probability_weighting import (
    effective_sample_size,
    inverse_probability_weighting,
    observation_propensity,
    observation_weights,
    weighted_mean,
)


def table(rows, seed, depends=1.5):
    """Right more often where x is high, and observed more often where x is high."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 2))
    chance = 1 / (1 + np.exp(-0.2 - depends * x[:, 0]))
    right = (rng.random(rows) < 1 / (1 + np.exp(-x[:, 0]))).astype(float)
    observed = rng.random(rows) < chance
    return x, chance, np.where(observed, right, np.nan), observed


TRUTH = 0.5
"""E of a logistic function of a symmetric variable."""


def test_with_a_constant_chance_it_is_the_naive_estimate():
    x, _, values, observed = table(200, 0, depends=0)
    for known in ({"propensity": np.full(200, 0.3)}, {"features": np.ones((200, 2))}, {"features": np.empty((200, 0))}):
        found = inverse_probability_weighting(values, observed, **known, draws=50)
        assert found.mean == pytest.approx(np.nanmean(values), abs=1e-12)
        assert found.interval == pytest.approx(found.naive_interval, abs=1e-12)
        assert found.shift_interval == pytest.approx((0, 0), abs=1e-12)
        assert found.overlap.effective == pytest.approx(observed.sum())
    everything = inverse_probability_weighting(x[:, 0], np.ones(200, bool), np.empty((200, 0)), draws=50)
    assert everything.mean == pytest.approx(x[:, 0].mean())


def test_true_chances_give_weights_that_sum_to_the_rows():
    totals = []
    for seed in range(100):
        _, chance, _, observed = table(500, seed, depends=0.8)
        totals.append(observation_weights(chance, observed, clip=0).sum() / 500)
    assert np.mean(totals) == pytest.approx(1, abs=3 * np.std(totals) / 10)
    stable = observation_weights(chance, observed, clip=0, stabilised=True)
    assert stable == pytest.approx(observation_weights(chance, observed, clip=0) * observed.mean())


def test_strata_are_weighted_to_their_size():
    """With one binary feature the estimate is the mean of the strata's means, weighted by all rows."""
    stratum = np.repeat([0.0, 1.0], [60, 40])
    observed = np.r_[np.ones(15), np.zeros(45), np.ones(30), np.zeros(10)].astype(bool)
    values = np.where(stratum == 1, 0.9, 0.4) + np.tile([-0.1, 0.1], 50)
    means = [values[observed & (stratum == s)].mean() for s in (0, 1)]
    known = np.where(stratum == 1, 0.75, 0.25)
    found = inverse_probability_weighting(values, observed, propensity=known, draws=20)
    assert found.mean == pytest.approx(0.6 * means[0] + 0.4 * means[1])
    assert found.naive == pytest.approx((15 * means[0] + 30 * means[1]) / 45)
    assert found.overlap.total == pytest.approx(1)
    many = [np.tile(a, 20) for a in (values, observed, stratum)]
    fitted = inverse_probability_weighting(*many, penalty=1e-3, draws=20)
    assert fitted.mean == pytest.approx(found.mean, abs=0.005)


def test_effective_sample_size_is_kishs():
    assert effective_sample_size(np.array([1.0, 1, 1, 0])) == pytest.approx(3)
    assert effective_sample_size(np.array([1.0, 0, 0])) == pytest.approx(1)
    rng = np.random.default_rng(0)
    weight = rng.gamma(2, size=40)
    means = rng.normal(size=(4000, 40)) @ weight / weight.sum()
    assert 1 / means.var() == pytest.approx(effective_sample_size(weight), rel=0.1)


def test_clipping_is_reported_and_limits_a_row():
    values, observed = np.ones(10), np.ones(10, bool)
    chance = np.r_[0.001, np.full(9, 0.5)]
    found = inverse_probability_weighting(values, observed, propensity=chance, clip=0.1, draws=20).overlap
    assert (found.lowest, found.highest, found.clipped) == (0.001, 0.5, 0.1)
    assert found.heaviest == pytest.approx(10 / 28)
    assert inverse_probability_weighting(values, observed, propensity=chance, clip=0, draws=20).overlap.heaviest > 0.9


def test_weighted_twice_is_counted_twice():
    rng = np.random.default_rng(0)
    values, times = rng.normal(size=20), rng.integers(1, 4, 20)
    assert weighted_mean(values, times) == pytest.approx(np.repeat(values, times).mean())


def test_rows_of_a_group_count_as_one():
    x, _, values, observed = table(100, 3)
    once = inverse_probability_weighting(values, observed, x, draws=200)
    code = np.repeat(np.arange(100), 4)
    grouped = inverse_probability_weighting(values[code], observed[code], x[code], groups=code, draws=200)
    assert np.diff(grouped.interval) == pytest.approx(np.diff(once.interval), rel=0.2)
    loose = inverse_probability_weighting(values[code], observed[code], x[code], draws=200)
    assert np.diff(loose.interval) < 0.65 * np.diff(once.interval)


def test_resamples_fit_chances_anew():
    """Fitted weights balance what they are fitted to, so a mean of that varies less than with weights that stay."""
    x, _, _, observed = table(300, 4)
    fitted = inverse_probability_weighting(x[:, 0], observed, x, draws=200)
    stays = inverse_probability_weighting(x[:, 0], observed, propensity=fitted.propensity, draws=200)
    assert stays.mean == pytest.approx(fitted.mean)
    assert np.diff(fitted.interval) < 0.9 * np.diff(stays.interval)


def test_estimated_chances_are_near_the_true_ones_and_out_of_fold():
    x, chance, _, observed = table(3000, 1)
    found = observation_propensity(observed, x)
    assert np.abs(found - chance).mean() < 0.03
    noise = observation_propensity(observed, np.random.default_rng(0).normal(size=(3000, 1)))
    assert np.abs(noise - observed.mean()).max() < 0.1


def test_dependence_on_what_is_known_is_undone_once():
    """One table, wide margins; the simulation below is the real test."""
    x, _, values, observed = table(3000, 2)
    found = inverse_probability_weighting(values, observed, x, draws=200)
    assert found.naive_interval[0] > TRUTH
    assert found.interval[0] < TRUTH < found.interval[1]
    assert found.shift_interval[1] < 0
    account = found.account()
    assert account["mean"]["low"] == found.interval[0]
    assert account["overlap"]["effective"] < observed.sum()


@pytest.mark.slow
def test_over_many_tables_bias_is_gone_and_the_interval_covers():
    found = [inverse_probability_weighting(v, o, x, draws=100) for x, _, v, o in (table(400, s) for s in range(120))]
    bias, naive = (abs(np.mean([getattr(f, name) for f in found]) - TRUTH) for name in ("mean", "naive"))
    assert naive > 0.08
    assert bias < naive / 6
    assert np.mean([f.interval[0] <= TRUTH <= f.interval[1] for f in found]) > 0.90
    assert np.mean([f.naive_interval[0] <= TRUTH <= f.naive_interval[1] for f in found]) < 0.2


@pytest.mark.slow
def test_over_many_tables_without_dependence_both_agree():
    found = [inverse_probability_weighting(v, o, x, draws=100) for x, _, v, o in (table(300, s, 0) for s in range(100))]
    shift = np.array([f.shift for f in found])
    assert abs(shift.mean()) < 3 * shift.std() / 10
    assert shift.std() < 0.3 * np.std([f.naive for f in found])
    assert np.mean([f.shift_interval[0] <= 0 <= f.shift_interval[1] for f in found]) > 0.9


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"features": None}, "features"),
        ({"propensity": np.full(4, 0.5)}, "features"),
        ({"values": np.array([np.nan, 1, 1, 1])}, "not finite"),
        ({"observed": np.zeros(4, bool)}, "one or more observed"),
        ({"features": None, "propensity": np.full(4, 1.5)}, "0 to 1"),
        ({"features": None, "propensity": np.full(4, np.nan)}, "0 to 1"),
        ({"features": None, "propensity": np.full(3, 0.5)}, r"\[4\]"),
        ({"features": None, "propensity": np.zeros(4), "clip": 0.0}, "above 0"),
        ({"features": np.full((4, 1), np.nan)}, "finite"),
        ({"split": 5}, "5 folds"),
    ],
)
def test_what_does_not_fit_is_refused(change, says):
    given = {"values": np.ones(4), "observed": np.ones(4, bool), "features": np.ones((4, 1)), "split": 2}
    with pytest.raises(ValueError, match=says):
        inverse_probability_weighting(**{**given, **change})

import numpy as np
import pytest

from plait.measures import survival
from plait.measures.trust.linear_probe import STRENGTHS, linear_hazard, linear_probe, linear_readout


def accuracy(predicted, truth):
    return np.mean(predicted.argmax(1) == truth)


def halves(features, truth, classes, **more):
    half = len(truth) // 2
    return linear_probe(features[:half], truth[:half], features[half:], classes, **more), truth[half:]


def test_reads_what_is_linear_and_nothing_else():
    rng = np.random.default_rng(0)
    signs = rng.integers(0, 2, (400, 2))
    features = np.column_stack([2 * signs - 1, rng.normal(size=(400, 5))]) * [1, 1, 100, 1, 1, 1, 0.01] + 3
    for truth, expected in ((signs[:, 0], 1.0), (signs[:, 0] ^ signs[:, 1], 0.5)):
        found, wanted = halves(features, truth, 2)
        assert accuracy(found, wanted) == pytest.approx(expected, abs=0.12)
        assert np.allclose(found.sum(1), 1)


def test_pure_noise_is_answered_with_about_the_prior():
    rng = np.random.default_rng(1)
    found, _ = halves(rng.normal(size=(400, 60)), rng.integers(0, 2, 400), 2)
    assert np.abs(found - 0.5).max() < 0.2


def test_rows_of_one_group_are_not_held_out_from_each_other():
    """A label of a group can be remembered and not learned: only whole groups held out show that."""
    rng = np.random.default_rng(2)
    group = np.repeat(np.arange(40), 5)
    features, truth = rng.normal(size=(40, 60))[group], rng.integers(0, 2, 40)[group]
    asked = rng.normal(size=(200, 60))
    fooled, careful = (linear_probe(features, truth, asked, 2, groups=g) for g in (None, group))
    assert careful.max(1).mean() < fooled.max(1).mean() - 0.1


def test_a_class_that_nobody_has_gets_nothing_and_one_class_everything():
    rng = np.random.default_rng(3)
    features = rng.normal(size=(60, 3))
    found = linear_probe(features, 2 * (features[:, 0] > 0).astype(int), features, 4)
    assert not found[:, [1, 3]].any()
    assert accuracy(found, 2 * (features[:, 0] > 0)) > 0.9
    assert (linear_probe(features, np.full(60, 2), features[:5], 3)[:, 2] == 1).all()
    assert linear_probe(features, np.arange(60) % 2, features[:0], 2).shape == (0, 2)


def test_bad_input():
    x, y = np.zeros((9, 2)), np.arange(9) % 3
    with pytest.raises(ValueError, match="codes must lie in"):
        linear_probe(x, y, x, 2)
    with pytest.raises(ValueError, match="asked"):
        linear_probe(x, y, np.zeros((4, 3)), 3)
    with pytest.raises(ValueError, match="groups"):
        linear_probe(x, y, x, 3, groups=np.zeros(9))


def test_a_number_is_read_with_one_of_the_penalties_and_that_which_fits_other_rows():
    rng = np.random.default_rng(6)
    features = rng.normal(size=(90, 40)) * 3 + 5
    truth = features[:, 0] + 2 * rng.normal(size=90)
    asked = rng.normal(size=(50, 40)) * 3 + 5
    found = linear_readout(features, truth, asked)
    mean, scale = features.mean(0), features.std(0)
    x, z = (features - mean) / scale, (asked - mean) / scale
    # The closed form of ridge regression, for each of the penalties.
    centred = truth - truth.mean()
    fits = [z @ np.linalg.solve(x.T @ x + np.eye(40) / c, x.T @ centred) + truth.mean() for c in STRENGTHS]
    chosen = [i for i, fit in enumerate(fits) if np.allclose(found, fit)]
    errors = [np.abs(fit - asked[:, 0]).mean() for fit in fits]
    assert chosen == [int(np.argmin(errors))]
    assert linear_readout(features, truth, asked[:0]).shape == (0,)


def test_numbers_of_one_group_are_not_held_out_from_each_other():
    rng = np.random.default_rng(2)
    group = np.repeat(np.arange(40), 5)
    features, truth = rng.normal(size=(40, 60))[group], rng.normal(size=40)[group]
    asked = rng.normal(size=(200, 60))
    fooled, careful = (linear_readout(features, truth, asked, groups=g) for g in (None, group))
    assert careful.std() < 0.7 * fooled.std()


def lives(size, seed, weight):
    """Features of which the first says when the event comes, in units of their own."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(size, 12))
    time = rng.exponential(np.exp(-weight * features[:, 0]))
    scale = np.array([50.0, *[1.0] * 10, 0.01])
    return features * scale + 3, np.stack([time, rng.random(size) < 0.7], 1), features[:, 0]


def test_a_hazard_is_read_where_there_is_one():
    """As well as the truth orders new rows; of noise nothing."""
    pytest.importorskip("sksurv.linear_model", reason="scikit-survival is not installed: pip install 'plait[survival]'")
    for weight in (1.5, 0.0):
        features, truth, signal = lives(600, 0, weight)
        risk = linear_hazard(features[:300], truth[:300], features[300:])
        found, best = (survival.others(said, truth[300:])["c_index"] for said in (risk, np.exp(signal[300:])))
        assert found > 0.97 * best if weight else abs(found - 0.5) < 0.1


def test_a_hazard_has_the_penalty_that_orders_other_rows_best():
    """On few rows with a weak signal a strong one; its slopes are those of the penalised partial likelihood."""
    linear_model = pytest.importorskip("sksurv.linear_model")
    features, truth, _ = lives(60, 1, 0.5)
    known = np.array([(event > 0, time) for time, event in truth], [("event", bool), ("time", float)])
    x = (features - features.mean(0)) / features.std(0)
    each = [linear_model.CoxPHSurvivalAnalysis(alpha=1 / c).fit(x, known).predict(x) for c in STRENGTHS]
    found = np.log(linear_hazard(features, truth, features))
    assert sum(np.allclose(found, one, atol=1e-6) for one in each) == 1


def test_without_an_event_all_risks_are_alike():
    features, truth, _ = lives(60, 2, 1.0)
    truth[:, 1] = 0
    assert (linear_hazard(features, truth, features[:5]) == 1).all()
    with pytest.raises(ValueError, match="truth"):
        linear_hazard(features, truth[:, 0], features)

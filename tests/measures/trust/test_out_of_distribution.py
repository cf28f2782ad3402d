import itertools

import numpy as np
import pytest
from scipy.spatial.distance import mahalanobis as of_scipy
from scipy.special import softmax
from scipy.stats import entropy as entropy_of_scipy
from sklearn.covariance import LedoitWolf
from sklearn.metrics import roc_curve

from plait.measures.trust import out_of_distribution as o


def test_scores_of_probabilities_in_their_limits():
    certain, nothing = np.eye(5)[:1], np.full((1, 5), 0.2)
    assert [o.uncertain_top(certain)[0], o.uncertain_top(nothing)[0]] == pytest.approx([0, 0.8])
    assert [o.entropy(certain)[0], o.entropy(nothing)[0]] == pytest.approx([0, np.log(5)])
    drawn = np.random.default_rng(0).dirichlet(np.ones(5), 30)
    assert o.entropy(drawn) == pytest.approx(entropy_of_scipy(drawn, axis=1))


def test_energy_equals_its_definition_and_keeps_what_softmax_takes_away():
    logits = np.random.default_rng(0).normal(size=(20, 4))
    assert o.energy(logits, 2.0) == pytest.approx([-2 * np.log(sum(np.exp(v / 2) for v in row)) for row in logits])
    assert o.energy(logits + 3) == pytest.approx(o.energy(logits) - 3)
    assert o.uncertain_top(softmax(logits + 3, 1)) == pytest.approx(o.uncertain_top(softmax(logits, 1)))
    # Cold, it is the highest logit; and large logits do not overflow.
    assert o.energy(logits, 1e-3) == pytest.approx(-logits.max(1), abs=2e-3)
    assert o.energy(np.full((1, 2), 1e5))[0] == pytest.approx(-1e5 - np.log(2))


def test_the_kth_neighbour_is_found_in_chunks_and_does_not_depend_on_length(monkeypatch):
    rng = np.random.default_rng(0)
    training, rows = rng.normal(size=(40, 6)), rng.normal(size=(15, 6))
    unit = lambda v: v / np.linalg.norm(v)
    expected = [sorted(np.linalg.norm(unit(r) - unit(t)) for t in training)[4] for r in rows]
    assert o.k_nearest(rows, training, 5) == pytest.approx(expected)
    monkeypatch.setattr(o, "_CHUNK", 100)
    assert o.k_nearest(rows * rng.uniform(0.1, 9, (15, 1)), 7 * training, 5) == pytest.approx(expected)
    assert o.k_nearest(-training[:1], training[:1], 1)[0] == pytest.approx(2)
    assert o.k_nearest(training, training, 1) == pytest.approx(0, abs=1e-7)


def test_mahalanobis_equals_scipy_with_the_pooled_covariance():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 200)
    training = rng.normal(size=(200, 4)) @ rng.normal(size=(4, 4)) + 3 * np.eye(3, 4)[truth]
    rows = 2 * rng.normal(size=(10, 4))
    means = [training[truth == c].mean(0) for c in range(3)]
    within = np.concatenate([training[truth == c] - means[c] for c in range(3)])
    inverse = np.linalg.inv(within.T @ within / 200)
    expected = [min(of_scipy(r, m, inverse) ** 2 for m in means) for r in rows]
    assert o.mahalanobis(rows, training, truth, 0.0) == pytest.approx(expected)
    # Whatever the names of the classes and the axes of the embedding.
    turn = rng.normal(size=(4, 4))
    assert o.mahalanobis(rows @ turn, training @ turn, np.array(list("xcb"))[truth], 0.0) == pytest.approx(expected)
    shrunk = np.linalg.inv(LedoitWolf(assume_centered=True).fit(within).covariance_)
    assert o.mahalanobis(rows, training, truth) == pytest.approx(
        [min(of_scipy(r, m, shrunk) ** 2 for m in means) for r in rows]
    )


def test_full_shrinkage_is_the_distance_to_the_nearest_mean_and_none_needs_rows():
    rng = np.random.default_rng(0)
    training, truth, rows = rng.normal(size=(8, 20)), np.arange(8) % 2, rng.normal(size=(5, 20))
    means = [training[truth == c].mean(0) for c in (0, 1)]
    scale = np.mean([(training[i] - means[truth[i]]) ** 2 for i in range(8)])
    expected = [min(np.sum((r - m) ** 2) for m in means) / scale for r in rows]
    assert o.mahalanobis(rows, training, truth, 1.0) == pytest.approx(expected)
    assert np.isfinite(o.mahalanobis(rows, training, truth)).all()
    with pytest.raises(ValueError, match="shrinkage above 0"):
        o.mahalanobis(rows, training, truth, 0.0)
    with pytest.raises(ValueError, match="no distance has a scale"):
        o.mahalanobis(rows, np.ones((8, 20)), truth)


def test_distance_of_gaussian_rows_has_the_mean_of_chi_squared():
    rng = np.random.default_rng(0)
    training, rows = rng.normal(size=(20_000, 5)), rng.normal(size=(20_000, 5))
    assert o.mahalanobis(rows, training, np.zeros(20_000)).mean() == pytest.approx(5, abs=0.15)


def test_detection_equals_pairs_and_a_threshold_found_by_counting():
    rng = np.random.default_rng(0)
    inside, outliers = rng.normal(size=100), rng.normal(1.5, 1, 60)
    found = o.out_of_distribution(inside, outliers, draws=100)
    assert found.auroc.value == pytest.approx(np.mean([a > b for a, b in itertools.product(outliers, inside)]))
    threshold = sorted(inside)[94]
    assert found.fpr95.value == pytest.approx(np.mean(outliers <= threshold))
    for number in (found.auroc, found.fpr95):
        assert number.interval[0] < number.value < number.interval[1]
    assert found.auroc.interval[0] > 0.7


def test_scores_that_say_nothing_are_at_chance_and_not_perfect():
    found = o.out_of_distribution(np.zeros(50), np.zeros(30), draws=20)
    assert found.auroc.value == 0.5
    assert found.fpr95.value == pytest.approx(0.95)
    # Of the rows tied at the threshold, 5 in 8 pass: 3 + 4 * 5 / 8 outliers of 10.
    inside, outliers = np.repeat([0.0, 1.0, 2.0], [90, 8, 2]), np.repeat([0.0, 1.0, 2.0], [3, 4, 3])
    assert o.false_positive_rate(inside, outliers) == pytest.approx(0.55)
    assert o.false_positive_rate(inside, outliers, 1.0) == 1


def test_passing_is_read_off_the_roc_curve():
    rng = np.random.default_rng(0)
    inside, outliers = np.round(rng.normal(size=73), 1), np.round(rng.normal(1, 1, 31), 1)
    # Passing is what is found here, so scores are turned round.
    curve = roc_curve(np.repeat([1, 0], [73, 31]), -np.concatenate([inside, outliers]), drop_intermediate=False)
    for passing in (0.3, 0.8, 0.95):
        after = np.argmax(curve[1] >= passing)
        expected = np.interp(passing, curve[1][after - 1 : after + 1], curve[0][after - 1 : after + 1])
        assert o.false_positive_rate(inside, outliers, passing) == pytest.approx(expected)


def test_perfect_and_worst_detection():
    near, far = np.arange(9), np.arange(9, 14)
    best, worst = o.out_of_distribution(near, far, draws=20), o.out_of_distribution(far, near, draws=20)
    assert (best.auroc.value, best.fpr95.value) == (1, 0)
    assert (worst.auroc.value, worst.fpr95.value) == (0, 1)
    # Five rows beside nine make five pairs without a row in common.
    assert best.auroc.interval == (pytest.approx(0.025 ** (1 / 5)), 1)
    assert worst.auroc.interval == (0, pytest.approx(1 - 0.025 ** (1 / 5)))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: o.out_of_distribution(np.zeros(3), np.zeros(0)), "0 outliers"),
        (lambda: o.out_of_distribution(np.array([np.nan]), np.zeros(2)), "inside: 1 of 1"),
        (lambda: o.uncertain_top(np.ones((2, 3))), "softmax"),
        (lambda: o.energy(np.ones((2, 3)), 0), "temperature"),
        (lambda: o.k_nearest(np.ones((2, 3)), np.ones((4, 3)), 5), r"1 .. 4"),
        (lambda: o.k_nearest(np.ones((2, 3)), np.ones((4, 2))), "embeddings"),
        (lambda: o.k_nearest(np.zeros((2, 3)), np.ones((14, 3))), "zero vectors"),
        (lambda: o.mahalanobis(np.ones((2, 3)), np.ones((4, 3)), np.ones(3)), "truth"),
        (lambda: o.mahalanobis(np.ones((2, 3)), np.ones((4, 3)), np.ones(4), 2), "shrinkage"),
    ],
)
def test_bad_input_is_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call()

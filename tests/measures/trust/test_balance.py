import json

import numpy as np
import pytest

from plait.measures.trust.balance import balance, balance_of, contribution_gap, discrepancy_ratio, gradient_conflict


def sure(code, classes=3, much=0.8):
    return much * np.eye(classes)[code] + (1 - much) / classes


def drawn(rows=300, seed=0):
    """A strong modality, a weak one, and one that learned less in company than alone."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, rows)
    said = lambda accuracy: np.where(rng.random(rows) < accuracy, truth, (truth + 1) % 3)
    weak = said(0.45)
    alone = np.stack([sure(truth), sure(weak), sure(said(0.8))], 1)
    probe = np.stack([sure(truth), sure(weak), sure(said(0.5))], 1)
    return probe, alone, truth, rng.random((rows, 3)) < 0.8


def test_a_weak_modality_has_no_shortfall_and_a_suppressed_one_has():
    probe, alone, truth, have = drawn()
    found = balance(probe, alone, truth, have)
    assert [s.value for s in found.shortfall[:2]] == [0, 0]
    assert found.shortfall[1].interval == (0, 0)
    assert found.shortfall[2].interval[0] > 0.1
    assert found.rows == have.sum(0).tolist()
    for m in range(3):
        own = have[:, m]
        for accuracy, single in ((found.probe, probe), (found.alone, alone)):
            assert accuracy[m].value == pytest.approx(np.mean(single[own, m].argmax(1) == truth[own]))
    # The ratio cannot tell them apart: both lag behind.
    assert max(found.discrepancy[1:]) < 0.9 < 1.2 < found.discrepancy[0]


def test_the_difference_is_paired():
    rng = np.random.default_rng(0)
    truth, hard = rng.integers(0, 3, 400), rng.random(400) < 0.5
    said = np.where(hard, (truth + 1) % 3, truth)
    worse = np.where(rng.random(400) < 0.03, (truth + 1) % 3, said)
    found = balance(sure(worse)[:, None], sure(said)[:, None], truth)
    low, high = found.shortfall[0].interval
    assert high - low < 0.3 * (found.alone[0].interval[1] - found.alone[0].interval[0])


def test_scores_of_numbers_are_compared_row_by_row_where_the_modality_is():
    """The error of the second grows by exactly .4 in company; absent cells hold anything."""
    rng = np.random.default_rng(7)
    alone = -np.abs(rng.normal(size=(200, 2)))
    probe, have = alone - [0, 0.4], rng.random((200, 2)) < 0.7
    probe[~have] = np.nan
    found = balance_of(probe, alone, have)
    assert [one.value for one in found.shortfall] == pytest.approx([0, 0.4])
    assert found.shortfall[1].interval == pytest.approx((0.4, 0.4))
    assert found.rows == have.sum(0).tolist()
    assert found.alone[0].value == pytest.approx(alone[have[:, 0], 0].mean())
    assert np.isnan(found.discrepancy).all()


def test_two_modalities_have_the_published_ratio_and_its_inverse():
    probe, _, truth, _ = drawn()
    own = [sum(probe[i, m, truth[i]] for i in range(300)) for m in (0, 1)]
    assert discrepancy_ratio(probe[:, :2], truth) == pytest.approx([own[0] / own[1], own[1] / own[0]])
    assert own[0] > 1.3 * own[1]


def test_ratios_of_several_are_taken_where_both_are_there():
    probe, _, truth, have = drawn()
    found = discrepancy_ratio(probe, truth, have)
    for m in range(3):
        expected = []
        for k in {0, 1, 2} - {m}:
            both = [i for i in range(300) if have[i, m] and have[i, k]]
            mine, theirs = (np.mean([probe[i, j, truth[i]] for i in both]) for j in (m, k))
            expected.append(mine / theirs)
        assert found[m] == pytest.approx(np.mean(expected))


def test_unequal_missingness_is_no_imbalance():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 200)
    certainty = np.where(np.arange(200) < 100, 0.9, 0.2)[:, None]
    one = certainty * np.eye(2)[truth] + (1 - certainty) / 2
    have = np.stack([np.ones(200, bool), np.arange(200) < 100], 1)
    assert discrepancy_ratio(np.stack([one, one], 1), truth, have) == pytest.approx([1, 1])
    apart = np.stack([np.arange(200) < 100, np.arange(200) >= 100], 1)
    assert np.isnan(discrepancy_ratio(np.stack([one, one], 1), truth, apart)).all()


def test_absent_cells_are_not_looked_at():
    probe, alone, truth, have = drawn()
    one = balance(probe, alone, truth, have)
    probe[~have], alone[~have] = np.nan, np.nan
    assert json.dumps(one.account()) == json.dumps(balance(probe, alone, truth, have).account())


def test_conflict_of_gradients_at_known_angles():
    angle = np.deg2rad([0, 80, 170])
    size = np.array([1.0, 2.0, 0.5])
    found = gradient_conflict(size[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1))
    assert found.cosine == pytest.approx(np.cos(angle[:, None] - angle))
    # 0-80 agree, 80-170 are at right angles, 0-170 conflict.
    turned = gradient_conflict(np.stack([np.cos(angle + 0.1), np.sin(angle + 0.1)], 1))
    assert turned.cosine == pytest.approx(found.cosine)
    assert gradient_conflict(np.array([[1.0, 0], [1, 1], [-2, 1]])).conflicting == pytest.approx(2 / 3)
    assert found.similarity[0, 1] == pytest.approx(0.8)
    assert np.diag(found.similarity) == pytest.approx(1)
    assert found.similarity == pytest.approx(gradient_conflict(7 * np.diag(size)).similarity)


def test_following_both_gradients_hurts_only_where_they_conflict():
    rng = np.random.default_rng(0)
    for _ in range(50):
        one, two = rng.normal(size=(2, 3))
        step = 1e-6
        # First order: a step along -two changes the loss of one by -step <one, two>.
        hurts = -step * one @ two > 0
        assert gradient_conflict(np.stack([one, two])).conflicting == float(hurts)


def test_a_zero_gradient_conflicts_with_nothing():
    found = gradient_conflict(np.array([[0.0, 0], [1, 0], [-1, 0]]))
    assert np.isnan(found.cosine[0]).all()
    assert found.conflicting == 1
    assert found.similarity[0, 1] == 0
    assert np.isnan(found.similarity[0, 0])
    assert np.isnan(gradient_conflict(np.zeros((2, 2))).conflicting)
    assert gradient_conflict(np.array([[0.1, 0.3], [0.1, 0.3]])).cosine.max() <= 1


def test_the_gap_of_contributions():
    assert contribution_gap(np.array([0.5, 0.1])) == pytest.approx(0.4)
    assert contribution_gap(np.array([0.2, -0.1, 0.3]) + 5) == pytest.approx(0.4)
    assert contribution_gap(np.full(4, 0.2)) == 0


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda p, a, t, h: balance(p, a[:, :2], t), "equal shapes"),
        (lambda p, a, t, h: balance(p, a, t + 3, h), "truth"),
        (lambda p, a, t, h: balance(p, a, t, h[:, :2]), "have"),
        (lambda p, a, t, h: balance_of(p, a), "scores"),
        (lambda p, a, t, h: balance_of(np.full((4, 2), np.nan), np.zeros((4, 2))), "NaN"),
        (lambda p, a, t, h: discrepancy_ratio(p * 3, t), "softmax"),
        (lambda p, a, t, h: gradient_conflict(np.array([[np.nan, 1]])), "gradients"),
        (lambda p, a, t, h: contribution_gap(np.zeros(0)), "none"),
    ],
)
def test_bad_input_is_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call(*drawn())

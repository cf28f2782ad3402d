import itertools

import numpy as np
import pytest

from plait.measures.trust.selective_prediction import aurc, excess_aurc, fewest, risk_coverage, selective_prediction


def test_ties_are_the_mean_over_all_orders():
    confidence = np.array([0.9, 0.5, 0.5, 0.5, 0.2, 0.2])
    loss = np.array([0, 1, 0, 1, 1, 0.5])
    curves = []
    for order in itertools.permutations(range(6)):
        if all(confidence[a] >= confidence[b] for a, b in itertools.pairwise(order)):
            curves.append([loss[list(order[:k])].mean() for k in range(1, 7)])
    assert len(curves) == 12
    assert risk_coverage(confidence, loss) == pytest.approx(np.mean(curves, 0))
    assert aurc(confidence, loss) == pytest.approx(np.mean(curves))


def test_a_constant_confidence_is_worth_nothing():
    loss = np.random.default_rng(0).random(200) < 0.3
    found = selective_prediction(np.ones(200), ~loss, draws=50)
    assert found.aurc.value == pytest.approx(loss.mean())
    assert [a.value for a in found.accuracy.values()] == pytest.approx([1 - loss.mean()] * 4)


def test_the_best_order_has_its_closed_form_and_no_excess():
    rows, errors = 50, 12
    correct = np.arange(rows) >= errors
    found = selective_prediction(correct.astype(float), correct, coverages=[0.76, 0.88, 1.0], draws=50)
    # Errors are answered last; within them, all alike.
    expected = sum(j / (rows - errors + j) for j in range(1, errors + 1)) / rows
    assert found.aurc.value == pytest.approx(expected)
    assert found.excess.value == pytest.approx(0, abs=1e-12)
    assert [a.value for a in found.accuracy.values()] == pytest.approx([1, 1 - 6 / 44, 0.76])


def test_the_best_order_tends_to_the_published_limit():
    rate, rows = 0.3, 20_000
    loss = np.arange(rows) < rate * rows
    assert aurc(-loss.astype(float), loss) == pytest.approx(rate + (1 - rate) * np.log(1 - rate), abs=1e-4)


def test_the_worst_order_is_far_above_chance():
    loss = np.arange(40) < 10
    # The errors come first: risk 1 for ten rows, then 10 / k.
    expected = (10 + sum(10 / k for k in range(11, 41))) / 40
    assert aurc(loss.astype(float), loss) == pytest.approx(expected)
    assert excess_aurc(loss.astype(float), loss) == pytest.approx(expected - aurc(-loss.astype(float), loss))


def test_only_the_order_of_confidences_matters():
    rng = np.random.default_rng(0)
    confidence, correct = rng.random(80), rng.random(80) < 0.6
    one = selective_prediction(confidence, correct, draws=50)
    assert one == selective_prediction(np.exp(5 * confidence) - 40, correct, draws=50)
    order = rng.permutation(80)
    shuffled = selective_prediction(confidence[order], correct[order], draws=50)
    assert shuffled.excess.value == pytest.approx(one.excess.value)
    assert one.excess.interval[0] <= one.excess.value <= one.excess.interval[1]
    assert one.accuracy[1.0].value == pytest.approx(correct.mean())


def test_a_coverage_that_rounds_badly_takes_the_rows_it_says():
    assert [fewest(0.7, 10), fewest(0.1, 30), fewest(0.71, 10), fewest(0.001, 10), fewest(1, 7)] == [7, 3, 8, 1, 7]
    # 1.1 * 100 = 110.00000000000001 as floats
    assert fewest(0.55, 200) == 110


def test_rows_that_belong_together_widen_the_interval():
    rng = np.random.default_rng(0)
    confidence, correct = np.repeat(rng.random(30), 10), np.repeat(rng.random(30) < 0.6, 10)
    alone = selective_prediction(confidence, correct, draws=300).aurc.interval
    grouped = selective_prediction(confidence, correct, groups=np.repeat(np.arange(30), 10), draws=300).aurc.interval
    assert grouped[1] - grouped[0] > 2 * (alone[1] - alone[0])


@pytest.mark.parametrize(
    ("confidence", "correct", "coverages", "said"),
    [
        ([], [], [1.0], "at least one row"),
        ([0.1, np.nan], [1, 0], [1.0], "1 of 2"),
        ([0.1, 0.2], [1], [1.0], r"\[2\]"),
        ([0.1, 0.2], [2, 1], [1.0], "0 .. 1"),
        ([0.1, 0.2], [-1, 1], [1.0], "0 .. 1"),
        ([0.1, 0.2], [0, 1], [0.0, 1.0], r"\(0, 1\]"),
    ],
)
def test_bad_input_is_refused(confidence, correct, coverages, said):
    with pytest.raises(ValueError, match=said):
        selective_prediction(np.array(confidence, float), np.array(correct), coverages=coverages)


def test_where_all_answered_rows_are_right_the_lower_end_is_exact():
    """The wrong row lies just past the cut: resamples mostly leave it out, and seem to be sure."""
    confidence, correct = np.linspace(1, 0, 40), np.ones(40)
    correct[36] = 0
    found = selective_prediction(confidence, correct, coverages=(0.5, 0.9, 1.0)).accuracy
    for coverage, rows in ((0.5, 20), (0.9, 36)):
        assert found[coverage].interval == pytest.approx((0.025 ** (1 / rows), 1.0))
    pairs = selective_prediction(confidence, correct, coverages=(0.5,), groups=np.arange(40) // 2).accuracy[0.5]
    assert pairs.interval == pytest.approx((0.025 ** (1 / 10), 1.0))

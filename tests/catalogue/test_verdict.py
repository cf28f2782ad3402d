import numpy as np
import pytest
from scipy import stats

from plait.catalogue.verdict import (
    OVERLAP,
    Estimate,
    discoveries,
    judge,
    of_folds,
    of_rows,
    of_runs,
    reaches,
    together,
)


def test_rows_that_are_their_own_groups_give_the_standard_error_of_a_mean():
    values = np.random.default_rng(0).normal(0.1, 1, 200)
    found = of_rows(values, np.arange(200))
    assert found.difference == pytest.approx(values.mean())
    assert found.se == pytest.approx(1.3 * stats.sem(values))
    assert found.df == 199


def test_copies_of_a_row_tell_nothing_new():
    values = np.random.default_rng(0).normal(0.1, 1, 50)
    once, often = of_rows(values, np.arange(50)), of_rows(np.repeat(values, 7), np.repeat(np.arange(50), 7))
    assert often.se == pytest.approx(once.se)
    assert often.interval == pytest.approx(once.interval)


def test_single_rows_as_groups_give_the_t_interval_widened():
    values = np.random.default_rng(0).normal(0.3, 1, 50)
    found = of_rows(values, np.arange(50))
    low, high = stats.t.interval(0.95, 49, values.mean(), stats.sem(values))
    assert found.difference == pytest.approx(values.mean())
    assert found.half == pytest.approx(OVERLAP * (high - low) / 2)


def test_repeating_every_row_within_its_group_changes_nothing():
    values = np.random.default_rng(1).normal(0, 1, 30)
    once, thrice = of_rows(values, np.arange(30)), of_rows(np.repeat(values, 3), np.repeat(np.arange(30), 3))
    assert (thrice.difference, *thrice.interval) == pytest.approx((once.difference, *once.interval))
    assert thrice.seen_from() == pytest.approx(once.seen_from())


def test_groups_that_move_together_widen_it():
    values = np.repeat(np.random.default_rng(2).normal(0, 1, 20), 5)
    alone, together = of_rows(values, np.arange(100)), of_rows(values, np.repeat(np.arange(20), 5))
    assert together.half > 1.8 * alone.half


def test_one_group_is_refused():
    with pytest.raises(ValueError, match="2 groups"):
        of_rows(np.ones(3), np.zeros(3))


def test_trainings_that_differ_widen_the_interval_of_rows():
    """Whole folds move together when a training fails, of which rows by themselves know nothing."""
    rng = np.random.default_rng(4)
    rows = rng.normal(0.02, 0.1, 200)
    steady = rows.reshape(5, 40).mean(1)
    failed = rows - np.repeat([0, 0.5, 0, 0, 0], 40)
    assert of_rows(rows, np.arange(200), np.tile(steady, 4)) == of_rows(rows, np.arange(200))
    found = of_rows(failed, np.arange(200), failed.reshape(5, 40).mean(1))
    assert found.half > of_rows(failed, np.arange(200)).half
    assert found.interval == pytest.approx(of_runs(failed.reshape(5, 40).mean(1)).interval)
    assert found.difference == pytest.approx(failed.mean())


def test_runs_give_students_interval():
    values = np.random.default_rng(1).normal(0.3, 1, 20)
    expected = stats.ttest_1samp(values, 0)
    assert of_runs(values).interval == pytest.approx(tuple(expected.confidence_interval()))
    assert of_runs(values).p_above(0) == pytest.approx(stats.ttest_1samp(values, 0, alternative="greater").pvalue)


def test_folds_are_widened_by_what_they_share():
    values = np.random.default_rng(1).normal(0.3, 1, 20)
    assert of_folds(values, 20, 80).se == pytest.approx(of_runs(values).se * np.sqrt(1 + 20 * 20 / 80))


@pytest.mark.parametrize("shift", [0.0, 0.03])
def test_the_interval_covers_where_groups_move_together(shift):
    """Equal arms are called different in no more than about a twentieth of the cases, and the truth is covered."""
    rng = np.random.default_rng(2)
    wrong = 0
    for _ in range(400):
        groups = rng.integers(0, 60, 200)
        rows = shift + 0.3 * rng.standard_normal(60)[groups] + 0.3 * rng.standard_normal(200)
        low, high = of_rows(rows, groups).interval
        wrong += not low < shift < high
    assert wrong / 400 < 0.05


SURE = 1e-9


@pytest.mark.parametrize(
    ("difference", "se", "expect", "said"),
    [
        (0.05, 0.01, "higher", ("holds", "")),
        (0.005, 0.001, "higher", ("holds", "")),
        (0.005, 0.004, "higher", ("contradicted", "")),
        (0.015, 0.05, "higher", ("unclear", "underpowered")),
        (-0.03, 0.05, "higher", ("unclear", "reversed")),
        (-0.03, 0.001, "higher", ("contradicted", "")),
        (-0.05, 0.01, "lower", ("holds", "")),
        (0.03, 0.001, "lower", ("contradicted", "")),
        (-0.01, SURE, "not_lower", ("holds", "")),
        (0.0, 0.005, "not_lower", ("holds", "")),
        (0.0, 0.005, "equal", ("holds", "")),
        (0.0, 0.05, "equal", ("unclear", "underpowered")),
        (0.05, 0.005, "equal", ("contradicted", "")),
        (-0.05, 0.005, "equal", ("contradicted", "")),
    ],
)
def test_verdicts(difference, se, expect, said):
    assert judge(Estimate(difference, se, 100), expect, 0.02) == said


def test_a_small_certain_loss_is_not_lower_by_the_margin():
    """-.01 +- .002 lies above -.02: it holds before it can be contradicted."""
    assert judge(Estimate(-0.01, 0.001, 100), "not_lower", 0.02) == ("holds", "")
    assert judge(Estimate(-0.03, 0.001, 100), "not_lower", 0.02) == ("contradicted", "")


def test_a_value_is_reached():
    assert reaches(Estimate(0.9, 0.01, 50), 0.8)[0] == "holds"
    assert reaches(Estimate(0.7, 0.01, 50), 0.8)[0] == "contradicted"
    assert reaches(Estimate(0.8, 0.01, 50), 0.8)[0] == "unclear"


def test_one_contradicted_part_contradicts_the_whole():
    assert together(["holds", "unclear", "contradicted"]) == "contradicted"
    assert together(["holds", "unclear"]) == "unclear"
    assert together(["holds", "holds"]) == "holds"
    assert together([]) == "unclear"


def test_false_discoveries_are_held_to_their_share():
    rng = np.random.default_rng(3)
    shares = []
    for _ in range(300):
        p = np.concatenate([rng.random(80), rng.beta(0.05, 8, 20)])
        found = discoveries(p)
        shares.append(found[:80].sum() / max(1, found.sum()))
    assert np.mean(shares) < 0.10
    assert not discoveries(np.array([0.2, 0.5, 0.9])).any()
    assert discoveries(np.array([0.01, 0.04, 0.5])).tolist() == [True, True, False]


def test_too_little_to_estimate_from_is_refused():
    with pytest.raises(ValueError, match="2 groups"):
        of_rows(np.zeros(3), np.zeros(3))
    with pytest.raises(ValueError, match="2 differences"):
        of_runs(np.zeros(1))


def test_a_two_sided_p_is_that_of_the_t_test():
    values = np.random.default_rng(5).normal(0.3, 1, 20)
    found = of_runs(values)
    assert found.p == pytest.approx(stats.ttest_1samp(values, 0).pvalue)
    assert Estimate(-found.difference, found.se, found.df).p == pytest.approx(found.p)
    assert Estimate(0.0, 0.0, 4).p == 1.0
    assert Estimate(0.1, 0.0, 4).p == 0.0


@pytest.mark.parametrize("tests", [1, 8])
@pytest.mark.parametrize("units", [3, 5, 20, 400])
def test_what_could_be_seen_is_found_in_four_of_five_cases(units, tests):
    """The promise is about intervals as they are made, from as many units, whose spread nobody knows."""
    draws = np.random.default_rng(6).normal(0, 1, (4_000, units))
    size = Estimate(0.0, 1 / np.sqrt(units), units - 1).seen_from(tests)
    p = np.array([of_runs(drawn).p for drawn in draws + size])
    assert np.mean(p < 0.05 / tests) == pytest.approx(0.8, abs=0.02)


def test_few_units_see_less_than_a_normal_distribution_says():
    seen = {df: Estimate(0.0, 1.0, df).seen_from() for df in (2, 4, 10**6)}
    assert seen == pytest.approx({2: 5.65, 4: 3.76, 10**6: 2.80}, abs=0.01)


def test_no_worthwhile_gain_is_said_only_where_one_would_have_been_found():
    """3 standard errors are a margin that many units resolve, and five do not."""
    assert judge(Estimate(0.01, 0.02 / 3, 400), "higher", 0.02) == ("unclear", "no worthwhile gain")
    assert judge(Estimate(0.01, 0.02 / 3, 4), "higher", 0.02) == ("unclear", "underpowered")

import json

import numpy as np
import pytest

from plait.measures.trust.group_report import all_correct, group_report


def drawn(rows=600, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.ones(classes), rows), rng.integers(0, classes, rows), rng.integers(0, 3, rows)


def one_hot(said, classes):
    return np.eye(classes)[said]


def test_a_constant_predictor_has_no_gap_of_demographic_parity():
    _, truth, member = drawn()
    found = group_report(one_hot(np.full(600, 1), 3), truth, member, draws=50)
    assert found.gaps["demographic_parity"].value == 0
    assert found.gaps["demographic_parity"].interval == (0, 0)
    assert found.gaps["equalised_odds"].value == 0
    assert [s.value for s in found.spread.values()] == [0, 0, 0]


def test_a_perfect_predictor_has_equal_odds_also_where_base_rates_differ():
    rng = np.random.default_rng(0)
    member = rng.integers(0, 2, 400)
    truth = (rng.random(400) < np.where(member, 0.8, 0.3)).astype(int)
    found = group_report(one_hot(truth, 2), truth, member, draws=50)
    assert found.gaps["equalised_odds"].value == 0
    assert found.gaps["error"].value == 0
    base = [truth[member == g].mean() for g in (0, 1)]
    assert found.gaps["demographic_parity"].value == pytest.approx(abs(base[1] - base[0]))


def test_gaps_equal_the_largest_difference_found_by_loops():
    predicted, truth, member = drawn(classes=4)
    said = predicted.argmax(1)
    found = group_report(predicted, truth, member, draws=20)
    parity, odds = [], []
    for c in range(4):
        share = [np.mean(said[member == g] == c) for g in range(3)]
        parity.append(max(share) - min(share))
        for y in range(4):
            share = [np.mean(said[(member == g) & (truth == y)] == c) for g in range(3)]
            odds.append(max(share) - min(share))
    wrong = [np.mean(said[member == g] != truth[member == g]) for g in range(3)]
    assert found.gaps["demographic_parity"].value == pytest.approx(max(parity))
    assert found.gaps["equalised_odds"].value == pytest.approx(max(odds))
    assert found.gaps["error"].value == pytest.approx(max(wrong) - min(wrong))


def test_names_of_groups_do_not_matter():
    predicted, truth, member = drawn()
    one = group_report(predicted, truth, member, draws=50)
    two = group_report(predicted, truth, np.array(["zebra", "ant", "moth"])[member], draws=50)
    for name, gap in one.gaps.items():
        assert two.gaps[name] == gap
    assert {two.error[n].value for n in two.error} == {one.error[n].value for n in one.error}


@pytest.mark.parametrize("numbers", [False, True])
def test_group_errors_weighted_by_size_give_the_overall_error(numbers):
    predicted, truth, member = drawn()
    if numbers:
        predicted, truth = predicted[:, 0], truth.astype(float)
    found = group_report(predicted, truth, member, draws=20)
    weighted = sum(found.error[g].value * n for g, n in found.rows.items()) / sum(found.rows.values())
    assert weighted == pytest.approx(found.overall.value)
    expected = np.abs(predicted - truth).mean() if numbers else np.mean(predicted.argmax(1) != truth)
    assert found.overall.value == pytest.approx(expected)


def test_numbers_have_a_spread_and_no_rates():
    rng = np.random.default_rng(0)
    truth, member = rng.normal(size=300), rng.integers(0, 2, 300)
    regressed = group_report(0.3 * truth, truth, member, draws=50)
    mean = group_report(np.full(300, truth.mean()), truth, member, draws=50)
    assert list(regressed.gaps) == ["error"]
    for g in "01":
        assert regressed.spread[g].value == pytest.approx(0.3 * truth[member == int(g)].std())
        assert mean.spread[g].value == 0


def test_small_groups_are_listed_and_change_nothing():
    predicted, truth, member = drawn()
    member[:40] = 7
    found = group_report(predicted, truth, member, draws=20)
    without = group_report(predicted[40:], truth[40:], member[40:], draws=20)
    assert found.refused == {"7": 40}
    assert found.gaps == without.gaps
    assert found.overall == without.overall
    with pytest.raises(ValueError, match="7: 40"):
        group_report(predicted[:140], truth[:140], np.where(np.arange(140) < 40, 7, 1))


def test_a_class_of_few_rows_makes_no_gap_of_odds():
    member, truth = np.arange(400) % 2, np.zeros(400, int)
    truth[:2] = 1
    predicted = one_hot(np.where(np.arange(400) == 0, 1, 0), 2)
    assert group_report(predicted, truth, member, draws=20).gaps["equalised_odds"].value == 0
    # One of the two rows of the rare class is said rightly, the other, of the other group, is not.
    assert group_report(predicted, truth, member, least_of_class=1, draws=20).gaps["equalised_odds"].value == 1
    only_one_group = group_report(predicted, member, member, draws=20)
    assert np.isnan(only_one_group.gaps["equalised_odds"].value)
    assert json.loads(json.dumps(only_one_group.account(), allow_nan=False))["gaps"]["equalised_odds"]["value"] is None


def test_shuffled_is_what_a_fair_model_shows(monkeypatch):
    monkeypatch.setattr("plait.measures.trust.group_report._SHUFFLES", 30)
    rng = np.random.default_rng(1)
    seen, expected = [], []
    for _ in range(40):
        truth, member = rng.integers(0, 2, 300), rng.integers(0, 3, 300)
        said = np.where(rng.random(300) < 0.7, truth, 1 - truth)
        found = group_report(one_hot(said, 2), truth, member, draws=2)
        seen.append([gap.value for gap in found.gaps.values()])
        expected.append(list(found.shuffled.values()))
    seen, expected = np.array(seen), np.array(expected)
    assert np.all(np.abs(seen.mean(0) - expected.mean(0)) < 3 * seen.std(0) / np.sqrt(40))
    assert seen.mean(0).min() > 0.02


def test_shuffling_for_odds_keeps_what_follows_from_base_rates_alone():
    rng = np.random.default_rng(0)
    member = rng.integers(0, 2, 2000)
    truth = (rng.random(2000) < np.where(member, 0.9, 0.1)).astype(int)
    found = group_report(one_hot(truth, 2), truth, member, draws=2)
    assert found.shuffled["equalised_odds"] == 0
    assert found.shuffled["demographic_parity"] < 0.1 < found.gaps["demographic_parity"].value


def test_intervals_cover_a_known_gap(monkeypatch):
    monkeypatch.setattr("plait.measures.trust.group_report._SHUFFLES", 1)
    rng = np.random.default_rng(2)
    inside = 0
    for seed in range(30):
        member = np.arange(400) % 2
        truth = np.zeros(400, int)
        said = (rng.random(400) < np.where(member, 0.6, 0.3)).astype(int)
        low, high = group_report(one_hot(said, 2), truth, member, seed=seed, draws=100).gaps["error"].interval
        inside += low <= 0.3 <= high
    assert inside >= 25


def test_whole_groups_are_right_less_often_than_their_rows():
    rng = np.random.default_rng(0)
    member, correct = np.repeat(np.arange(500), 4), rng.random(2000) < 0.8
    whole, share = all_correct(correct, member)
    assert whole.value <= share.value
    assert whole.interval[0] <= 0.8**4 <= whole.interval[1]
    assert share.value == pytest.approx(correct.mean())
    alone, plain = all_correct(correct, np.arange(2000))
    assert alone.value == plain.value == correct.mean()
    uneven, _ = all_correct(np.array([1, 1, 0, 1]), np.array([5, 5, 5, 2]))
    assert uneven.value == 0.5


def test_rows_that_belong_together_widen_intervals_and_need_a_group_each():
    predicted, truth, member = drawn(200)
    many = [np.repeat(v, 5, 0) for v in (predicted, truth, member)]
    together = np.repeat(np.arange(200), 5)
    wide, narrow = (group_report(*many, groups=g, draws=200) for g in (together, None))
    for name in wide.gaps:
        assert np.diff(wide.gaps[name].interval)[0] > 1.5 * np.diff(narrow.gaps[name].interval)[0]
    assert np.diff(wide.overall.interval)[0] > 1.5 * np.diff(narrow.overall.interval)[0]
    with pytest.raises(ValueError, match="1000 rows"):
        group_report(*many, groups=together[:7])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda p, t, m: (p * 2, t, m), "softmax"),
        (lambda p, t, m: (np.where(p > 2, p, np.nan), t, m), "NaN"),
        (lambda p, t, m: (p, t + 5, m), "0 .. 2"),
        (lambda p, t, m: (p, t[:-1], m), "600"),
        (lambda p, t, m: (p, t, m[:-1]), "600"),
        (lambda p, t, m: (p, t, np.where(m == 1, np.nan, m)), "no group"),
        (lambda p, t, m: (p, t, np.where(m == 1, None, "a").astype(object)), "no group"),
    ],
)
def test_bad_input_is_refused(change, said):
    with pytest.raises(ValueError, match=said):
        group_report(*change(*drawn()))

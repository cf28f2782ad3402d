import numpy as np
import pytest
from scipy.stats import ttest_rel

from plait.measures.worth.fusion_gain_test import fusion_gain_test


def copies(rows, arms, seed):
    """Arms that are equally good: rows are easy or hard for all of them, the rest is noise of their own."""
    rng = np.random.default_rng(seed)
    easy = rng.normal(size=rows)
    return [(easy + rng.normal(size=rows) > 0).astype(float) for _ in range(arms)]


def unique_bits(rows, seed):
    """The label is told by one bit that stands in the image or in the text; the one without it guesses."""
    rng = np.random.default_rng(seed)
    where = rng.random(rows) < 0.5
    guess = rng.random((2, rows)) < 0.5
    return np.ones(rows), {"image": (where | guess[0]) * 1.0, "text": (~where | guess[1]) * 1.0}


def test_each_fold_is_judged_by_what_is_best_on_the_others():
    fused, *arms = copies(61, 4, 0)
    fold = np.random.default_rng(1).integers(0, 4, 61)
    found = fusion_gain_test(fused, dict(zip("abc", arms, strict=True)), fold=fold, draws=50)
    total = 0.0
    for i in range(61):
        means = [np.mean([arm[j] for j in range(61) if fold[j] != fold[i]]) for arm in arms]
        best = means.index(max(means))
        assert found.chosen[fold[i]] == "abc"[best]
        total += fused[i] - arms[best][i]
    assert found.gain == pytest.approx(total / 61)
    assert found.differences.mean() == pytest.approx(found.gain)
    assert found.same_rows == pytest.approx(fused.mean() - max(arm.mean() for arm in arms))


def test_what_a_fold_says_does_not_choose_for_it():
    fused, *arms = copies(100, 3, 2)
    fold = np.arange(100) % 5
    before = fusion_gain_test(fused, {"a": arms[0], "b": arms[1]}, fold=fold, draws=20).chosen
    for k in range(5):
        changed = {"a": np.where(fold == k, 1.0, arms[0]), "b": np.where(fold == k, 0.0, arms[1])}
        assert fusion_gain_test(fused, changed, fold=fold, draws=20).chosen[k] == before[k]


def test_an_exact_copy_gains_nothing():
    fused = copies(50, 1, 3)[0]
    found = fusion_gain_test(fused, {"image": fused, "copy": fused})
    assert (found.gain, found.interval, found.p) == (0, (0, 0), 1)


def test_unique_bits_are_found():
    fused, singles = unique_bits(120, 0)
    found = fusion_gain_test(fused, singles)
    assert found.p < 1e-4
    assert found.gain == pytest.approx(0.25, abs=0.1)
    assert found.interval[0] > 0.1
    worse = fusion_gain_test(1 - fused, singles)
    assert worse.p > 1 - 1e-4
    assert worse.interval[1] < -0.5


def test_with_one_single_it_is_the_paired_t_test():
    rng = np.random.default_rng(4)
    fused, single = rng.normal(0.1, 1, (2, 150))
    found = fusion_gain_test(fused, {"image": single}, draws=20_000)
    expected = ttest_rel(fused, single, alternative="greater")
    assert found.gain == pytest.approx(np.mean(fused - single))
    assert found.p == pytest.approx(expected.pvalue, abs=0.01)
    two_sided = ttest_rel(fused, single).confidence_interval(0.95)
    assert found.interval == pytest.approx((two_sided.low, two_sided.high), abs=0.01)


def test_rows_of_a_group_count_as_one():
    fused, *arms = copies(60, 3, 5)
    once = fusion_gain_test(fused, {"a": arms[0], "b": arms[1]}, fold=np.arange(60) % 3)
    code = np.repeat(np.arange(60), 4)
    singles = {"a": arms[0][code], "b": arms[1][code]}
    grouped = fusion_gain_test(fused[code], singles, fold=code % 3, groups=code)
    assert (grouped.gain, grouped.se, grouped.p) == pytest.approx((once.gain, once.se, once.p))
    assert fusion_gain_test(fused[code], singles, fold=code % 3).se < 0.75 * once.se
    dealt = fusion_gain_test(fused[code], singles, groups=code, draws=20)
    assert dealt.account().keys() == once.account().keys()
    assert "differences" not in dealt.account()


@pytest.mark.slow
def test_two_noisy_copies_are_rejected_no_more_often_than_said():
    found = []
    for seed in range(500):
        fused, *arms = copies(120, 3, seed)
        found.append(fusion_gain_test(fused, {"a": arms[0], "b": arms[1]}, split=10, draws=200, seed=seed))
    rejected = np.mean([f.p < 0.05 for f in found])
    assert 0.01 < rejected < 0.05 + 2 * np.sqrt(0.05 * 0.95 / 500)
    assert np.mean([f.interval[0] <= 0 <= f.interval[1] for f in found]) > 0.94
    gains, lucky = np.array([[f.gain, f.same_rows] for f in found]).T
    assert abs(gains.mean()) < 3 * gains.std() / np.sqrt(500)
    assert lucky.mean() < -5 * lucky.std() / np.sqrt(500)
    plain = np.array([np.std(f.differences) / np.sqrt(120) for f in found])
    assert plain.mean() < 0.93 * gains.std()
    assert np.mean([f.se for f in found]) > 0.9 * gains.std()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"singles": {}}, "one single or more"),
        ({"singles": {"a": np.ones(5)}}, r"\(5,\)"),
        ({"fused": np.full(6, np.nan)}, "finite"),
        ({"fold": np.zeros(6)}, "2 or more, found 1"),
        ({"fold": np.arange(6) % 2, "groups": np.repeat([0, 1, 2], 2)}, "several folds"),
        ({"fold": np.arange(5)}, "each of 6 rows"),
        ({"fold": np.arange(6) % 2, "groups": np.arange(5)}, "group for each of the 6"),
        ({"split": 7}, "7 folds"),
    ],
)
def test_what_does_not_fit_is_refused(change, says):
    with pytest.raises(ValueError, match=says):
        fusion_gain_test(**{"fused": np.ones(6), "singles": {"a": np.zeros(6)}, "draws": 20, **change})

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from plait.measures.worth.missingness import fold_auc, missingness


def table(rows, seed, depends=0.0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 3))
    have = rng.random((rows, 1)) < 1 / (1 + np.exp(-depends * x[:, :1]))
    return have, x


def test_auc_is_over_pairs_of_a_fold():
    rng = np.random.default_rng(0)
    score, y, fold = rng.integers(0, 6, (1, 60)), rng.integers(0, 2, (1, 60)), np.arange(60) % 3
    assert fold_auc(score, y, np.zeros(60))[0] == pytest.approx(roc_auc_score(y[0], score[0]))
    pairs = [
        (score[0, i] > score[0, j]) + (score[0, i] == score[0, j]) / 2
        for i in np.flatnonzero(y[0] == 1)
        for j in np.flatnonzero(y[0] == 0)
        if fold[i] == fold[j]
    ]
    assert fold_auc(score, y, fold)[0] == pytest.approx(np.mean(pairs))
    assert np.isnan(fold_auc(score, np.ones((1, 60)), fold)[0])
    times = rng.integers(0, 4, (1, 60))
    rows = np.repeat(np.arange(60), times[0])
    assert fold_auc(score, y, fold, times) == pytest.approx(fold_auc(score[:, rows], y[:, rows], fold[rows]))


def test_tells_what_depends_and_not_what_does_not():
    have, x = table(300, 0, depends=1.5)
    rng = np.random.default_rng(1)
    both = np.column_stack([have, rng.random(300) < 0.6])
    found = missingness(both, ["image", "sound"], x, draws=100)
    assert found["image"].p == pytest.approx(1 / 201)
    assert found["image"].holm == pytest.approx(2 / 201)
    assert found["image"].interval[0] > 0.6
    assert found["sound"].p > 0.02
    assert found["sound"].share == pytest.approx(both[:, 1].mean())


def test_of_what_does_not_depend_auc_is_a_half_on_average():
    """Pooled over folds it would be .46."""
    aucs = []
    for seed in range(60):
        have, x = table(60, seed)
        aucs.append(missingness(have, ["scan"], x, permutations=1, draws=2)["scan"].auc)
    assert np.mean(aucs) == pytest.approx(0.5, abs=3 * np.std(aucs) / np.sqrt(60))


def test_the_label_tells_too():
    rng = np.random.default_rng(7)
    label = rng.choice(["healthy", "ill", "unsure"], 300)
    have = (rng.random(300) < np.where(label == "ill", 0.9, 0.4))[:, None]
    x = rng.normal(size=(300, 1))
    assert missingness(have, ["scan"], x, permutations=99, draws=50)["scan"].p > 0.05
    assert missingness(have, ["scan"], x, label=label, permutations=99, draws=50)["scan"].p == 0.01
    number = have[:, 0] + rng.normal(size=300)
    assert missingness(have, ["scan"], x, label=number, permutations=99, draws=50)["scan"].p == 0.01


def test_squares_are_seen_where_they_are_given():
    rng = np.random.default_rng(3)
    x = rng.normal(size=400)
    have = (rng.random(400) < np.where(np.abs(x) > 0.7, 0.8, 0.3))[:, None]
    assert missingness(have, ["scan"], x, permutations=99, draws=50)["scan"].p > 0.05
    assert missingness(have, ["scan"], np.column_stack([x, x**2]), permutations=99, draws=50)["scan"].p == 0.01


def test_groups_are_dealt_out_whole():
    """Whether a patient has scans is a coin flip; that patients differ in age must not look like a dependence."""
    p, loose = [], []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        patient = np.repeat(np.arange(30), 10)
        age = rng.normal(size=(30, 3))[patient]
        have = (rng.random(30) < 0.5)[patient][:, None]
        loose.append(missingness(have, ["scan"], age, permutations=39, draws=2)["scan"].p)
        p.append(missingness(have, ["scan"], age, groups=patient, permutations=39, draws=2)["scan"].p)
    assert np.median(loose) == 1 / 40
    assert np.median(p) > 0.15


def test_what_all_or_none_have_is_not_tested():
    have, x = table(60, 4)
    found = missingness(np.column_stack([have, np.ones((60, 1)), np.zeros((60, 1))]), ["a", "b", "c"], x, draws=50)
    assert (found["b"].share, found["c"].share) == (1, 0)
    assert np.isnan([found["b"].auc, found["b"].p, found["c"].holm, *found["c"].interval]).all()
    assert found["a"].holm == found["a"].p


def test_constant_features_tell_nothing():
    have, _ = table(60, 5)
    found = missingness(have, ["a"], np.ones((60, 2)), draws=50)["a"]
    assert (found.auc, found.p) == (0.5, 1)


@pytest.mark.slow
def test_holds_its_level_and_has_power():
    def p(seed, depends):
        have, x = table(200, seed, depends)
        return missingness(have, ["scan"], x, permutations=99, draws=2)["scan"].p

    null = np.array([p(seed, 0) for seed in range(200)])
    assert np.mean(null <= 0.05) == pytest.approx(0.05, abs=0.045)
    assert np.mean(null <= 0.5) == pytest.approx(0.5, abs=0.11)
    assert np.mean([p(seed, 0.8) <= 0.05 for seed in range(40)]) > 0.9


def test_what_does_not_fit_is_refused():
    have, x = table(40, 6)
    with pytest.raises(ValueError, match=r"\[N, 2\]"):
        missingness(have, ["a", "b"], x)
    with pytest.raises(ValueError, match="3 that are not"):
        missingness(have, ["a"], np.where(np.arange(40)[:, None] == 3, np.nan, x))
    with pytest.raises(ValueError, match=r"\[40, F\]"):
        missingness(have, ["a"], x[:30])


@pytest.mark.slow
def test_the_interval_is_not_too_narrow():
    """Without anew fitted regressions it covers in four of five cases."""
    found = [missingness(*_named(table(100, seed)), permutations=1, draws=100)["scan"] for seed in range(100)]
    assert np.mean([f.interval[0] <= 0.5 <= f.interval[1] for f in found]) > 0.9


def _named(drawn):
    return drawn[0], ["scan"], drawn[1]

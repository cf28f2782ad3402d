import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from plait.measures.worth._crossfit import cross_fitted, folds, logistic, standard


def drawn(rows=120, width=3, many=4, seed=0):
    rng = np.random.default_rng(seed)
    x = standard(rng.normal(size=(rows, width)), rows)
    return x, (rng.random((many, rows)) < 1 / (1 + np.exp(-x[:, 0]))).astype(float), rng


@pytest.mark.parametrize("penalty", [0.1, 1.0, 10.0])
def test_many_at_once_are_the_regressions_one_by_one(penalty):
    x, y, rng = drawn()
    times = rng.integers(0, 4, y.shape)
    found = logistic(x, y, times, penalty)
    for b in range(len(y)):
        model = LogisticRegression(C=1 / penalty, tol=1e-10, max_iter=1000).fit(x, y[b], sample_weight=times[b])
        assert found[b] == pytest.approx(np.r_[model.intercept_, model.coef_[0]], abs=1e-4)


def test_labels_that_are_told_exactly_and_equal_labels_stay_finite():
    x, y, _ = drawn()
    exact = (x[:, :1].T > 0).astype(float)
    assert np.isfinite(logistic(x * 50, exact, np.ones_like(exact), 1e-3)).all()
    assert np.isfinite(logistic(x, np.zeros_like(y), np.ones_like(y))).all()


def test_blocks_give_the_same(monkeypatch):
    x, y, _ = drawn()
    whole = logistic(x, y, np.ones((1, 120)))
    monkeypatch.setattr("plait.measures.worth._crossfit._BLOCK", 1)
    assert logistic(x, y, np.ones((1, 120))) == pytest.approx(whole)


def test_a_row_has_no_part_in_its_own_fit():
    x, y, _ = drawn()
    fold = folds(120, 5)
    before = cross_fitted(x, y, fold)
    flipped = np.where(fold == 2, 1 - y, y)
    assert np.array_equal(cross_fitted(x, flipped, fold)[:, fold == 2], before[:, fold == 2])
    assert not np.allclose(cross_fitted(x, flipped, fold)[:, fold != 2], before[:, fold != 2])


def test_rows_that_count_twice_are_rows_that_are_there_twice():
    x, y, rng = drawn(rows=60, many=1)
    times = rng.integers(0, 3, 60)
    fold = folds(60, 3)
    counted = cross_fitted(x, y, fold, times[None])[0]
    repeated = np.repeat(np.arange(60), times)
    there = cross_fitted(x[repeated], y[:, repeated], fold[repeated])[0]
    assert there == pytest.approx(counted[repeated], abs=1e-6)


def test_folds_are_equal_and_keep_groups_whole():
    assert np.bincount(folds(103, 5)).tolist() == [21, 21, 21, 20, 20]
    groups = np.random.default_rng(0).integers(0, 30, 200)
    fold = folds(200, 4, groups=groups)
    assert all(len(set(fold[groups == g])) == 1 for g in groups)
    assert np.ptp(np.bincount(fold)) <= 3
    assert not np.array_equal(folds(103, 5), folds(103, 5, seed=1))
    with pytest.raises(ValueError, match="3 groups"):
        folds(9, 5, groups=np.repeat([0, 1, 2], 3))


def test_constant_columns_are_left_out_and_gaps_refused():
    table = np.column_stack([np.arange(10.0), np.full(10, 0.1)])
    assert standard(table, 10).shape == (10, 1)
    assert standard(np.empty((10, 0)), 10).shape == (10, 0)
    with pytest.raises(ValueError, match="1 that are not"):
        standard(np.array([1.0, np.nan]), 2)
    with pytest.raises(ValueError, match=r"\[3, F\]"):
        standard(np.ones((2, 2)), 3)

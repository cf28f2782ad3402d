import itertools

import numpy as np
import pytest

from plait.measures import auroc


def disjoint(positive, groups):
    """The most pairs of a positive and another row of different groups, no group twice: by trying all."""
    has = {g: {bool(p) for p, of in zip(positive, groups, strict=True) if of == g} for g in set(groups)}
    pairs = [(a, b) for a, b in itertools.permutations(has, 2) if True in has[a] and False in has[b]]

    def most(left):
        rest = [(a, b) for a, b in left if {a, b}.isdisjoint(left[0])] if left else []
        return max(1 + most(rest), most(left[1:])) if left else 0

    return most(pairs)


@pytest.mark.parametrize("seed", range(12))
def test_where_all_pairs_are_in_order_as_many_count_as_share_no_group(seed):
    rng = np.random.default_rng(seed)
    size = int(rng.integers(4, 12))
    positive = np.arange(size) < rng.integers(1, size)
    groups = rng.integers(0, rng.integers(2, 7), size)
    found = auroc(np.where(positive, 2.0, 1.0), positive, groups=groups)
    pairs = disjoint(positive.tolist(), groups.tolist())
    assert found.value == 1
    if pairs < 2:
        assert np.isnan(found.interval).all(), "of one pair nothing is said"
    else:
        assert found.interval == (pytest.approx(0.025 ** (1 / pairs)), 1)
        turned = auroc(np.where(positive, 1.0, 2.0), positive, groups=groups)
        assert turned.interval == (0, pytest.approx(1 - found.interval[0]))


@pytest.mark.parametrize("shift", [1.0, 2.0, 3.0])
def test_the_interval_of_few_rows_in_order_seldom_lies_above_the_truth(shift):
    """Of normal scores a distance apart, whose AUC is known; resampled alone, all of these would be [1, 1]."""
    from scipy.stats import norm

    truth, rng = norm.cdf(shift / np.sqrt(2)), np.random.default_rng(0)
    positive = np.arange(16) < 4
    above = perfect = 0
    for _ in range(400):
        found = auroc(rng.normal(size=16) + shift * positive, positive, draws=20)
        if found.value == 1:
            perfect += 1
            above += found.interval[0] > truth
    assert perfect > 0
    assert above <= 0.025 * 400


def test_ties_alone_have_no_interval():
    found = auroc(np.ones(10), np.arange(10) < 5)
    assert found.value == 0.5
    assert np.isnan(found.interval).all()

import itertools

import numpy as np
import pytest

from plait.measures.space.cka import chance, cka


def pair(rows=40, seed=0):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(rows, 4))
    return z @ rng.normal(size=(4, 6)) + rng.normal(size=(rows, 6)), z @ rng.normal(size=(4, 3))


def by_definition(a, b):
    k, low = a @ a.T, np.eye(len(a)) - 1 / len(a)
    other = b @ b.T
    return np.trace(k @ low @ other @ low)


def over_four_rows(k, other):
    """Unbiased HSIC as the mean over all four different rows."""
    some = itertools.permutations(range(len(k)), 4)
    return np.mean([k[i, j] * (other[i, j] + other[q, r] - 2 * other[i, q]) for i, j, q, r in some])


@pytest.mark.parametrize("rows", [3, 40])
def test_plain_is_the_one_of_kernels(rows):
    a, b = pair(rows)
    wanted = by_definition(a, b) / np.sqrt(by_definition(a, a) * by_definition(b, b))
    assert cka(a, b, unbiased=False) == pytest.approx(wanted)


@pytest.mark.parametrize("rows", [4, 7])
def test_unbiased_is_the_mean_over_four_different_rows(rows):
    a, b = pair(rows)
    k, other = a @ a.T, b @ b.T
    wanted = over_four_rows(k, other) / np.sqrt(over_four_rows(k, k) * over_four_rows(other, other))
    assert cka(a, b) == pytest.approx(wanted)


@pytest.mark.parametrize("unbiased", [True, False])
def test_shift_rotation_and_scale_change_nothing_but_other_maps_do(unbiased):
    a, b = pair()
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(6, 6)))[0]
    assert cka(a, a @ turn * 7 + 50, unbiased=unbiased) == pytest.approx(1)
    assert cka(1e-8 * a @ turn + 1e-7, b, unbiased=unbiased) == pytest.approx(cka(a, b, unbiased=unbiased))
    assert cka(a, b, unbiased=unbiased) == pytest.approx(cka(b, a, unbiased=unbiased))
    assert cka(a, a * [1, 0, 0, 0, 0, 0], unbiased=unbiased) < 0.9


def test_chance_is_the_mean_over_all_orders():
    a, b = pair(6)
    orders = [list(p) for p in itertools.permutations(range(6))]
    assert chance(a, b) == pytest.approx(np.mean([cka(a, b[p], unbiased=False) for p in orders]))
    assert np.mean([cka(a, b[p]) for p in orders]) == pytest.approx(0, abs=1e-12)


def test_wide_independent_embeddings_look_aligned_only_to_the_plain_one():
    a, b = np.random.default_rng(0).normal(size=(2, 30, 2000))
    assert cka(a, b, unbiased=False) > 0.9
    assert cka(a, b, unbiased=False) == pytest.approx(chance(a, b), abs=0.02)
    assert abs(cka(a, b)) < 0.1


def test_what_does_not_fit_is_refused():
    a, b = pair()
    with pytest.raises(ValueError, match="at least 4 rows, found 3"):
        cka(a[:3], b[:3])
    with pytest.raises(ValueError, match="equally many rows"):
        cka(a, b[1:])
    with pytest.raises(ValueError, match="b: all 40 rows are equal"):
        cka(a, np.full((40, 2), 0.1))

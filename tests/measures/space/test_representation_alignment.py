import itertools
import json

import numpy as np
import pytest
from scipy.stats import t

from plait.measures.space import representation_alignment as r
from plait.measures.space._neighbours import nearest
from plait.measures.space.cka import cka
from plait.measures.space.cknna import cknna

NUMBERS = ("linear_cka", "unbiased_cka", "mutual_knn", "cycle_knn", "lcs_knn", "cknna")


def drawn(rows=60, rng=None):
    rng = rng or np.random.default_rng(0)
    z = rng.normal(size=(rows, 4))
    mixed = z @ np.array([[1, 0, 0, 0, 1], [0, 1, 0, 0, 0], [0, 0, 1, 1, 0], [0, 0, 0, 1, 0]])
    return z + 0.5 * rng.normal(size=(rows, 4)), mixed + 0.5 * rng.normal(size=(rows, 5))


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def neighbours(x, k):
    """Lists of the k others by falling cosine."""
    cosine = unit(x) @ unit(x).T
    return [sorted((j for j in range(len(x)) if j != i), key=lambda j: -cosine[i, j])[:k] for i in range(len(x))]


def longest_common(x, y):
    return max(
        size
        for size in range(len(x) + 1)
        if set(itertools.combinations(x, size)) & set(itertools.combinations(y, size))
    )


def by_definition(a, b, k):
    near_a, near_b, rows = neighbours(a, k), neighbours(b, k), range(len(a))

    def centred(x):
        kernel = unit(x) @ unit(x).T
        out, n = np.zeros_like(kernel), len(x)
        for i, j in itertools.permutations(range(n), 2):
            row = sum(kernel[i, q] for q in range(n) if q != i) / (n - 2)
            column = sum(kernel[q, j] for q in range(n) if q != j) / (n - 2)
            whole = sum(kernel[p, q] for p, q in itertools.permutations(range(n), 2)) / ((n - 1) * (n - 2))
            out[i, j] = kernel[i, j] - row - column + whole
        return out

    ka, kb = centred(a), centred(b)
    both = sum(ka[i, j] * kb[i, j] for i in rows for j in near_a[i] if j in near_b[i])
    own = [sum(kernel[i, j] ** 2 for i in rows for j in near[i]) for kernel, near in ((ka, near_a), (kb, near_b))]
    return {
        "mutual_knn": np.mean([len(set(near_a[i]) & set(near_b[i])) / k for i in rows]),
        "cycle_knn": np.mean([any(i in near_a[j] for j in near_b[i]) for i in rows]),
        "lcs_knn": np.mean([longest_common(near_a[i], near_b[i]) / k for i in rows]),
        "cknna": both / np.sqrt(own[0] * own[1]),
    }


@pytest.mark.parametrize("k", [1, 4])
def test_equals_the_definitions(k):
    a, b = drawn(14)
    found = r.representation_alignment(a, 3 * b, k=k)
    for name, wanted in by_definition(a, b, k).items():
        assert getattr(found, name) == pytest.approx(wanted)
    assert found.unbiased_cka == pytest.approx(cka(a, b))


def test_all_neighbours_give_unbiased_cka_of_unit_rows():
    a, b = drawn(20)
    assert cknna(a, b, k=19) == pytest.approx(cka(unit(a), unit(b)))
    found = r.representation_alignment(a, b, k=19)
    assert found.mutual_knn == 1
    assert np.isnan(found.intervals["mutual_knn"]).all()


def test_rotation_and_scale_of_either_space_change_nothing():
    a, b = drawn()
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(5, 5)))[0]
    one, other = r.representation_alignment(a, b, k=5), r.representation_alignment(a, 9 * b @ turn, k=5)
    for name in NUMBERS:
        assert getattr(one, name) == pytest.approx(getattr(other, name))
        assert one.intervals[name] == pytest.approx(other.intervals[name])
    same = r.representation_alignment(b, 9 * b @ turn, k=5)
    assert [getattr(same, n) for n in NUMBERS if n != "cycle_knn"] == pytest.approx([1] * 5)


def test_chance_is_the_mean_over_all_pairings():
    a, b = drawn(6)
    orders = [list(p) for p in itertools.permutations(range(6))]
    near_a, near_b = (nearest(unit(x), 2, seed) for seed, x in enumerate((a, b)))
    all_found = {name: [] for name in ("mutual_knn", "cycle_knn", "cknna", "lcs_knn")}
    for p in orders:
        near = nearest(unit(b[p]), 2, 1)
        all_found["mutual_knn"].append(r.mutual(near_a, near).mean())
        all_found["cycle_knn"].append(r.cycle(near_a, near).mean())
        all_found["lcs_knn"].append(r.common_order(near_a, near).mean())
        all_found["cknna"].append(cknna(a, b[p], k=2))
    chance = r.representation_alignment(a, b, k=2).chance
    for name in ("mutual_knn", "cycle_knn", "cknna"):
        assert chance[name] == pytest.approx(np.mean(all_found[name]))
    many = r._order_chance(near_a, near_b, seed=0, draws=4000)
    assert many == pytest.approx(np.mean(all_found["lcs_knn"]), abs=0.01)


def test_independent_spaces_score_by_chance():
    rng = np.random.default_rng(0)
    found = [r.representation_alignment(*rng.normal(size=(2, 100, 8)), k=5, blocks=3) for _ in range(40)]
    assert found[0].chance["mutual_knn"] == 5 / 99
    for name in NUMBERS:
        above = np.array([getattr(f, name) - f.chance[name] for f in found])
        assert abs(above.mean()) < 4 * above.std() / np.sqrt(40)
        assert above.std() < 0.1


def test_two_collapsed_spaces_agree_only_by_chance():
    same = np.ones((200, 3))
    near = [nearest(unit(same), 10, seed) for seed in (0, 1)]
    assert r.mutual(*near).mean() == pytest.approx(10 / 199, abs=0.02)
    assert np.isnan(cknna(same, same, k=10))


def test_leaving_rows_out_of_the_lists_is_as_if_they_had_not_been_there(monkeypatch):
    x = unit(drawn(50)[0])
    kept = np.sort(np.random.default_rng(3).permutation(50)[:45])
    again = nearest(x[kept], 6, 0)
    left = nearest(x, 20, 0).among(kept).first(6)
    assert np.array_equal(left.rows, again.rows)
    assert left.cosines == pytest.approx(again.cosines)
    monkeypatch.setattr("plait.measures.space._neighbours._BLOCK", 300)
    assert np.array_equal(nearest(x[kept], 6, 0).rows, again.rows)


def test_the_interval_is_that_of_leaving_each_group_out():
    a, b = drawn(90)
    group = np.repeat(np.arange(3), 30)
    a += 20 * np.eye(4)[group]
    # of the neighbours that are found at first for this row, none is left when the group around it is left out
    group[0] = 1
    found = r.representation_alignment(a, b, k=3, groups=group)
    without = []
    for g in range(3):
        x, y = a[group != g], b[group != g]
        pairs = zip(neighbours(x, 3), neighbours(y, 3), strict=True)
        without.append(np.mean([len(set(p) & set(q)) / 3 for p, q in pairs]))
    half = t.ppf(0.975, 2) * np.sqrt(2 / 3 * np.sum((without - np.mean(without)) ** 2))
    wanted = np.clip([found.mutual_knn - half, found.mutual_knn + half], 0, 1)
    assert found.intervals["mutual_knn"] == pytest.approx(tuple(wanted))


def test_the_interval_covers():
    rng = np.random.default_rng(0)
    found = [r.representation_alignment(*drawn(80, rng), k=5, seed=i) for i in range(60)]
    for name in NUMBERS:
        values = np.array([getattr(f, name) for f in found])
        ends = np.array([f.intervals[name] for f in found])
        assert np.mean((ends[:, 0] <= values.mean()) & (values.mean() <= ends[:, 1])) >= 0.9
        assert np.mean(ends[:, 1] - ends[:, 0]) < 2.2 * 2 * 2.1 * values.std()


def test_account_is_plain_data():
    account = json.loads(json.dumps(r.representation_alignment(*drawn(), k=4).account()))
    assert set(account["intervals"]) == set(account["chance"]) == set(NUMBERS)
    assert all(low <= account[name] <= high for name, (low, high) in account["intervals"].items())


def test_what_does_not_fit_is_refused():
    a, b = drawn(10)
    with pytest.raises(ValueError, match="10 rows have 1 to 9 neighbours each, found k = 10"):
        r.representation_alignment(a, b, k=10)
    with pytest.raises(ValueError, match="k = 0"):
        cknna(a, b, k=0)
    with pytest.raises(ValueError, match="equally many"):
        r.representation_alignment(a, b[1:])
    a[3, 2] = np.nan
    with pytest.raises(ValueError, match="a: 1 of 10 rows have NaN"):
        r.representation_alignment(a, b, k=3)

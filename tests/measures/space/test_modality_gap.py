import json

import numpy as np
import pytest

from plait.measures.space.modality_gap import centroid_distance, held_out_accuracy, modality_gap


def von_mises_fisher(direction, concentration, rows, rng):
    """On the sphere in three dimensions, by inverting the distribution of the cosine to the direction."""
    cosine = 1 + np.log((u := rng.random(rows)) + (1 - u) * np.exp(-2 * concentration)) / concentration
    direction = direction / np.linalg.norm(direction)
    base = np.linalg.svd(direction[None])[2][1:]
    angle = rng.random(rows) * 2 * np.pi
    around = np.cos(angle)[:, None] * base[0] + np.sin(angle)[:, None] * base[1]
    return cosine[:, None] * direction + np.sqrt(1 - cosine**2)[:, None] * around


def rotation(width, seed=0):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(width, width)))[0]


def noisy_pairs(rows=60, width=6, shift=0.5, seed=0):
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=(rows, width))
    return [shared + 0.3 * rng.normal(size=(rows, width)) + sign * shift for sign in (1, -1)]


NUMBERS = ("distance", "relative", "within_a", "within_b", "paired", "unpaired", "separability")


def test_two_shifted_clouds_have_the_closed_form():
    rng = np.random.default_rng(0)
    kappa, m_a, m_b = 4.0, np.array([0, 0, 1.0]), np.array([np.sin(1), 0, np.cos(1)])
    length = 1 / np.tanh(kappa) - 1 / kappa
    a, b = (von_mises_fisher(m, kappa, 20_000, rng) for m in (m_a, m_b))
    found = modality_gap(a, 3 * b, draws=20)
    gap = length * np.linalg.norm(m_a - m_b)
    assert found.distance == pytest.approx(gap, abs=0.01)
    assert found.within_a == pytest.approx(length**2, abs=0.01)
    assert found.unpaired == pytest.approx(length**2 * np.cos(1), abs=0.01)
    assert found.paired == pytest.approx(found.unpaired, abs=0.02)
    assert found.relative == pytest.approx(gap / np.sqrt(2 - 2 * length**2 * np.cos(1)), abs=0.01)


def test_means_are_those_over_all_pairs_of_rows():
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in noisy_pairs(30))
    groups = np.arange(30) // 2
    for given in (None, groups):
        found = modality_gap(a, b, groups=given, draws=10)
        apart = [(i, j) for i in range(30) for j in range(30) if (i != j if given is None else i // 2 != j // 2)]
        assert found.within_a == pytest.approx(np.mean([a[i] @ a[j] for i, j in apart]))
        assert found.unpaired == pytest.approx(np.mean([a[i] @ b[j] for i, j in apart]))
        assert found.paired == pytest.approx(np.mean([x @ y for x, y in zip(a, b, strict=True)]))
        square = np.mean([np.sum((a[i] - b[j]) ** 2) for i, j in apart])
        assert found.relative == pytest.approx(found.distance / np.sqrt(square))


def test_equal_clouds_have_no_gap():
    a, _ = noisy_pairs()
    found = modality_gap(a, a, draws=50)
    assert (found.distance, found.relative, centroid_distance(a, a)) == (0, 0, 0)
    assert found.intervals["distance"] == (0, 0)
    assert found.separability == 0.5
    shuffled = modality_gap(a, a[np.random.default_rng(1).permutation(len(a))], draws=50)
    assert shuffled.distance == 0
    assert centroid_distance(a, a[::-1]) == pytest.approx(0, abs=1e-15)


def test_a_common_rotation_and_the_lengths_change_nothing_and_swapping_swaps():
    a, b = noisy_pairs()
    turn, long = rotation(6), np.random.default_rng(2).uniform(0.1, 9, (60, 1))
    found, turned, swapped = modality_gap(a, b), modality_gap(long * a @ turn, b @ turn), modality_gap(b, a)
    for name in NUMBERS:
        assert getattr(turned, name) == pytest.approx(getattr(found, name), abs=1e-9)
    for name in set(NUMBERS) - {"within_a", "within_b", "separability"}:
        assert getattr(swapped, name) == pytest.approx(getattr(found, name), abs=1e-9)
    assert (swapped.within_a, swapped.within_b) == pytest.approx((found.within_b, found.within_a))


def test_the_distance_is_unbiased_in_the_square_where_the_plain_one_is_not():
    rng = np.random.default_rng(0)
    kappa, directions = 2.0, (np.array([0, 0, 1.0]), np.array([0.3, 0, 1.0]))
    length = 1 / np.tanh(kappa) - 1 / kappa
    unit = [m / np.linalg.norm(m) for m in directions]
    wanted = length**2 * np.sum((unit[0] - unit[1]) ** 2)
    plain, square = [], []
    for _ in range(2000):
        a, b = (von_mises_fisher(m, kappa, 12, rng) for m in directions)
        plain.append(centroid_distance(a, b) ** 2)
        d = a - b
        square.append((np.sum(d.sum(0) ** 2) - np.sum(d**2)) / (12 * 11))
    found = modality_gap(a, b, folds=2, draws=1)
    assert found.distance**2 == pytest.approx(max(0, square[-1]))
    assert np.mean(plain) > wanted + 0.05
    assert abs(np.mean(square) - wanted) < 4 * np.std(square) / np.sqrt(2000)


def test_separability_is_chance_for_one_cloud_and_1_for_two():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 400, 5))
    one = modality_gap(a, b, draws=200)
    low, high = one.intervals["separability"]
    assert low <= 0.5 <= high
    apart = modality_gap(a + 9, b - 9, draws=200)
    assert apart.separability == 1
    assert apart.intervals["separability"][0] > 0.98


def test_a_thin_gap_is_fully_separable():
    rng = np.random.default_rng(0)
    a, b = (np.column_stack([rng.normal(size=(300, 4)), np.full(300, side)]) for side in (0.2, -0.2))
    found = modality_gap(a, b, draws=20)
    assert found.relative < 0.5
    assert found.separability > 0.95


def test_twins_across_folds_do_not_push_below_chance():
    a = np.random.default_rng(0).normal(size=(40, 60))
    assert held_out_accuracy(a, a + 1e-9).mean() == pytest.approx(0.5, abs=0.15)


def test_copies_across_folds_do_not_make_clouds_separable():
    copies = np.repeat(np.arange(30), 5)
    a, b = np.random.default_rng(0).normal(size=(2, 30, 100))[:, copies]
    assert held_out_accuracy(a, b).mean() > 0.9
    assert held_out_accuracy(a, b, groups=copies).mean() == pytest.approx(0.5, abs=0.2)


def test_account_is_plain_data():
    found = modality_gap(*noisy_pairs(), draws=50)
    account = json.loads(json.dumps(found.account()))
    assert account["rows"] == 60
    assert set(account["intervals"]) == set(NUMBERS)
    for name, (low, high) in account["intervals"].items():
        assert low <= account[name] <= high


def test_what_does_not_fit_is_refused():
    a, b = noisy_pairs()
    with pytest.raises(ValueError, match=r"equal shapes, found \(60, 6\) and \(59, 6\)"):
        modality_gap(a, b[1:])
    with pytest.raises(ValueError, match="row 3 is 0"):
        modality_gap(a, np.where(np.arange(60)[:, None] == 3, 0, b))
    with pytest.raises(ValueError, match="1 of 60 rows have NaN"):
        modality_gap(np.where(np.arange(60)[:, None] == 3, np.nan, a), b)
    with pytest.raises(ValueError, match="folds"):
        modality_gap(a[:3], b[:3])
    with pytest.raises(ValueError, match="group"):
        modality_gap(a, b, groups=np.arange(5))


@pytest.mark.slow
@pytest.mark.parametrize("shift", [0.0, 0.1, 0.6])
def test_the_interval_covers(shift):
    rng = np.random.default_rng(1)
    kappa, directions = 2.0, (np.array([0, 0, 1.0]), np.array([np.sin(shift), 0, np.cos(shift)]))
    wanted = (1 / np.tanh(kappa) - 1 / kappa) * np.linalg.norm(directions[0] - directions[1])
    inside = []
    for seed in range(300):
        a, b = (von_mises_fisher(m, kappa, 60, rng) for m in directions)
        low, high = modality_gap(a, b, folds=2, draws=300, seed=seed).intervals["distance"]
        inside.append(low <= wanted <= high)
    assert np.mean(inside) > 0.91

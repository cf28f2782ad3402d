import json

import numpy as np
import pytest

from plait.measures.space.blind_pairs import blind_pairs, pair_quantiles, random_pairs


def two_encoders(rows=60, seed=0):
    """b sees a factor that a does not."""
    rng = np.random.default_rng(seed)
    seen, hidden = rng.integers(0, 3, rows), rng.integers(0, 2, rows)
    a = np.eye(3)[seen] + 0.02 * rng.normal(size=(rows, 3))
    b = np.column_stack([np.eye(3)[seen], 2 * np.eye(2)[hidden]]) + 0.02 * rng.normal(size=(rows, 5))
    return a, b, seen, hidden


def cosine(x, i, j):
    return x[i] @ x[j] / np.linalg.norm(x[i]) / np.linalg.norm(x[j])


def test_finds_the_pairs_that_differ_in_what_one_encoder_does_not_see():
    a, b, seen, hidden = two_encoders()
    wanted = {(i, j) for i in range(60) for j in range(i) if seen[i] == seen[j] and hidden[i] != hidden[j]}
    found = blind_pairs(a, b)
    assert {(j, i) for i, j in found.pairs.tolist()} == wanted
    assert found.share == pytest.approx(len(wanted) / (60 * 59 / 2))
    assert blind_pairs(b, a).pairs.shape == (0, 2)
    assert found.cosine_a == pytest.approx([cosine(a, i, j) for i, j in found.pairs])
    assert found.cosine_b == pytest.approx([cosine(b, i, j) for i, j in found.pairs])
    assert (np.diff(found.cosine_a - found.cosine_b) <= 1e-12).all()


def test_equal_encoders_up_to_rotation_and_length_have_none():
    x = np.random.default_rng(0).normal(size=(80, 4))
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(4, 4)))[0]
    found = blind_pairs(x, 5 * x @ turn, near=0.5, far=0.49)
    assert (len(found.pairs), found.share, found.intervals["share"]) == (0, 0, (0, 0))


def test_stricter_thresholds_find_a_subset():
    a, b = np.random.default_rng(0).normal(size=(2, 100, 3))
    looser = {tuple(p) for p in blind_pairs(a, b, near=0.6, far=0.1, draws=1).pairs}
    for near, far in ((0.8, 0.1), (0.6, -0.3), (0.8, -0.3)):
        stricter = {tuple(p) for p in blind_pairs(a, b, near=near, far=far, draws=1).pairs}
        assert 0 < len(stricter) < len(looser)
        assert stricter < looser


def test_rows_of_one_group_are_no_pair():
    a, b, seen, _ = two_encoders()
    found = blind_pairs(a, b, groups=seen)
    assert len(found.pairs) == 0
    groups = np.arange(60) // 2
    found = blind_pairs(a, b, groups=groups)
    everything = {tuple(p) for p in blind_pairs(a, b).pairs}
    assert {tuple(p) for p in found.pairs} == {(i, j) for i, j in everything if i // 2 != j // 2}
    assert found.share == pytest.approx(len(found.pairs) / (60 * 59 / 2 - 30))


def test_blocks_give_the_same(monkeypatch):
    a, b, *_ = two_encoders()
    whole = blind_pairs(a, b, draws=1).pairs
    monkeypatch.setattr("plait.measures.space.blind_pairs._BLOCK", 60 * 7)
    assert {tuple(p) for p in blind_pairs(a, b, draws=1).pairs} == {tuple(p) for p in whole}


def test_the_interval_covers():
    inside = []
    for seed in range(100):
        a, b, *_ = two_encoders(40, seed)
        low, high = blind_pairs(a, b, seed=seed, draws=300).intervals["share"]
        inside.append(low <= 1 / 6 <= high)
    assert np.mean(inside) >= 0.88


def test_random_pairs_are_different_and_evenly_drawn():
    everything = random_pairs(7, 21)
    assert len({tuple(p) for p in everything}) == 21
    assert (everything[:, 0] < everything[:, 1]).all()
    groups = np.array([0, 0, 1, 1, 2, 2])
    assert {tuple(p) for p in random_pairs(6, 12, groups=groups)}.isdisjoint({(0, 1), (2, 3), (4, 5)})
    counted = np.zeros((6, 6))
    for seed in range(3000):
        i, j = random_pairs(6, 2, seed=seed).T
        counted[i, j] += 1
    assert counted[np.triu_indices(6, 1)] / 3000 == pytest.approx(np.full(15, 2 / 15), abs=0.03)
    with pytest.raises(ValueError, match="have 12 pairs, found count = 13"):
        random_pairs(6, 13, groups=groups)


def test_quantiles_of_pairs():
    x = np.random.default_rng(0).normal(size=(300, 5))
    wanted = np.quantile([cosine(x, i, j) for i in range(300) for j in range(i)], [0.1, 0.99])
    assert pair_quantiles(x, [0.1, 0.99]) == pytest.approx(wanted)
    assert pair_quantiles(x, [0.1, 0.99], most=10_000) == pytest.approx(wanted, abs=0.03)


def test_account_and_what_does_not_fit():
    a, b, *_ = two_encoders(10)
    account = json.loads(json.dumps(blind_pairs(a, b).account()))
    assert len(account["pairs"]) == len(account["cosine_a"])
    with pytest.raises(ValueError, match="near > far"):
        blind_pairs(a, b, near=0.5, far=0.5)
    with pytest.raises(ValueError, match="equally many rows"):
        blind_pairs(a, b[1:])
    with pytest.raises(ValueError, match="only one"):
        blind_pairs(a, b, groups=np.zeros(10))

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from scipy.optimize import minimize

from plait.data.sets.factors import information
from plait.measures.information.interaction_bounds import (
    interaction_bounds,
    known_bounds,
    least_entropy,
    most_entropic,
)
from plait.measures.information.partial_information import decompose

Array = np.ndarray


def drawn(seed: int, shape: tuple[int, ...], spread: float = 1.0) -> Array:
    return np.random.default_rng(seed).dirichlet(np.full(np.prod(shape), spread)).reshape(shape)


def tables(joint: Array) -> tuple[Array, Array, Array]:
    return joint.sum(1), joint.sum(0), joint.sum(2)


def entropy(p: Array) -> float:
    return -sum(v * np.log2(v) for v in p.ravel() if v > 0)


def xor() -> Array:
    joint = np.zeros((2, 2, 2))
    for a, b in itertools.product(range(2), repeat=2):
        joint[a, b, a ^ b] = 0.25
    return joint


def test_bounds_hold_the_synergy_of_random_distributions() -> None:
    for seed in range(200):
        shape = tuple(np.random.default_rng(seed).integers(2, 5, 3))
        joint = drawn(seed, shape, (1.0, 0.3, 0.1, 3.0)[seed % 4])
        found, truth = known_bounds(*tables(joint)), decompose(joint).synergistic
        assert found.lower - 1e-6 <= truth <= found.upper + 1e-6, seed
        assert found.disagreement <= found.lower + 1e-6, seed


def test_squared_distance_without_a_constant_is_no_bound() -> None:
    """The constant is 1 / (4 ln 2), with the mean of the unique parts; without it, the bound is broken."""
    broken = 0
    for seed in range(100):
        joint = drawn(seed, (2, 2, 2), 0.3)
        found = decompose(joint)
        one, two = (p / np.maximum(p.sum(1, keepdims=True), 1e-300) for p in (joint.sum(1), joint.sum(0)))
        square = np.sum(joint.sum(2) * ((one[:, None] - two[None]) ** 2).sum(2))
        valid = square / (4 * np.log(2)) - (found.unique_first + found.unique_second) / 2
        assert valid <= known_bounds(*tables(joint)).lower + 1e-6
        broken += square - max(found.unique_first, found.unique_second) > found.synergistic + 1e-3
    assert broken > 0


def test_lower_is_the_synergy_of_a_distribution_with_these_tables() -> None:
    for seed in range(10):
        joint = drawn(seed, (3, 2, 4))
        q, bound = most_entropic(*tables(joint))
        assert all(np.abs(a - b).max() < 1e-8 for a, b in zip(tables(q), tables(joint), strict=True))
        assert bound == pytest.approx(entropy(q), abs=1e-7)
        assert known_bounds(*tables(joint)).lower == pytest.approx(decompose(q).synergistic, abs=1e-6)


def test_most_entropic_agrees_with_a_general_solver() -> None:
    for seed in range(4):
        joint = drawn(seed, (2, 3, 2))
        constraint = np.array([np.concatenate([t.ravel() for t in tables(e.reshape(joint.shape))]) for e in np.eye(12)])
        basis = np.linalg.svd(constraint.T)[2][np.linalg.matrix_rank(constraint) :]

        def value(z: Array, joint: Array = joint, basis: Array = basis) -> float:
            q = joint.ravel() + z @ basis
            return -entropy(q) if q.min() >= 0 else np.inf

        options = {"xatol": 1e-9, "fatol": 1e-12, "initial_simplex": 1e-3 * np.array([[0, 0], [1, 0], [0, 1]])}
        found = minimize(value, np.zeros(2), method="Nelder-Mead", options=options)
        assert most_entropic(*tables(joint))[1] == pytest.approx(-found.fun, abs=1e-6)


def test_the_bound_on_entropy_holds_also_when_scaling_is_cut_short() -> None:
    for seed in range(20):
        joint = drawn(seed, (3, 3, 3), 0.3)
        for rounds in (1, 3, 10):
            assert most_entropic(*tables(joint), rounds=rounds)[1] >= entropy(joint) - 1e-9


def corners(p: Array, q: Array) -> list[Array]:
    """All couplings that are corners, where the entropy is least: fill cells in every order."""
    found = []
    for order in itertools.permutations(itertools.product(range(len(p)), range(len(q)))):
        left, right, joint = p.copy(), q.copy(), np.zeros((len(p), len(q)))
        for i, j in order:
            joint[i, j] = min(left[i], right[j])
            left[i], right[j] = left[i] - joint[i, j], right[j] - joint[i, j]
        found.append(joint)
    return found


def greedy(p: Array, q: Array) -> float:
    p, q, parts = p.copy(), q.copy(), []
    while p.max() > 1e-12:
        parts.append(min(p.max(), q.max()))
        p[p.argmax()] -= parts[-1]
        q[q.argmax()] -= parts[-1]
    return entropy(np.array(parts))


def test_least_entropy_is_below_every_coupling_and_greedy_is_above_the_least() -> None:
    apart = []
    for seed in range(12):
        p, q = drawn(seed, (2,)), drawn(seed + 100, (3,))
        least = min(map(entropy, corners(p, q)))
        assert max(entropy(p), entropy(q)) - 1e-12 <= least_entropy(p, q) <= least + 1e-12
        assert greedy(p, q) >= least - 1e-9
        apart.append(least - least_entropy(p, q))
    assert least_entropy(p, p) == pytest.approx(entropy(p))
    assert max(apart) > 0.01


def test_known_cases() -> None:
    found = known_bounds(*tables(xor()))
    assert found.lower == pytest.approx(0, abs=1e-6)
    assert found.upper == pytest.approx(1, abs=1e-6)
    copied = np.zeros((3, 3, 2))
    copied[range(3), range(3)] = drawn(0, (3, 2))
    found = known_bounds(*tables(copied))
    assert found.lower == pytest.approx(0, abs=1e-6)
    assert found.upper == pytest.approx(0, abs=1e-6)
    # what two coins say of AND is decided by their tables
    both = np.zeros((2, 2, 2))
    for a, b in itertools.product(range(2), repeat=2):
        both[a, b, a & b] = 0.25
    found = known_bounds(*tables(both))
    assert found.lower == pytest.approx(0.5, abs=5e-3)
    assert found.upper == pytest.approx(0.5, abs=1e-6)
    assert found.disagreement == pytest.approx(0.25, abs=1e-6)


@pytest.mark.parametrize("knobs", [{"synergy": 1}, {"shared": 1, "unique": 1}, {"shared": 1, "synergy": 1}])
def test_made_up_bits_lie_between(knobs: dict[str, int]) -> None:
    truth = information(**({"shared": 0, "unique": 0} | knobs))["y"]
    codes = [sorted({outcome[place] for outcome in truth.joint}) for place in range(3)]
    joint = np.zeros([len(values) for values in codes])
    for outcome, p in truth.joint.items():
        joint[tuple(values.index(part) for values, part in zip(codes, outcome, strict=True))] = p
    found = known_bounds(*tables(joint))
    assert found.lower - 1e-6 <= truth.synergistic() <= found.upper + 1e-6
    # no bit of the target is left for a synergy that is not there
    assert found.upper == pytest.approx(truth.synergistic(), abs=1e-6)


def sampled(joint: Array, sizes: tuple[int, int, int], rng: np.random.Generator) -> list[tuple[Array, Array]]:
    """Three samples without a row in common."""
    found = []
    for size, places in zip(sizes, ((0, 2), (1, 2), (0, 1)), strict=True):
        rows = np.unravel_index(rng.choice(joint.size, size, p=joint.ravel()), joint.shape)
        found.append((rows[places[0]], rows[places[1]]))
    return found


def test_large_samples_give_the_known_bounds() -> None:
    rng = np.random.default_rng(0)
    joint = drawn(1, (3, 3, 2))
    known, found = known_bounds(*tables(joint)), interaction_bounds(*sampled(joint, (200_000,) * 3, rng), draws=0)
    assert found.lower == pytest.approx(known.lower, abs=3e-3)
    assert found.upper == pytest.approx(known.upper, abs=1e-2)
    assert found.disagreement == pytest.approx(known.disagreement, abs=3e-3)


def test_samples_with_all_rows_in_common_give_the_bounds_of_their_table() -> None:
    rng = np.random.default_rng(0)
    one, two, y = rng.integers(0, (3, 2, 2), (300, 3)).T
    counts = np.zeros((3, 2, 2))
    np.add.at(counts, (one, two, y), 1)
    names = np.array(["x", "y", "z"])[one]
    found = interaction_bounds((names, y), (two, y), (names, two), draws=0)
    known = known_bounds(*tables(counts))
    assert (found.lower, found.upper) == pytest.approx((known.lower, known.upper), abs=1e-6)


@pytest.mark.slow
def test_intervals_of_samples_hold_the_synergy() -> None:
    rng = np.random.default_rng(0)
    hits = []
    for seed in range(40):
        joint = drawn(seed, (2, 3, 2), (1.0, 0.3)[seed % 2])
        found = interaction_bounds(*sampled(joint, (300, 400, 500), rng), seed=seed, draws=40)
        hits.append(found.interval[0] - 1e-6 <= decompose(joint).synergistic <= found.interval[1] + 1e-6)
    assert np.mean(hits) >= 0.95


def test_account_is_plain_and_seeds_repeat() -> None:
    samples = sampled(drawn(0, (2, 2, 2)), (100, 90, 80), np.random.default_rng(0))
    found = interaction_bounds(*samples, draws=10, seed=3)
    assert json.loads(json.dumps(found.account()))["interval"] == list(found.interval)
    assert found == interaction_bounds(*samples, draws=10, seed=3)


def test_what_is_refused() -> None:
    joint = drawn(0, (2, 2, 2))
    one, two, pairs = tables(joint)
    with pytest.raises(ValueError, match=r"about p\(y\)"):
        known_bounds(one, two[:, ::-1], pairs)
    with pytest.raises(ValueError, match=r"about p\(x1\)"):
        known_bounds(one, two, pairs[::-1])
    with pytest.raises(ValueError, match="not all 0"):
        known_bounds(one, two, joint)
    y = np.array([0, 1, 0])
    with pytest.raises(ValueError, match="equally many rows"):
        interaction_bounds((y, y[:2]), (y, y), (y, y))
    with pytest.raises(ValueError, match="'second' has absent"):
        interaction_bounds((y, y), (np.array([0, np.nan, 1]), y), (y, y))

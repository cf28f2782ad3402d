from __future__ import annotations

import itertools
import json
import warnings
from collections.abc import Callable

import numpy as np
import pytest
from scipy.optimize import minimize

from plait.data.sets.factors import information
from plait.measures.information import _union
from plait.measures.information.partial_information import (
    ATOMS,
    PartialInformation,
    against_rest,
    decompose,
    pairs,
    partial_information,
)

Array = np.ndarray


def numbers(found: PartialInformation) -> list[float]:
    return [getattr(found, name) for name in ATOMS]


def gate(say: Callable[[int, int], int], values: int = 2, outcomes: int = 2) -> Array:
    joint = np.zeros((values, values, outcomes))
    for a in range(values):
        for b in range(values):
            joint[a, b, say(a, b)] += 1 / values**2
    return joint


def copies() -> Array:
    joint = np.zeros((2, 2, 2))
    joint[0, 0, 0] = joint[1, 1, 1] = 0.5
    return joint


def drawn(seed: int, shape: tuple[int, int, int], spread: float = 1.0) -> Array:
    return np.random.default_rng(seed).dirichlet(np.full(np.prod(shape), spread)).reshape(shape)


def mutual(joint: Array) -> float:
    """I(X1, X2; Y) in bits of [A, B, C], as three entropies."""
    entropy = lambda p: -sum(v * np.log2(v) for v in p.ravel() if v > 0)
    return entropy(joint.sum(2)) + entropy(joint.sum((0, 1))) - entropy(joint)


def coupled(joint: Array, rng: np.random.Generator) -> Array:
    """Another distribution with the same p(x1, y) and p(x2, y): a random start, scaled to them."""
    q = rng.random(joint.shape) + 1e-3
    for _ in range(500):
        q *= (joint.sum(1) / q.sum(1))[:, None]
        q *= (joint.sum(0) / q.sum(0))[None]
    return q


def by_slsqp(joint: Array) -> float:
    """The union by the programme as it is written down."""
    shape = joint.shape
    constraints = []
    for axis, size in ((1, shape[0]), (0, shape[1])):
        for x in range(size):
            for y in range(shape[2]):
                picked = np.zeros(shape)
                picked[(x, slice(None), y) if axis == 1 else (slice(None), x, y)] = 1
                constraints.append(picked.ravel())
    matrix = np.array(constraints)
    # one constraint of each y is the difference of others
    keep = [row for row in range(len(matrix)) if row < shape[0] * shape[2] or row % (shape[1] * shape[2]) >= shape[2]]
    matrix = matrix[keep]
    wanted = matrix @ joint.ravel()

    def value(q: Array) -> float:
        q = np.maximum(q, 1e-12).reshape(shape)
        return float(np.sum(q * np.log(q / q.sum(2, keepdims=True))))

    def slope(q: Array) -> Array:
        q = np.maximum(q, 1e-12).reshape(shape)
        return np.log(q / q.sum(2, keepdims=True)).ravel()

    start = (joint.sum(1)[:, None] * joint.sum(0)[None] / joint.sum((0, 1))).ravel()
    rule = {"type": "eq", "fun": lambda q: matrix @ q - wanted, "jac": lambda q: matrix}
    options = {"maxiter": 1000, "ftol": 1e-12}
    found = minimize(value, start, jac=slope, bounds=[(0, 1)] * joint.size, constraints=rule, options=options)
    target = joint.sum((0, 1))
    return float(found.fun - target @ np.log(target)) / np.log(2)


def alternating(joint: Array, rounds: int) -> float:
    """Never below the union, and reaches it in the end: project r(x1, x2) onto what is allowed given y, average."""
    target = joint.sum((0, 1))
    q = joint.sum(1)[:, None] * joint.sum(0)[None] / target
    for _ in range(rounds):
        q = q.sum(2, keepdims=True) * target
        for _ in range(20):
            q = q * (joint.sum(1) / q.sum(1))[:, None]
            q = q * (joint.sum(0) / q.sum(0))[None]
    return mutual(q)


@pytest.mark.parametrize(
    ("joint", "expected"),
    [
        (gate(lambda a, b: a ^ b), [0, 0, 0, 1]),
        (gate(lambda a, b: 2 * a + b, outcomes=4), [0, 1, 1, 0]),
        (gate(lambda a, b: a), [0, 1, 0, 0]),
        (copies(), [1, 0, 0, 0]),
        (gate(lambda a, b: (a // 2) * 2 + (a % 2 ^ b % 2), 4, 4), [0, 1, 0, 1]),
        # Bertschinger et al. 2014, table 1
        (gate(lambda a, b: a & b), [0.311278, 0, 0, 0.5]),
    ],
    ids=["xor", "both unique", "one unique", "copies", "unique and xor", "and"],
)
def test_gates_have_their_published_atoms(joint: Array, expected: list[float]) -> None:
    assert numbers(decompose(joint)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("knobs", [{"synergy": 1}, {"shared": 1, "unique": 1}, {"shared": 2, "synergy": 1}])
def test_agrees_with_the_made_up_bits(knobs: dict[str, int]) -> None:
    truth = information(**({"shared": 0, "unique": 0} | knobs))["y"]
    codes = [sorted({outcome[place] for outcome in truth.joint}) for place in range(3)]
    joint = np.zeros([len(values) for values in codes])
    for outcome, p in truth.joint.items():
        joint[tuple(values.index(part) for values, part in zip(codes, outcome, strict=True))] = p
    expected = [truth.redundant(), truth.unique("a"), truth.unique("b"), truth.synergistic()]
    assert numbers(decompose(joint)) == pytest.approx(expected, abs=1e-6)


def from_dit(joint: Array) -> list[float]:
    dit = pytest.importorskip("dit", reason="dit is the oracle here: pip install plait[dev]")
    outcomes = ["".join(map(str, place)) for place in np.ndindex(joint.shape) if joint[place] > 0]
    distribution = dit.Distribution(outcomes, [joint[tuple(map(int, outcome))] for outcome in outcomes])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(5):
            pid = dit.pid.PID_BROJA(distribution)
            atoms = [pid[node] for node in (((0,), (1,)), ((0,),), ((1,),), ((0, 1),))]
            # It searches from random places and may end short of the optimum, which a negative atom gives away.
            if min(atoms) > -1e-4:
                break
    return atoms


@pytest.mark.parametrize("joint", [gate(lambda a, b: a & b), gate(lambda a, b: a ^ b), copies()])
def test_gates_agree_with_dit(joint: Array) -> None:
    assert numbers(decompose(joint)) == pytest.approx(from_dit(joint), abs=1e-4)


def by_search(joint: Array) -> float:
    """The union of two bits about a bit: q is known from q(0, 0, y), two numbers, on a grid that closes in."""
    one, two = joint.sum(1), joint.sum(0)
    ends = np.maximum(0, one[0] - two[1]), np.minimum(one[0], two[0])
    low, high = ends
    for _ in range(9):
        grid = [np.linspace(low[y], high[y], 13) for y in range(2)]
        found = {}
        for corner in itertools.product(*grid):
            q = np.array([[corner, one[0] - corner], [two[0] - corner, one[1] - two[0] + corner]])
            found[corner] = mutual(np.maximum(q, 0))
        best = min(found, key=found.get)
        width = (high - low) / 6
        low, high = np.maximum(ends[0], best - width), np.minimum(ends[1], best + width)
    return found[best]


def test_bits_agree_with_a_search_over_all_that_is_allowed() -> None:
    for seed in range(10):
        joint = drawn(seed, (2, 2, 2))
        assert decompose(joint).together() - decompose(joint).synergistic == pytest.approx(by_search(joint), abs=1e-7)


@pytest.mark.slow
def test_dit_finds_nothing_lower_on_random_bits() -> None:
    """Its search is random and a little outside what is allowed: on some of these it stops far above, and an atom is
    negative; on some it is 1e-4 below."""
    away = []
    for seed in range(50):
        joint = drawn(seed, (2, 2, 2))
        found, oracle = numbers(decompose(joint)), from_dit(joint)
        assert oracle[3] < found[3] + 5e-4, seed
        away.append(np.abs(np.subtract(found, oracle)).max())
    assert np.sum(np.array(away) < 1e-4) >= 10


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("shape", [(3, 3, 3), (4, 3, 2), (2, 5, 4)])
def test_larger_alphabets_agree_with_the_programme_written_down(shape: tuple[int, int, int], seed: int) -> None:
    joint = drawn(seed, shape)
    union = decompose(joint).together() - decompose(joint).synergistic
    # either can stop early at the boundary, and is then above
    assert union == pytest.approx(min(by_slsqp(joint), alternating(joint, 300)), abs=1e-4)
    assert union < alternating(joint, 300) + 1e-7


def test_large_alphabets_are_solved_to_the_optimum() -> None:
    joint = drawn(0, (20, 20, 10), 0.3)
    union = _union.union_information(joint.sum(1), joint.sum(0))
    assert union - 1e-7 <= alternating(joint, 300) <= union + 2e-3


def test_constraints_that_bend_much_near_the_boundary_are_solved_too() -> None:
    """Tables that a step far ahead is cut short on, all 200 times."""
    no = [0, 2, 5, 5, 9, 4, 11, 7, 9, 11, 9, 4, 13, 8, 14], [1, 2, 7, 3, 18, 9, 4, 6, 12, 22, 9, 7, 8, 3]
    yes = [7, 11, 12, 7, 10, 4, 10, 6, 7, 8, 6, 2, 5, 2, 1], [5, 7, 22, 8, 20, 7, 3, 4, 7, 11, 2, 1, 1, 0]
    one, two = (np.array(counts, float).T for counts in zip(no, yes, strict=True))
    fine, rough = (_union.union_information(one, two, gap) for gap in (1e-8, 1e-5))
    assert fine - 1e-5 / np.log(2) <= rough <= fine + 1e-8
    coupling = one[:, None] * two[None] / one.sum(0) + 1e-6
    above = alternating(coupling / coupling.sum(), 1000)
    assert above - 2e-3 <= fine <= above + 1e-5


def test_what_is_not_found_says_how_far_off_it_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    joint = drawn(0, (4, 4, 2))
    union = _union.union_information(joint.sum(1), joint.sum(0))
    monkeypatch.setattr(_union, "STEPS", 8)
    with pytest.raises(ArithmeticError, match="may be") as error:
        _union.union_information(joint.sum(1), joint.sum(0))
    assert float(str(error.value).split()[-2]) > 1e-8
    # and the value that was reached is a bound from below
    monkeypatch.setattr(_union, "STEPS", 30)
    assert _union.union_information(joint.sum(1), joint.sum(0), 0.1) <= union + 1e-9


def test_nothing_that_is_allowed_is_below_the_union() -> None:
    rng = np.random.default_rng(0)
    for seed in range(5):
        joint = drawn(seed, (3, 4, 3), 0.5)
        union = decompose(joint).together() - decompose(joint).synergistic
        assert all(mutual(coupled(joint, rng)) >= union - 1e-7 for _ in range(5))


@pytest.mark.parametrize("spread", [1.0, 0.1, 0.02])
def test_atoms_are_not_negative_and_add_up(spread: float) -> None:
    for seed in range(15):
        joint = drawn(seed, (4, 3, 5), spread)
        found = decompose(joint)
        assert min(numbers(found)) >= 0
        assert sum(numbers(found)) == pytest.approx(mutual(joint), abs=1e-6)
        assert found.first() == pytest.approx(mutual(joint.sum(1, keepdims=True)), abs=1e-6)
        assert found.second() == pytest.approx(mutual(joint.sum(0, keepdims=True)), abs=1e-6)


def test_invariances() -> None:
    rng = np.random.default_rng(3)
    joint = drawn(3, (3, 4, 3))
    found = numbers(decompose(joint))
    order = [rng.permutation(size) for size in joint.shape]
    assert numbers(decompose(joint[np.ix_(*order)] * 17)) == pytest.approx(found, abs=1e-7)
    redundant, one, two, synergistic = found
    assert numbers(decompose(joint.transpose(1, 0, 2))) == pytest.approx([redundant, two, one, synergistic], abs=1e-7)
    # a value that is only another name of one, and values that never occur
    split = np.concatenate([joint[:1] * 0.3, joint[:1] * 0.7, joint[1:], np.zeros((2, 4, 3))])
    assert numbers(decompose(split)) == pytest.approx(found, abs=1e-7)


def test_a_source_that_is_a_noisy_copy_has_nothing_unique() -> None:
    one = drawn(5, (3, 1, 3))[:, 0]
    channel = np.random.default_rng(5).dirichlet(np.ones(4), 3)
    found = decompose(np.einsum("ay,ab->aby", one, channel))
    assert found.unique_second == pytest.approx(0, abs=1e-8)
    assert found.synergistic == pytest.approx(0, abs=1e-8)
    assert found.unique_first > 0.01


def test_plug_in_of_samples_is_the_table_of_counts() -> None:
    rng = np.random.default_rng(0)
    rows = rng.integers(0, (3, 4, 2), (200, 3))
    counts = np.zeros((3, 4, 2))
    np.add.at(counts, tuple(rows.T), 1)
    names = [np.array(list("pqrs"))[column] for column in rows.T]
    found = partial_information(*names, draws=0)
    assert numbers(found) == pytest.approx(numbers(decompose(counts)), abs=1e-9)
    assert found.rows == 200
    assert found.intervals == {}


def sampled(joint: Array, size: int, rng: np.random.Generator) -> tuple[Array, ...]:
    return np.unravel_index(rng.choice(joint.size, size, p=joint.ravel()), joint.shape)


def test_correction_takes_the_bias_of_the_plug_in_away() -> None:
    rng = np.random.default_rng(1)
    joint = np.full((3, 3, 3), 1 / 27)
    plain, found = [], []
    for _ in range(8):
        rows = sampled(joint, 150, rng)
        plain.append(partial_information(*rows, draws=0).together())
        found.append(partial_information(*rows, draws=20).together())
    # nothing is known; 8 * 2 / (2 N ln 2) is the first term of the bias
    assert np.mean(plain) == pytest.approx(16 / (300 * np.log(2)), rel=0.3)
    assert np.mean(found) < np.mean(plain) / 3


@pytest.mark.slow
def test_intervals_cover_the_truth() -> None:
    rng = np.random.default_rng(0)
    hits = []
    for seed in range(60):
        joint = drawn(seed, (3, 3, 2))
        found = partial_information(*sampled(joint, 1000, rng), draws=80, seed=seed)
        truth = decompose(joint)
        hits.append([found.intervals[a][0] - 1e-6 <= getattr(truth, a) <= found.intervals[a][1] + 1e-6 for a in ATOMS])
    assert (np.mean(hits, 0) >= 0.88).all(), np.mean(hits, 0)


def test_equal_weights_change_nothing_and_known_ones_undo_a_selection() -> None:
    rng = np.random.default_rng(2)
    joint = drawn(11, (2, 3, 2))
    one, two, y = sampled(joint, 6000, rng)
    plain = partial_information(one, two, y, draws=20)
    assert numbers(partial_information(one, two, y, weights=np.full(6000, 3.0), draws=20)) == numbers(plain)
    seen_rate = np.where((one == 0) & (y == 0), 0.2, 0.9)
    seen = rng.random(6000) < seen_rate
    kept = one[seen], two[seen], y[seen]
    weighted = partial_information(*kept, weights=1 / seen_rate[seen], draws=0)
    naive = partial_information(*kept, draws=0)
    truth = np.array(numbers(decompose(joint)))
    away = [np.abs(np.array(numbers(found)) - truth).max() for found in (weighted, naive)]
    assert away[0] < away[1] / 3
    assert weighted.rows < seen.sum()


def test_a_weight_of_two_is_the_row_twice() -> None:
    rng = np.random.default_rng(4)
    rows = rng.integers(0, 3, (3, 60))
    times = rng.integers(1, 4, 60)
    weighted = partial_information(*rows, weights=times, draws=0)
    assert numbers(weighted) == pytest.approx(numbers(partial_information(*rows.repeat(times, 1), draws=0)), abs=1e-7)


def test_three_modalities() -> None:
    a, b, c = (np.array(list(np.ndindex(2, 2, 2))).repeat(3, 0)).T
    modalities = {"a": a, "b": b, "copy": a}
    two = pairs(modalities, a ^ b, draws=0)
    assert two["a", "b"].synergistic == pytest.approx(1)
    assert sum(numbers(two["a", "copy"])) == pytest.approx(0, abs=1e-9)
    rest = against_rest(modalities, a ^ b, draws=0)
    # the copy knows all that `a` does, so neither is missed; without `b` nothing is known
    assert numbers(rest["a"]) == pytest.approx([0, 0, 1, 0], abs=1e-6)
    assert numbers(rest["b"]) == pytest.approx([0, 0, 0, 1], abs=1e-6)
    whole = against_rest({"a": a, "b": b, "c": c}, a ^ b ^ c, draws=0)
    assert all(numbers(found) == pytest.approx([0, 0, 0, 1], abs=1e-6) for found in whole.values())


def test_groups_widen_the_intervals() -> None:
    rng = np.random.default_rng(6)
    rows = sampled(drawn(1, (2, 2, 2)), 60, rng)
    many = [column.repeat(10) for column in rows]
    wide = partial_information(*many, groups=np.arange(60).repeat(10), draws=60).intervals["unique_first"]
    narrow = partial_information(*many, draws=60).intervals["unique_first"]
    assert wide[1] - wide[0] > 1.5 * (narrow[1] - narrow[0])


def test_account_is_plain() -> None:
    rows = np.random.default_rng(0).integers(0, 2, (3, 50))
    found = partial_information(*rows, draws=10, seed=1)
    again = json.loads(json.dumps(found.account()))
    assert again["redundant"] == found.redundant
    assert again["intervals"]["synergistic"] == list(found.intervals["synergistic"])
    assert found == partial_information(*rows, draws=10, seed=1)


def test_what_is_refused() -> None:
    y = np.array([0, 1, 0, 1])
    with pytest.raises(ValueError, match="absent"):
        partial_information(np.array([0, 1, np.nan, 1]), y, y)
    with pytest.raises(ValueError, match="absent"):
        partial_information(np.array(["a", None, "b", "a"], object), y, y)
    with pytest.raises(ValueError, match="'second': 3"):
        partial_information(y, y[:3], y)
    with pytest.raises(ValueError, match=r"\[N\]"):
        partial_information(y[:, None], y, y)
    with pytest.raises(ValueError, match="positive weight"):
        partial_information(y, y, y, weights=np.array([1, 1, 0, 1]))
    with pytest.raises(ValueError, match="one group"):
        partial_information(y, y, y, groups=np.zeros(4))
    with pytest.raises(ValueError, match="not all 0"):
        decompose(np.zeros((2, 2, 2)))
    with pytest.raises(ValueError, match="disagree"):
        _union.union_information(np.array([[0.5, 0.5]]), np.array([[0.4, 0.6]]))
    with pytest.raises(ValueError, match="two modalities"):
        against_rest({"a": y}, y)
    with pytest.raises(ValueError, match="merge rare values"):
        decompose(drawn(0, (600, 2, 11)))

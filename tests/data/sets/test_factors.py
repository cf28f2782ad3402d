from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from plait.core.errors import DataError
from plait.data.fetch import fetch, source
from plait.data.read import read
from plait.data.sets.factors import Knobs, ceiling, directions, factors, information
from plait.data.table import Table

MANY = 20_000


def column(table: Table, name: str) -> np.ndarray:
    return np.array(table.column(name).to_pylist())


def cells(table: Table, name: str) -> np.ndarray:
    """[N, D] of a table, NaN where absent."""
    rows, blocks = table.vectors(name)
    found = np.full((len(table), table.schema.modalities[name].width), np.nan, np.float32)
    found[rows] = np.concatenate(list(blocks)) if len(rows) else found[:0]
    return found


def differing(one: Table, other: Table) -> set[str]:
    """The columns that are not the same, bit for bit."""
    assert one.names == other.names
    return {name for name in one.names if not one.columns.column(name).equals(other.columns.column(name))}


def apart(rate: float, expected: float, rows: int) -> float:
    """How many standard errors a share is from what it should be."""
    return abs(rate - expected) / math.sqrt(max(expected * (1 - expected), 1e-9) / rows)


def related(x: np.ndarray, y: np.ndarray) -> float:
    """The correlation, times the square root of the rows: standard normal if there is none."""
    return abs(float(np.corrcoef(x, y)[0, 1])) * math.sqrt(len(x))


# what the bits say


def draw_all(**kinds: int) -> dict[tuple[str, str, str], float]:
    """P(a, b, y) of two modalities, written out by hand."""
    found: dict[tuple[str, str, str], float] = {}
    size = kinds["shared"] + 2 * kinds["unique"] + 2 * kinds["synergy"]
    for coins in itertools.product("01", repeat=size):
        left = list(coins)
        shared = [left.pop() for _ in range(kinds["shared"])]
        of_a, of_b = ([left.pop() for _ in range(kinds["unique"])] for _ in "ab")
        x, y = ([left.pop() for _ in range(kinds["synergy"])] for _ in "ab")
        xor = [str(int(i != j)) for i, j in zip(x, y, strict=True)]
        outcome = tuple(
            "".join(("-", *part)) for part in (shared + of_a + x, shared + of_b + y, shared + of_a + of_b + xor)
        )
        found[outcome] = found.get(outcome, 0) + 0.5**size
    return found


@pytest.mark.parametrize(
    ("shared", "unique", "synergy"), [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, 0, 1), (0, 1, 1), (1, 1, 1)]
)
def test_two_modalities_agree_with_dit(shared: int, unique: int, synergy: int) -> None:
    dit = pytest.importorskip("dit", reason="dit is the oracle here: pip install plait[dev]")
    knobs = {"shared": shared, "unique": unique, "synergy": synergy}
    drawn = draw_all(**knobs)
    distribution = dit.Distribution(list(drawn), list(drawn.values()))
    found = information(**knobs)["y"]
    for names, places in ((("a",), [0]), (("b",), [1]), (("a", "b"), [0, 1])):
        oracle = dit.shannon.mutual_information(distribution, places, [2])
        assert found.mutual(*names) == pytest.approx(oracle, abs=1e-9)
    assert found.co_information() == pytest.approx(dit.multivariate.coinformation(distribution), abs=1e-9)
    pid = dit.pid.PID_CCS(distribution)
    said = (found.redundant(), found.unique("a"), found.unique("b"), found.synergistic())
    oracle = [pid[node] for node in (((0,), (1,)), ((0,),), ((1,),), ((0, 1),))]
    np.testing.assert_allclose(said, oracle, atol=1e-3)
    assert said == (shared, unique, unique, synergy)


@pytest.mark.parametrize("kind", ["shared", "pairs", "unique", "synergy", "all"])
def test_three_modalities_agree_with_dit(kind: str) -> None:
    dit = pytest.importorskip("dit", reason="dit is the oracle here: pip install plait[dev]")
    knobs = {"modalities": 3, "shared": 1, "pairs": int(kind == "pairs"), "unique": int(kind == "unique")}
    knobs["synergy"] = int(kind in ("synergy", "all"))
    found = information(**knobs, target=kind)["y"]
    names = {"s": "abc", "p": ["ab", "ac", "bc"], "u": "abc", "x": "abc"}
    coins = ["s"] + [f"p{pair}" for pair in names["p"] if knobs["pairs"]]
    coins += [f"u{m}" for m in "abc" if knobs["unique"]] + [f"x{m}" for m in "abc" if knobs["synergy"]]
    drawn = {}
    for sides in itertools.product((0, 1), repeat=len(coins)):
        at = dict(zip(coins, sides, strict=True))
        has = [[at[c] for c in coins if c == "s" or m in c[1:]] for m in "abc"]
        asked = {
            "shared": [at["s"]],
            "pairs": [at[c] for c in coins if c[0] == "p"],
            "unique": [at[c] for c in coins if c[0] == "u"],
            "synergy": [sum(at[c] for c in coins if c[0] == "x") % 2],
        }
        wanted = [bit for some in asked.values() for bit in some] if kind == "all" else asked[kind]
        drawn[tuple("-" + "".join(map(str, part)) for part in (*has, wanted))] = 0.5 ** len(coins)
    distribution = dit.Distribution(list(drawn), list(drawn.values()))
    for size in (1, 2, 3):
        for places in itertools.combinations(range(3), size):
            oracle = dit.shannon.mutual_information(distribution, list(places), [3])
            assert found.mutual(*("abc"[place] for place in places)) == pytest.approx(oracle, abs=1e-9)
    # Also where the modalities share a bit that is not asked for, which `information` leaves out.
    assert found.co_information() == pytest.approx(dit.multivariate.coinformation(distribution), abs=1e-9)


@pytest.mark.parametrize(
    ("kind", "atoms"),
    [
        ("shared", {(("a",), ("b",), ("c",)): 1}),
        ("pairs", {(("a",), ("b",)): 1, (("a",), ("c",)): 1, (("b",), ("c",)): 1}),
        ("unique", {(("a",),): 1, (("b",),): 1, (("c",),): 1}),
        ("synergy", {(("a", "b", "c"),): 1}),
    ],
)
def test_each_kind_of_bit_is_its_own_atom(kind: str, atoms: dict[tuple[tuple[str, ...], ...], int]) -> None:
    found = information(modalities=3, pairs=1, synergy=1, target=kind)["y"]
    assert found.atoms == {frozenset(map(frozenset, atom)): bits for atom, bits in atoms.items()}


@pytest.mark.parametrize("kind", ["shared", "pairs", "unique", "synergy"])
def test_the_atoms_of_three_modalities_agree_with_dit(kind: str) -> None:
    dit = pytest.importorskip("dit", reason="dit is the oracle here: pip install plait[dev]")
    carried = {"shared": ["0"] * 3, "pairs": ["01", "02", "12"], "unique": ["0", "1", "2"], "synergy": ["0", "1", "2"]}
    drawn: dict[tuple[str, ...], float] = {}
    for coins in itertools.product("01", repeat=1 if kind == "shared" else 3):
        asked = str(coins.count("1") % 2) if kind == "synergy" else "".join(coins)
        outcome = (*("".join(coins[int(place)] for place in own) for own in carried[kind]), asked)
        drawn[outcome] = drawn.get(outcome, 0) + 0.5 ** len(coins)
    pid = dit.pid.PID_CCS(dit.Distribution(list(drawn), list(drawn.values())))
    only = {other: int(other == kind) for other in ("shared", "pairs", "unique", "synergy")}
    found = information(modalities=3, **only)["y"].atoms
    for node in pid._lattice:
        companies = frozenset(frozenset("abc"[place] for place in company) for company in node)
        assert found.get(companies, 0) == pytest.approx(pid[node], abs=1e-3)


def test_atoms_add_up_to_what_every_company_knows() -> None:
    found = information(modalities=3, shared=1, pairs=1, synergy=1, strength=[1, 0.5, 2])["y"]
    for size in (1, 2, 3):
        for company in itertools.combinations("abc", size):
            told = [bits for atom, bits in found.atoms.items() if any(part <= set(company) for part in atom)]
            assert found.mutual(*company) == pytest.approx(sum(told))
    assert found.entropy(target=True) == pytest.approx(1 + 3 + 3 + 1)


def test_a_modality_without_strength_says_nothing() -> None:
    found = information(modalities=3, synergy=1, strength=[1, 1, 0])["y"]
    assert found.mutual("c") == 0
    assert found.mutual() == pytest.approx(1 + 2)
    assert found.synergistic() == found.unique("c") == 0
    assert found.redundant() == 1


def test_coins_that_the_target_does_not_need_are_not_enumerated() -> None:
    found = information(modalities=10, shared=2, unique=5, together=3, target="shared")["y"]
    assert len(found.joint) == 4
    with pytest.raises(DataError, match="too many to enumerate"):
        information(modalities=8, shared=0, synergy=3, target="synergy")["y"].mutual()


def test_what_is_in_the_table_is_what_was_counted() -> None:
    table = factors(rows=MANY, modalities=3, pairs=1, synergy=1, target="synergy")
    asked = column(table, "y_true")
    for name in "abc":
        own = column(table, f"xor_0_{name}")
        assert abs(own.mean() - 0.5) < 0.02
        for sides in (True, False):
            assert apart((asked[own == sides] == "1").mean(), 0.5, int((own == sides).sum())) < 4
    parity = column(table, "xor_0_a") ^ column(table, "xor_0_b") ^ column(table, "xor_0_c")
    assert (parity == (asked == "1")).all()
    bits = [name for name in table.names if name.endswith("_0") or name.startswith("xor")]
    singles = [name for name in bits if name != "parity_0"]
    assert len(singles) == 1 + 3 + 3 + 3
    for one, other in itertools.combinations(bits, 2):
        assert related(column(table, one), column(table, other)) < 4.5, (one, other)


def test_a_class_is_the_bits_in_order_and_each_kind_may_be_a_target() -> None:
    table = factors(rows=500, modalities=2, shared=1, pairs=1, synergy=1)
    wanted = zip(*(column(table, f"{bit}_0") for bit in ("shared", "ab", "a", "b", "parity")), strict=True)
    assert column(table, "y").tolist() == ["".join(str(int(bit)) for bit in bits) for bits in wanted]
    each = factors(rows=500, modalities=2, shared=1, pairs=1, synergy=1, target="each")
    assert list(each.schema.targets) == ["shared", "pairs", "unique", "synergy"]
    for place, name in enumerate(("shared", "pairs")):
        assert column(each, name).tolist() == [said[place] for said in column(table, "y")]
    alone = factors(rows=500, modalities=2, shared=1, pairs=1, synergy=1, target="pairs")
    assert column(alone, "y").tolist() == column(each, "pairs").tolist()


def test_together_is_a_parity_that_no_smaller_company_shows() -> None:
    table = factors(rows=MANY, modalities=4, together=1, noise=0.0, shared=1, unique=0)
    carried = [column(table, f"together_0_{name}") for name in "abcd"]
    assert not np.logical_xor.reduce(carried).any()
    for three in itertools.combinations(carried, 3):
        shares = np.unique(np.stack(three), axis=1, return_counts=True)[1] / MANY
        assert len(shares) == 8
        assert max(apart(share, 1 / 8, MANY) for share in shares) < 4.5


# the cells


def test_directions_are_orthonormal() -> None:
    found = directions(np.random.default_rng(0), 7, 9)
    np.testing.assert_allclose(found @ found.T, np.eye(7), atol=1e-12)


def test_without_noise_each_bit_stands_at_plus_or_minus_its_strength() -> None:
    table = factors(rows=400, modalities=2, shared=1, unique=2, noise=0.0, strength=[1, 3])
    for name, strength in (("a", 1), ("b", 3)):
        found = cells(table, name).astype(float)
        bits = np.stack([column(table, bit) for bit in ("shared_0", f"{name}_0", f"{name}_1")], 1) * 2.0 - 1
        axes = bits.T @ found / len(bits)
        axes = np.linalg.solve(bits.T @ bits / len(bits), axes)
        np.testing.assert_allclose(axes @ axes.T, strength**2 * np.eye(3), atol=1e-5)
        np.testing.assert_allclose(found, bits @ axes, atol=1e-5)


def projections(clean: Table, table: Table, name: str, bit: str) -> np.ndarray:
    """Of each row on the direction of a bit, which the same table without noise shows."""
    side, found = column(clean, bit), cells(clean, name)
    axis = found[side].mean(0) - found[~side].mean(0)
    return cells(table, name) @ (axis / np.linalg.norm(axis))


@pytest.mark.parametrize("strength", [[1.0, 1.0], [1.5, 0.5]])
def test_nobody_does_better_than_the_ceiling_and_reading_projections_reaches_it(strength: list[float]) -> None:
    knobs: dict[str, Any] = {"rows": MANY, "synergy": 1, "strength": strength, "seed": 3}
    table = factors(**knobs, noise=[0.8, 1.0])
    clean = factors(**knobs, noise=0.0)
    # Far more rows than bits: what the projections of other bits leave in a mean is small.
    read = {
        (name, bit): projections(clean, table, name, bit) * by / sd**2
        for (name, by, sd) in zip("ab", strength, (0.8, 1.0), strict=True)
        for bit in ("shared_0", f"{name}_0", f"xor_0_{name}")
    }
    for present in (["a"], ["b"], ["a", "b"]):
        guessed = {}
        for bit in ("shared_0", "a_0", "b_0", "xor_0_a", "xor_0_b"):
            said = [read[name, bit] for name in present if (name, bit) in read]
            guessed[bit] = sum(said) > 0 if said else np.zeros(MANY, bool)
        guessed["parity_0"] = guessed["xor_0_a"] ^ guessed["xor_0_b"]
        right = [guessed[bit] == column(table, bit) for bit in ("shared_0", "a_0", "b_0", "parity_0")]
        expected = ceiling(present, noise=[0.8, 1.0], synergy=1, strength=strength)["y"]
        assert apart(np.logical_and.reduce(right).mean(), expected, MANY) < 4


def test_ceilings_in_the_limits() -> None:
    assert ceiling(noise=0.0)["y"] == 1
    assert ceiling(["a"], noise=0.0)["y"] == 0.5
    assert ceiling(noise=0.0, strength=0)["y"] == 1 / 8
    assert ceiling(["a"], noise=0.0, synergy=1, target="synergy")["y"] == 0.5
    assert ceiling(noise=1.0, target="shared", modalities=4)["y"] == pytest.approx(0.9772498680518208)


def test_tokens_are_the_vectors_somewhere_among_noise() -> None:
    table = factors(rows=600, tokens=5, noise=0.0, missing=0.3)
    vectors = factors(rows=600, noise=0.0)
    for name in "ab":
        places = []
        for found, vector in zip(table.cells(name), cells(vectors, name), strict=True):
            if found is not None:
                assert found.shape == (5, 16)
                (place,) = np.flatnonzero(np.abs(found).sum(1))
                np.testing.assert_array_equal(found[place], vector)
                places.append(place)
        assert np.bincount(places, minlength=5).min() > 50
    assert differing(factors(rows=50, tokens=1), factors(rows=50)) == {"a", "b"}
    (one, *_), (other, *_) = factors(rows=50, tokens=1).cells("a"), factors(rows=50).cells("a")
    np.testing.assert_array_equal(one[0], other)


# one condition at a time

RICH: dict[str, Any] = {
    "rows": 400,
    "modalities": 3,
    "pairs": 1,
    "synergy": 1,
    "corrupted": [0.2, 0.0, 0.1],
    "corrupted_at_test": [0.5, 0.0, 0.0],
    "missing": [0, 0.3, 0.2],
    "missing_at_test": [0, 0.6, 0.0],
    "pattern": "mar",
    "reversed_at_test": True,
    "label_noise": 0.2,
    "labelled": 0.7,
    "mispaired": 0.2,
    "unpaired": 0.2,
    "sources": [["a", "b"], ["a", "c"]],
    "absent_at_test": ["b"],
    "shift": [0.5, 0, 1],
    "target": "each",
}
"""Everything at once."""
NEUTRAL: dict[str, list[Any]] = {
    "corrupted": [0.0, [0, 0, 0]],
    "corrupted_at_test": [None, [0.2, 0.0, 0.1]],
    "missing": [0.0, [0, 0, 0]],
    "missing_at_test": [None, [0, 0.3, 0.2]],
    "reversed_at_test": [False],
    "label_noise": [0.0],
    "labelled": [1.0],
    "mispaired": [0.0],
    "unpaired": [0.0],
    "sources": [(), (("a", "b", "c"),)],
    "absent_at_test": [()],
    "shift": [0.0, [0, 0, 0]],
    "strength": [1.0, [1, 1, 1]],
}
TOUCHES = {
    "corrupted": {"a", "c", "corrupted_a", "corrupted_c"},
    "corrupted_at_test": {"a", "corrupted_a"},
    "missing": {"b", "c"},
    "missing_at_test": {"b"},
    "label_noise": {"shared", "pairs", "unique", "synergy"},
    "labelled": {"shared", "pairs", "unique", "synergy"},
    "mispaired": {"a", "b", "c", "mispaired"},
    "unpaired": {"a", "b", "c"},
    "sources": {"b", "c", "source"},
    "absent_at_test": {"b"},
    "shift": {"a", "c"},
}


@pytest.mark.parametrize("knob", NEUTRAL)
def test_a_neutral_knob_gives_the_table_without_it_bit_for_bit(knob: str) -> None:
    without = factors(**{name: value for name, value in RICH.items() if name != knob})
    for neutral in NEUTRAL[knob]:
        assert differing(factors(**{**RICH, knob: neutral}), without) == set()


@pytest.mark.parametrize("pattern", ["mar", "mnar"])
def test_a_pattern_of_nothing_missing_is_the_whole_table(pattern: str) -> None:
    assert differing(factors(rows=99, pattern=pattern), factors(rows=99)) == set()


@pytest.mark.parametrize("knob", TOUCHES)
def test_a_knob_changes_only_what_it_is_about(knob: str) -> None:
    plain = {name: RICH[name] for name in ("rows", "modalities", "pairs", "synergy", "target")}
    more = {"pattern": "mar"} if knob == "missing" else {}
    whole, changed = factors(**plain), factors(**plain, **more, **{knob: RICH[knob]})
    assert differing(whole, changed) == TOUCHES[knob]
    test = column(whole, "split") == "test"
    everywhere = knob in ("corrupted", "missing")
    for name in TOUCHES[knob]:
        same = [x == y for x, y in zip(whole.column(name).to_pylist(), changed.column(name).to_pylist(), strict=True)]
        only_test = knob == "shift" or knob.endswith("_at_test")
        assert np.array(same)[~test if only_test else test].all() != everywhere, name


def test_seeds_and_more_of_a_fault() -> None:
    assert differing(factors(rows=99, seed=1), factors(rows=99, seed=1)) == set()
    assert {"a", "b", "y"} <= differing(factors(rows=99, seed=1), factors(rows=99, seed=2))
    less, more = (~np.isnan(cells(factors(missing=rate), "a"))[:, 0] for rate in (0.2, 0.5))
    assert (less >= more).all()


# faults


@pytest.fixture(scope="module")
def whole() -> Table:
    return factors(rows=MANY, modalities=3, seed=5)


def absences(**knobs: Any) -> dict[str, np.ndarray]:
    table = factors(rows=MANY, modalities=3, seed=5, **knobs)
    return {name: ~have for name, have in table.present().items()}


def test_mcar_depends_on_nothing(whole: Table) -> None:
    rates = [0.1, 0.3, 0.6]
    absent = absences(missing=rates)
    for name, rate in zip("abc", rates, strict=True):
        assert apart(absent[name].mean(), rate, MANY) < 4
        for other in "abc":
            assert max(related(absent[name], values) for values in cells(whole, other).T) < 4.5
            assert other == name or related(absent[name], absent[other]) < 4.5
        for bit in ("shared_0", "a_0", "b_0", "c_0"):
            assert related(absent[name], column(whole, bit)) < 4.5


def within(groups: np.ndarray, x: np.ndarray, y: np.ndarray) -> float:
    """`related`, of what the mean of each group leaves over."""
    parts = []
    for values in (x, y):
        means = np.bincount(groups, values) / np.bincount(groups)
        parts.append(values - means[groups])
    return related(*parts)


def score(whole: Table, name: str) -> np.ndarray:
    """The mean projection of a cell on the directions of its two bits."""
    clean = factors(rows=MANY, modalities=3, seed=5, noise=0.0)
    return sum(projections(clean, whole, name, bit) for bit in ("shared_0", f"{name}_0"))


def test_mar_depends_on_the_first_modality_alone_which_is_there(whole: Table) -> None:
    absent = absences(missing=0.3, pattern="mar")
    assert not absent["a"].any()
    first = score(whole, "a")
    groups = first.argsort().argsort() * 400 // MANY
    for name in "bc":
        assert apart(absent[name].mean(), 0.3, MANY) < 4
        assert related(absent[name], first) > 20
        assert related(absent[name], column(whole, "a_0")) > 10
        assert related(absent[name], column(whole, "shared_0")) > 10
        assert related(absent[name], column(whole, f"{name}_0")) < 4.5
        # Of what it has in common with the first, nothing is left once that is known.
        assert within(groups, absent[name], column(whole, "shared_0")) < 4.5
        assert max(within(groups, absent[name], values) for values in cells(whole, name).T) < 4.5
    assert within(groups, absent["b"], absent["c"]) < 4.5


def test_mnar_depends_on_the_cell_itself(whole: Table) -> None:
    absent = absences(missing=[0.3, 0.3, 0.5], pattern="mnar")
    for name, rate in zip("abc", (0.3, 0.3, 0.5), strict=True):
        assert apart(absent[name].mean(), rate, MANY) < 4
        own = score(whole, name)
        assert related(absent[name], own) > 20
        assert np.corrcoef(absent[name], own)[0, 1] > 0
        # No other cell could tell: the unique bit is in no other.
        assert related(absent[name], column(whole, f"{name}_0")) > 10
        groups = own.argsort().argsort() * 400 // MANY
        for other in set("abc") - {name}:
            assert related(absent[name], column(whole, f"{other}_0")) < 4.5
            assert within(groups, absent[name], column(whole, "shared_0")) < 4.5


@pytest.mark.parametrize(("pattern", "by"), [("mar", "a"), ("mnar", "b")])
def test_a_pattern_is_reversed_in_test_rows_alone(pattern: str, by: str, whole: Table) -> None:
    missing = [0.0, 0.3, 0.3]
    before, after = (absences(missing=missing, pattern=pattern, reversed_at_test=so)["b"] for so in (False, True))
    test, told = column(whole, "split") == "test", score(whole, by)
    np.testing.assert_array_equal(before[~test], after[~test])
    assert apart(after[test].mean(), 0.3, int(test.sum())) < 4
    learned, judged, turned = (
        float(np.corrcoef(absent[rows], told[rows])[0, 1])
        for absent, rows in ((before, ~test), (before, test), (after, test))
    )
    assert judged == pytest.approx(learned, abs=0.05)
    assert turned == pytest.approx(-learned, abs=0.05)
    assert learned > 0.3


@pytest.mark.parametrize("pattern", ["mcar", "mar", "mnar"])
def test_cells_are_missing_in_test_rows_as_often_as_is_said(pattern: str, whole: Table) -> None:
    absent = absences(missing=[0.0, 0.0, 0.5], missing_at_test=[0.0, 0.4, 0.0], pattern=pattern)
    test = column(whole, "split") == "test"
    for name, learned, judged in (("a", 0.0, 0.0), ("b", 0.0, 0.4), ("c", 0.5, 0.0)):
        assert apart(absent[name][~test].mean(), learned, int((~test).sum())) < 4
        assert apart(absent[name][test].mean(), judged, int(test.sum())) < 4
    told = {"mcar": None, "mar": "a", "mnar": "b"}[pattern]
    if told is not None:
        assert related(absent["b"][test], score(whole, told)[test]) > 10


def test_cells_are_drowned_in_test_rows_as_often_as_is_said() -> None:
    table = factors(rows=MANY, corrupted=[0.0, 0.5], corrupted_at_test=[0.3, 0.0])
    test, clean = column(table, "split") == "test", factors(rows=MANY)
    for name, learned, judged in (("a", 0.0, 0.3), ("b", 0.5, 0.0)):
        drowned = column(table, f"corrupted_{name}")
        assert apart(drowned[~test].mean(), learned, int((~test).sum())) < 4
        assert apart(drowned[test].mean(), judged, int(test.sum())) < 4
        np.testing.assert_array_equal(drowned, (cells(table, name) != cells(clean, name)).any(1))


@pytest.mark.parametrize("pattern", ["mcar", "mar", "mnar"])
def test_what_is_left_is_what_was_there_and_nothing_stands_below_the_rest(pattern: str, whole: Table) -> None:
    table = factors(rows=MANY, modalities=3, seed=5, missing=0.4, pattern=pattern)
    for name in "abc":
        have = table.present()[name]
        np.testing.assert_array_equal(cells(table, name)[have], cells(whole, name)[have])
        (chunk,) = table.columns.column(name).chunks
        assert chunk.null_count == (~have).sum()
        assert not chunk.values.to_numpy().reshape(MANY, -1)[~have].any()


def test_where_a_source_lacks_the_first_modality_mar_has_nothing_to_depend_on(whole: Table) -> None:
    table = factors(rows=MANY, modalities=3, seed=5, missing=0.3, pattern="mar", sources=[["a", "b", "c"], ["b", "c"]])
    lacking = column(table, "source") == 1
    absent = ~table.present()["b"]
    assert apart(absent[lacking].mean(), 0.3, int(lacking.sum())) < 4
    assert related(absent[lacking], score(whole, "a")[lacking]) < 4.5
    assert related(absent[~lacking], score(whole, "a")[~lacking]) > 10


def test_unpaired_rows_have_one_modality(whole: Table) -> None:
    table = factors(rows=MANY, modalities=3, seed=5, unpaired=0.4)
    have = np.stack(list(table.present().values()), 1)
    test = column(table, "split") == "test"
    assert have[test].all()
    counts = have[~test].sum(1)
    assert set(counts) == {1, 3}
    assert apart((counts == 1).mean(), 0.4, int((~test).sum())) < 4
    single = have[~test][counts == 1]
    assert all(apart(share, 1 / 3, len(single)) < 4 for share in single.mean(0))
    assert (np.stack(list(factors(rows=90, unpaired=1.0).present().values()), 1).sum(1)[:60] == 1).all()


def test_sources_overlap_in_what_both_have() -> None:
    table = factors(rows=MANY, modalities=3, sources=[["a", "b"], ["c", "a"]])
    have, of = table.present(), column(table, "source")
    test = column(table, "split") == "test"
    assert have["a"].all()
    np.testing.assert_array_equal(have["b"], test | (of == 0))
    np.testing.assert_array_equal(have["c"], test | (of == 1))
    assert apart((of[~test] == 1).mean(), 0.5, int((~test).sum())) < 4
    one = factors(rows=MANY, modalities=3, sources=[["a", "b"], ["c", "a"]], unpaired=1.0)
    assert not one.present()["c"][(of == 0) & ~test].any()


def test_what_is_absent_at_test_is_absent_in_all_test_rows_and_in_no_other() -> None:
    table = factors(rows=100, modalities=3, absent_at_test=["a", "c"])
    test, have = column(table, "split") == "test", table.present()
    np.testing.assert_array_equal(have["a"], ~test)
    np.testing.assert_array_equal(have["c"], ~test)
    assert have["b"].all()


def test_a_mispaired_cell_is_another_rows_own(whole: Table) -> None:
    table = factors(rows=MANY, modalities=3, seed=5, mispaired=0.3)
    flag, test = column(table, "mispaired"), column(table, "split") == "test"
    assert (flag[test] == None).all()  # noqa: E711
    assert apart((flag[~test] != None).mean(), 0.3, int((~test).sum())) < 4  # noqa: E711
    for name in "abc":
        before, after = cells(whole, name), cells(table, name)
        moved = (before != after).any(1)
        np.testing.assert_array_equal(moved, flag == name)
        owner = {row.tobytes(): i for i, row in enumerate(before)}
        came_from = [owner[row.tobytes()] for row in after[moved]]
        assert sorted(came_from) == np.flatnonzero(moved).tolist()
        assert abs(moved[~test].mean() - 0.1) < 0.015
    assert differing(whole, table) == {"a", "b", "c", "mispaired"}


def test_a_single_chosen_row_has_nobody_to_swap_with() -> None:
    for seed in range(40):
        table, plain = factors(rows=8, mispaired=0.3, seed=seed), factors(rows=8, seed=seed)
        flag = column(table, "mispaired")
        for name in "ab":
            assert ((cells(table, name) != cells(plain, name)).any(1) == (flag == name)).all()


def test_wrong_labels_are_any_other_class_and_only_where_one_learns() -> None:
    table = factors(rows=MANY, label_noise=0.3)
    said, right, test = column(table, "y"), column(table, "y_true"), column(table, "split") == "test"
    assert (said == right)[test].all()
    wrong = ~test & (said != right)
    assert apart(wrong[~test].mean(), 0.3, int((~test).sum())) < 4
    distance = [(int(x, 2) - int(y, 2)) % 8 for x, y in zip(said[wrong], right[wrong], strict=True)]
    assert all(apart(share, 1 / 7, len(distance)) < 4 for share in np.bincount(distance)[1:] / len(distance))
    several = factors(rows=MANY, synergy=1, label_noise=0.3, target="each")
    flips = [column(several, name) != column(several, f"{name}_true") for name in ("shared", "synergy")]
    assert related(flips[0][~test], flips[1][~test]) < 4.5


def test_labels_are_left_out_only_where_one_learns() -> None:
    table = factors(rows=MANY, labelled=0.1)
    rows, _ = table.targets("y")
    test = column(table, "split") == "test"
    assert np.isin(np.flatnonzero(test), rows).all()
    assert apart(np.isin(np.flatnonzero(~test), rows).mean(), 0.1, int((~test).sum())) < 4
    assert None not in column(table, "y_true")


def test_the_shift_moves_each_bit_of_test_rows_by_so_much(whole: Table) -> None:
    table = factors(rows=MANY, modalities=3, seed=5, shift=[0.0, 0.7, 0.7])
    clean = factors(rows=MANY, modalities=3, seed=5, noise=0.0)
    test = column(table, "split") == "test"
    assert differing(whole, table) == {"b", "c"}
    for bit in ("shared_0", "b_0"):
        moved = projections(clean, table, "b", bit) - projections(clean, whole, "b", bit)
        assert np.abs(moved[~test]).max() == 0
        np.testing.assert_allclose(np.abs(moved[test]), 0.7, atol=0.05)
    way = (cells(table, "b") - cells(whole, "b"))[test]
    np.testing.assert_allclose(way, np.broadcast_to(way[0], way.shape), atol=1e-5)
    assert np.linalg.norm(way[0]) == pytest.approx(0.7 * math.sqrt(2), abs=1e-4)


def test_a_corrupted_cell_is_drowned(whole: Table) -> None:
    table = factors(rows=MANY, modalities=3, seed=5, corrupted=[0.25, 0, 0])
    flag = column(table, "corrupted_a")
    assert apart(flag.mean(), 0.25, MANY) < 4
    added = cells(table, "a") - cells(whole, "a")
    assert not added[~flag].any()
    assert added[flag].std() == pytest.approx(4, rel=0.02)
    assert differing(whole, table) == {"a", "corrupted_a"}


# as a data set


def test_rows_are_dealt_and_the_truth_is_no_input() -> None:
    table = factors(rows=1000)
    split = column(table, "split")
    assert [int((split == part).sum()) for part in ("train", "validation", "test")] == [600, 150, 250]
    assert table.schema.split == "split"
    assert set(table.names) == {*"ab", "y", "split", *table.schema.ignored}
    assert not len(table.quarantine)


def test_it_is_fetched_like_the_others(tmp_path: Path) -> None:
    table = read(fetch("factors", tmp_path / "factors"))
    assert table.fingerprint() == factors().fingerprint()
    facts = source(tmp_path / "factors")
    assert facts["rows"] == 2000
    assert facts["counts"]["noise"] == Knobs().noise
    assert pa.types.is_fixed_size_list(table.columns.schema.field("a").type)


@pytest.mark.parametrize(
    ("knobs", "said"),
    [
        ({"mising": 0.3}, "factors has no knob 'mising'. Did you mean 'missing'"),
        ({"missing": 1.3}, "factors.missing"),
        ({"missing": [0.1, 0.2, 0.3]}, "missing has 3 values for 2 modalities"),
        ({"missing": [0.1, 0.2], "pattern": "mar"}, "missing is more than 0 for the first modality"),
        ({"missing_at_test": [0.1, 0.2], "pattern": "mar"}, "missing_at_test is more than 0 for the first modality"),
        ({"target": "synergy"}, "asks for bits that there are none of"),
        ({"shared": 0, "unique": 0}, "asks for bits that there are none of"),
        ({"modalities": 9}, "2\\^10 classes in 'y', more than 256"),
        ({"modalities": 1, "mispaired": 0.1}, "mispaired needs two modalities"),
        ({"modalities": 1, "together": 1}, "together needs two modalities"),
        ({"sources": [["a", "z"]]}, "a source has some of the modalities"),
        ({"sources": [[]]}, "a source has some of the modalities"),
        ({"absent_at_test": ["z"]}, "it leaves some of the modalities"),
        ({"absent_at_test": ["a", "b"]}, "it leaves some of the modalities"),
        ({"width": 1}, "width 1 is less than the 2 bits"),
        ({"pattern": "nmar"}, "'mcar', 'mar' or 'mnar'"),
        ({"missing": 0.3, "reversed_at_test": True}, "reversed_at_test needs a pattern that depends on something"),
        ({"corrupted_at_test": [0.1, 0.2, 0.3]}, "corrupted_at_test has 3 values for 2 modalities"),
    ],
)
def test_wrong_knobs_are_named(knobs: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        factors(**knobs)


@pytest.mark.parametrize("modalities", [1, 2, 3, 4, 10])
def test_any_number_of_modalities(modalities: int) -> None:
    table = factors(rows=60, modalities=modalities, target="shared", missing=0.5, seed=1)
    assert list(table.schema.modalities) == list("abcdefghij"[:modalities])
    assert len(table.targets("y")[0]) == 60

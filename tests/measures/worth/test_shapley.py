import itertools

import numpy as np
import pytest

from plait.measures.bootstrap import mean_interval
from plait.measures.worth.shapley import alone, conditional_gain, interaction, leave_one_out, shapley, wanted


def subsets(names):
    return [s for k in range(len(names) + 1) for s in itertools.combinations(names, k)]


def drawn(names, rows=None, seed=0):
    rng = np.random.default_rng(seed)
    return {s: rng.normal(size=rows) for s in subsets(names)}


def unanimity(names, needed):
    return {s: float(set(needed) <= set(s)) for s in subsets(names)}


def over_all_orders(values, names):
    """The definition: what a modality adds, averaged over all orders of coming."""
    gains = {name: [] for name in names}
    for order in itertools.permutations(names):
        for k, name in enumerate(order):
            before, after = (tuple(n for n in names if n in order[:j]) for j in (k, k + 1))
            gains[name].append(values[after] - values[before])
    return [np.mean(gains[name], 0) for name in names]


@pytest.mark.parametrize("names", ["a", "ab", "abc", "abcde"])
def test_is_the_mean_over_all_orders(names):
    values = drawn(tuple(names), rows=7)
    found = shapley(values, tuple(names))
    assert found.rows == pytest.approx(np.stack(over_all_orders(values, tuple(names)), 1))
    assert found.value == pytest.approx(found.rows.mean(0))


def test_sums_to_what_all_modalities_give_also_of_drawn_orders():
    names = tuple("abcdefghij")
    values = drawn(names, rows=5)
    gain = values[names] - values[()]
    assert shapley(values, names, orders=6).rows.sum(1) == pytest.approx(gain, abs=1e-12)
    few = drawn(tuple("abcd"), rows=5)
    assert shapley(few).rows.sum(1) == pytest.approx(few[tuple("abcd")] - few[()], abs=1e-12)


def test_a_modality_that_changes_nothing_has_exactly_nothing():
    base = drawn(("a", "b"), rows=4)
    values = {s: base[tuple(n for n in s if n != "c")] for s in subsets(("a", "b", "c"))}
    found = shapley(values, ("a", "b", "c"))
    assert (found.rows[:, 2] == 0).all()
    assert found.rows[:, :2] == pytest.approx(shapley(base).rows)
    assert interaction(values, ("a", "b", "c")).rows[:, 1:] == pytest.approx(0, abs=1e-12)


def test_modalities_that_may_be_swapped_have_equal_worth():
    by_size = np.random.default_rng(0).normal(size=5)
    found = shapley({s: by_size[len(s)] for s in subsets("abcd")})
    assert found.value == pytest.approx(np.full(4, (by_size[4] - by_size[0]) / 4))


def test_adds_over_measures():
    one, other = drawn(tuple("abc"), seed=1), drawn(tuple("abc"), seed=2)
    both = {s: 2 * one[s] - other[s] for s in one}
    assert shapley(both).value == pytest.approx(2 * shapley(one).value - shapley(other).value)


def test_what_needs_several_is_shared_among_them():
    found = shapley(unanimity("abcd", "abd"), "abcd")
    assert found.value == pytest.approx([1 / 3, 1 / 3, 0, 1 / 3])
    xor = unanimity("ab", "ab")
    assert alone(xor).value == pytest.approx([0, 0])
    assert leave_one_out(xor).value == pytest.approx([1, 1])
    assert shapley(xor).value == pytest.approx([0.5, 0.5])
    assert interaction(xor).value == pytest.approx([1])
    either = {(): 0.0, ("a",): 1.0, ("b",): 1.0, ("a", "b"): 1.0}
    assert interaction(either).value == pytest.approx([-1])
    assert leave_one_out(either).value == pytest.approx([0, 0])


def test_interaction_by_dividends():
    """I_ij = sum over T with i and j of m(T) / (|T| - 1), m the Moebius transform: another road to the same number."""
    names = tuple("abcde")
    values = drawn(names)
    dividend = {
        t: sum((-1) ** (len(t) - len(s)) * v for s, v in values.items() if set(s) <= set(t)) for t in subsets(names)
    }
    found = interaction(values, names)
    for pair, index in zip(found.of, found.value, strict=True):
        assert index == pytest.approx(sum(m / (len(t) - 1) for t, m in dividend.items() if set(pair) <= set(t)))


def test_gain_given_others_adds_up_to_the_whole():
    values = drawn(tuple("abc"), rows=6)
    steps = [conditional_gain(values, given, tuple("abc")) for given in ((), ("b",), ("b", "a"))]
    gains = [steps[0].rows[:, 1], steps[1].rows[:, 0], steps[2].rows[:, 0]]
    assert sum(gains) == pytest.approx(values[tuple("abc")] - values[()])
    assert steps[1].of == (("a",), ("c",))
    assert steps[0].rows == pytest.approx(alone(values, tuple("abc")).rows)


def test_an_order_and_its_reverse_are_exact_for_pairwise_interactions():
    names = tuple("abcdefghij")
    rng = np.random.default_rng(0)
    single, pair = rng.normal(size=10), np.triu(rng.normal(size=(10, 10)), 1)

    def measure(subset):
        there = np.isin(names, subset)
        return float(single @ there + there @ pair @ there)

    found = shapley(measure, names, orders=4)
    assert found.value == pytest.approx(single + (pair.sum(0) + pair.sum(1)) / 2)
    assert found.se == pytest.approx(np.zeros(10), abs=1e-12)


def test_drawn_orders_are_as_wrong_as_they_say():
    names = tuple("abcde")
    values = drawn(names, seed=4)
    exact = shapley(values, names).value
    found = [shapley(values, names, orders=40, seed=seed) for seed in range(150)]
    wrong = np.array([(f.value - exact) / f.se for f in found])
    assert np.abs(wrong.mean(0)).max() < 4 / np.sqrt(150)
    assert np.mean(wrong**2) == pytest.approx(1.1, abs=0.25)
    inside = [(f.interval[:, 0] <= exact) & (exact <= f.interval[:, 1]) for f in found]
    assert np.mean(inside) == pytest.approx(0.95, abs=0.03)


def test_only_what_is_wanted_is_asked_and_each_once():
    names, seen = tuple("abcdefghijkl"), []
    values = {s: float(len(s)) for s in wanted(names, orders=8, seed=3)}

    def measure(subset):
        seen.append(subset)
        return values[subset]

    assert shapley(measure, names, orders=8, seed=3).value == pytest.approx(np.ones(12))
    assert sorted(seen) == sorted(values)
    assert sorted(wanted("abc")) == sorted(subsets("abc"))


def test_intervals_are_of_rows_and_groups():
    values = drawn(("a", "b"), rows=40)
    found = shapley(values, seed=5)
    expected = [mean_interval(row, seed=5, exact=False) for row in found.rows.T]
    assert found.interval == pytest.approx(np.array(expected))
    twice = {s: np.repeat(v, 3) for s, v in values.items()}
    assert shapley(twice, groups=np.repeat(np.arange(40), 3), seed=5).interval == pytest.approx(found.interval)
    assert np.isnan(shapley(drawn(("a", "b"))).interval).all()
    assert shapley(drawn(("a", "b"))).account()["a"]["low"] is None


def test_of_a_class_it_is_that_of_its_rows():
    values, labels = drawn(("a", "b"), rows=60), np.arange(60) % 3
    parts = shapley(values).within(labels)
    for label, part in parts.items():
        only = shapley({s: v[labels == label] for s, v in values.items()})
        assert part.value == pytest.approx(only.value)
        assert part.interval == pytest.approx(only.interval)
    with pytest.raises(ValueError, match="each row"):
        shapley(drawn(("a", "b"))).within(labels)


def test_a_number_among_rows_holds_for_all_of_them():
    values = drawn(("a", "b"), rows=5)
    found = shapley({**values, (): 0.3}, ("a", "b"))
    assert found.rows == pytest.approx(shapley({**values, (): np.full(5, 0.3)}, ("a", "b")).rows)
    assert shapley({**values, (): 0.3, ("a",): 0.2}, ("a", "b"), orders=4).rows.shape == (5, 2)


def test_order_of_names_in_a_subset_does_not_matter():
    values = {(): 0.1, ("a",): 0.5, ("b",): 0.7, ("b", "a"): 0.8}
    assert shapley(values, ("b", "a")).value == pytest.approx([0.45, 0.25])


@pytest.mark.parametrize(
    ("values", "names", "says"),
    [
        ({("a",): 1.0}, None, "without any modality"),
        ({(): 0.0, ("a", "b"): 1.0, ("a",): 1.0}, None, r"\('b',\)"),
        ({(): 0.0, ("a", "b"): 1.0, ("b", "a"): 1.0}, None, "twice"),
        ({(): 0.0, "a": 1.0}, None, "tuples"),
        ({(): 0.0, ("a",): np.nan}, None, "finite"),
        ({(): np.zeros(3), ("a",): np.zeros(4)}, None, "rows, expected"),
        (len, None, "names"),
        ({(): 0.0}, None, "one modality"),
    ],
)
def test_values_that_do_not_fit_are_refused(values, names, says):
    with pytest.raises(ValueError, match=says):
        shapley(values, names)


def test_bad_arguments_are_refused():
    values = drawn(tuple("abc"))
    with pytest.raises(ValueError, match="even number"):
        shapley(values, orders=5)
    with pytest.raises(ValueError, match="as given"):
        conditional_gain(values, ["x"])
    with pytest.raises(ValueError, match="2 to 8"):
        interaction(lambda s: 0.0, tuple("abcdefghi"))

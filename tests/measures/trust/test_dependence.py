import numpy as np
import pytest
from scipy.special import softmax

from plait.measures import multi_label
from plait.measures.trust._donors import of_another_class, permuted
from plait.measures.trust.dependence import dependence, interference, sensitivity


class Additive:
    """Bayes' answer to independent noisy cells; `looks`: at which modalities.  Absent cells say nothing."""

    def __init__(self, cells, looks, noise=1.0):
        self.cells, self.looks, self.noise, self.asked = cells, looks, noise, []

    def __call__(self, sources):
        self.asked.append({name: source.copy() for name, source in sources.items()})
        total = np.zeros((len(next(iter(sources.values()))), 2))
        for name in self.looks:
            source = sources[name]
            total[:, 1] += np.where(source < 0, 0, 2 * self.cells[name][source] / self.noise**2)
        return softmax(total, 1)


def drawn(rows=400, noise=1.0, seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, rows)
    cells = {name: 2 * truth - 1 + noise * rng.normal(size=rows) for name in "abc"}
    return cells, truth, np.stack([rng.random(rows) < 0.8, rng.random(rows) < 0.6, np.ones(rows, bool)], 1)


def test_an_unused_modality_costs_exactly_nothing():
    cells, truth, have = drawn()
    found = dependence(Additive(cells, "ab"), truth, have, "abc")["c"]
    for number in (found.accuracy, found.log_loss, found.moved):
        assert (number.value, number.interval) == (0, (0, 0))


def test_a_modality_that_decides_alone_is_followed_and_its_loss_leaves_chance():
    cells, truth, _ = drawn(noise=0.01)
    found = dependence(Additive(cells, "a"), truth, np.ones((400, 3), bool), "abc", repeats=20)["a"]
    assert (found.moved.value, found.followed.value) == (1, 1)
    # A permuted cell is of the row's own class as often as that class occurs.
    share = truth.mean()
    assert found.accuracy.value == pytest.approx(1 - share**2 - (1 - share) ** 2, abs=0.02)
    assert found.accuracy.interval[0] < 0.5 < found.accuracy.interval[1]


def test_the_rise_of_log_loss_has_its_closed_form():
    # One cell s = +-1 + noise, logit 2 s / v: the rise is E[ln(1 + e^-2s'/v) - ln(1 + e^-2s/v)] by quadrature.
    cells, truth, _ = drawn(4000)
    found = dependence(Additive(cells, "a"), truth, np.ones((4000, 3), bool), "abc", repeats=2)["a"]
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    weights = weights / weights.sum()
    loss = lambda sign: weights @ np.logaddexp(0, -2 * (sign + nodes))
    assert found.log_loss.value == pytest.approx((loss(1) + loss(-1)) / 2 - loss(1), abs=0.08)
    assert found.log_loss.interval[0] < (loss(-1) - loss(1)) / 2 < found.log_loss.interval[1]


def test_absent_cells_stay_absent_and_other_modalities_their_own():
    cells, truth, have = drawn(60)
    model = Additive(cells, "abc")
    found = dependence(model, truth, have, "abc", repeats=3)
    assert len(model.asked) == 1 + 2 * 3 * 3
    assert [found[name].rows for name in "abc"] == have.sum(0).tolist()
    own = np.arange(60)
    for sources in model.asked:
        changed = [m for m, name in enumerate("abc") if (sources[name] != np.where(have[:, m], own, -1)).any()]
        assert len(changed) <= 1
        for m, name in enumerate("abc"):
            assert np.array_equal(sources[name] >= 0, have[:, m])


def test_permuted_cells_are_used_once_and_never_by_their_own_group():
    rng = np.random.default_rng(0)
    rows, groups = rng.permutation(100)[:50], rng.integers(0, 12, 50)
    group_of = dict(zip(rows, groups, strict=True))
    seen = set()
    for _ in range(200):
        donor = permuted(rows, groups, rng, "a")
        assert sorted(donor) == sorted(rows)
        assert all(group_of[d] != g for d, g in zip(donor, groups, strict=True))
        seen |= set(zip(rows.tolist(), donor.tolist(), strict=True))
    # Every pair of different groups occurs.
    assert len(seen) > 0.95 * sum(int((groups != g).sum()) for g in groups)
    assert sorted(permuted(np.array([3, 8]), np.array([0, 1]), rng, "a")) == [3, 8]
    assert permuted(np.array([3, 8]), np.array([0, 1]), rng, "a")[0] == 8
    with pytest.raises(ValueError, match="3 of the 5"):
        permuted(np.arange(5), np.array([0, 0, 0, 1, 2]), rng, "a")


def test_donors_are_of_another_class_and_group():
    rng = np.random.default_rng(0)
    rows, truth, groups = np.arange(10, 40), rng.integers(0, 3, 30), rng.integers(0, 6, 30)
    for _ in range(20):
        donor = of_another_class(rows, groups, truth, rng)
        there = donor >= 0
        assert there.any()
        assert (truth[donor[there] - 10] != truth[there]).all()
        assert (groups[donor[there] - 10] != groups[there]).all()
    assert (of_another_class(rows, groups, np.zeros(30), rng) == -1).all()


def test_copies_hide_a_modality_unless_they_share_a_group():
    rng = np.random.default_rng(0)
    truth = np.repeat(rng.integers(0, 2, 2), 50)
    truth[:50], truth[50:] = 0, 1
    cells = {"a": 2.0 * truth - 1}
    model = Additive(cells, "a", noise=0.1)
    have = np.ones((100, 1), bool)
    alone = dependence(model, truth, have, "a", repeats=20)["a"].accuracy.value
    grouped = dependence(model, truth, have, "a", groups=truth, repeats=2)["a"].accuracy.value
    assert alone == pytest.approx(0.5, abs=0.05)
    assert grouped == 1
    later = np.arange(100) >= 20
    later[80:] = False
    moved = [interference(model, "a", later, have, "a", groups=groups).moved.value for groups in (None, truth)]
    assert moved[0] < 0.8
    assert moved[1] == 1


def test_interference_is_zero_for_a_model_that_looks_only_where_it_should():
    cells, _, have = drawn()
    asks_for_a = np.arange(400) % 2 == 0

    def attentive(sources):
        one, two = Additive(cells, "a")(sources), Additive(cells, "c")(sources)
        return np.where(asks_for_a[:, None], one, two)

    found = interference(attentive, "c", asks_for_a, have, "abc")
    assert (found.moved.value, found.distance.value, found.rows) == (0, 0, 200)
    confused = interference(Additive(cells, "ac"), "c", asks_for_a, have, "abc")
    assert confused.moved.interval[0] > 0.1
    assert 0 < confused.distance.value < 1
    # On the other rows the modality matters, and its change has to move answers.
    assert interference(attentive, "c", ~asks_for_a, have, "abc").moved.interval[0] > 0.1


def test_total_variation_of_certain_answers_is_their_movement():
    cells, _, have = drawn(noise=1e-3)
    found = interference(Additive(cells, "c", noise=0.05), "c", np.ones(400, bool), have, "abc")
    assert found.distance.value == pytest.approx(found.moved.value, abs=1e-6)
    assert found.moved.value == pytest.approx(0.5, abs=0.06)


def test_a_modality_that_nobody_has_is_undefined_and_stops_nothing():
    cells, truth, have = drawn()
    have[:, 1] = False
    found = dependence(Additive(cells, "abc"), truth, have, "abc", repeats=1)
    assert found["b"].rows == 0
    assert np.isnan(found["b"].accuracy.value)
    assert found["a"].accuracy.value > 0
    assert found["b"].account()["moved"]["value"] is None


def test_equal_seeds_give_equal_numbers():
    cells, truth, have = drawn()
    one, two, other = (dependence(Additive(cells, "ab"), truth, have, "abc", repeats=1, seed=s) for s in (0, 0, 1))
    assert one == two != other


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda m, t, h: dependence(m, t, h[:, :2], "abc"), "have"),
        (lambda m, t, h: dependence(m, t + 1, h, "abc"), "truth"),
        (lambda m, t, h: dependence(lambda s: m(s) * 2, t, h, "abc"), "what predict gives"),
        (lambda m, t, h: dependence(lambda s: m(s)[:5], t, h, "abc"), "400"),
        (lambda m, t, h: dependence(m, t, h, "abc", groups=t), "one group holds"),
        (lambda m, t, h: dependence(m, t, h, "abc", groups=t[:3]), "groups"),
        (lambda m, t, h: interference(m, "d", t == 0, h, "abc"), "none of a, b, c"),
        (lambda m, t, h: interference(m, "a", t, h, "abc"), "bool"),
        (lambda m, t, h: interference(m, "a", t > 5, h, "abc"), "found 0"),
    ],
)
def test_bad_input_is_refused(call, said):
    cells, truth, have = drawn()
    with pytest.raises(ValueError, match=said):
        call(Additive(cells, "ab"), truth, have)


def weighed(cells, weights):
    """Numbers that are sums of the cells; absent ones add nothing."""

    def said(sources):
        return sum(w * np.where(sources[name] < 0, 0, cells[name][sources[name]]) for name, w in weights.items())

    return said


def test_numbers_lose_and_move_by_what_two_normal_cells_differ_by():
    """y = 2 a: with another row's cell both the answer and its error move by |2 (a - a')|, 4 / sqrt(pi) on average."""
    rng = np.random.default_rng(0)
    cells = {name: rng.normal(size=3000) for name in "ab"}
    found = sensitivity(weighed(cells, {"a": 2.0}), 2 * cells["a"], np.ones((3000, 2), bool), "ab")
    for number in (found["a"].error, found["a"].moved):
        assert number.value == pytest.approx(4 / np.sqrt(np.pi), rel=0.05)
        assert number.interval[0] < 4 / np.sqrt(np.pi) < number.interval[1]
    assert (found["b"].error.value, found["b"].moved.value) == (0, 0)


def test_answers_that_move_at_random_lose_as_their_errors_grow():
    """y = a, said a + b: the error |b| becomes |b'| of another row, so that nothing is lost, and yet answers move."""
    rng = np.random.default_rng(1)
    cells = {name: rng.normal(size=2000) for name in "ab"}
    found = sensitivity(weighed(cells, {"a": 1.0, "b": 1.0}), cells["a"], np.ones((2000, 2), bool), "ab")["b"]
    assert found.error.value == pytest.approx(0, abs=1e-9)
    assert found.moved.value == pytest.approx(2 / np.sqrt(np.pi), rel=0.05)


def test_labels_lose_what_their_log_loss_rises_by():
    """A label that its cell decides is said with .9, another one with .5: half of the dealt cells are the other one."""
    bit = np.random.default_rng(3).integers(0, 2, 4000)
    truth = np.stack([bit, np.where(np.arange(4000) % 3, bit, np.nan)], 1)

    def predict(sources):
        return np.stack([np.where(bit[sources["a"]], 0.9, 0.1), np.full(4000, 0.5)], 1)

    off = lambda answers, truth: multi_label.rows(answers, truth)["log_loss"]
    found = sensitivity(predict, truth, np.ones((4000, 1), bool), "a", off=off)["a"]
    # ln 9 where it is the other cell, over the labels that are known: both of them in two rows of three.
    assert found.error.value == pytest.approx(np.log(9) / 2 * (2 / 3 / 2 + 1 / 3), rel=0.05)
    assert found.moved.value == pytest.approx(0.8 / 2 / 2, rel=0.05)


def test_numbers_of_rows_without_the_modality_and_of_groups():
    rng = np.random.default_rng(2)
    cells = {"a": rng.normal(size=60)}
    have = (rng.random(60) < 0.5)[:, None]
    found = sensitivity(weighed(cells, {"a": 1.0}), cells["a"], have, "a", groups=np.arange(60) // 3)["a"]
    assert found.rows == have.sum()
    assert found.error.interval[0] > 0
    alone = np.zeros((60, 1), bool)
    alone[7] = True
    assert np.isnan(sensitivity(weighed(cells, {"a": 1.0}), cells["a"], alone, "a")["a"].error.value)
    with pytest.raises(ValueError, match="what predict gives"):
        sensitivity(lambda given: np.full(60, np.nan), cells["a"], have, "a")

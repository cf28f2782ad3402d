import numpy as np
import pytest

from plait.measures.trust.generative_integration import generative_integration


def zeros(matrix):
    return all(number.value == 0 and number.interval == (0, 0) for row in matrix.values() for number in row.values())


def test_a_lossless_code_that_every_modality_determines_has_no_error_and_no_loss():
    rng = np.random.default_rng(0)
    code = rng.normal(size=(60, 2))
    truth = {"a": code, "b": (code @ rng.normal(size=(2, 6))).reshape(60, 2, 3)}
    found = generative_integration(truth, truth, dict.fromkeys(truth, truth), dict.fromkeys(truth, truth))
    assert zeros(found.single)
    assert zeros(found.loss)
    assert all(e.value == 0 for e in [*found.single_all.values(), *found.loss_all.values(), *found.error.values()])


class Linear:
    """x_m = s + noise of spread v_m; the model's code is the best guess of s from what it is given, in closed form."""

    def __init__(self, spreads, uses, rows=4000, seed=0):
        rng = np.random.default_rng(seed)
        shared = rng.normal(size=rows)
        self.spreads, self.uses = spreads, uses
        self.truth = {m: (shared + v * rng.normal(size=rows))[:, None] for m, v in spreads.items()}

    def made(self, given):
        given = [m for m in given if m in self.uses]
        weight = {m: self.spreads[m] ** -2 for m in given}
        guess = sum(weight[m] * self.truth[m] for m in given) / (1 + sum(weight.values()))
        return {m: guess + np.zeros_like(self.truth[m]) for m in self.truth}

    def found(self, **given):
        names = list(self.truth)
        return generative_integration(
            self.truth,
            self.made(names),
            {i: self.made([i]) for i in names},
            {i: self.made([j for j in names if j != i]) for i in names},
            **given,
        )


def test_withholding_a_modality_that_the_encoder_ignores_costs_exactly_nothing():
    found = Linear({"a": 0.5, "b": 1.0, "c": 0.7}, "ac", rows=300).found()
    assert [n.value for n in found.loss["b"].values()] == [0, 0, 0]
    assert found.loss_all["b"].interval == (0, 0)
    assert found.loss["a"]["a"].interval[0] > 0
    # Alone, it can only give the mean.
    assert found.single["b"]["a"].value == pytest.approx(1, abs=0.02)


def test_a_linear_model_has_its_closed_forms():
    spreads = {"a": 0.5, "b": 1.0}
    found = Linear(spreads, "ab").found()
    # From i alone: s is left with variance v^2 / (1 + v^2); x_j adds its own noise, over the variance 1 + v_j^2.
    expected = (0.5**2 / (1 + 0.5**2) + 1) / 2
    assert found.single["a"]["b"].value == pytest.approx(expected, rel=0.06)
    assert found.single["a"]["b"].interval[0] < expected < found.single["a"]["b"].interval[1]
    expected = (1 / 2 + 0.25) / 1.25
    assert found.single["b"]["a"].value == pytest.approx(expected, rel=0.06)
    # x_a from both: the guess is (4 x_a + x_b) / 6, off by x_a / 3 - x_b / 6 = s / 6 + n_a / 3 - n_b / 6.
    both = 1 / 36 + 0.25 / 9 + 1 / 36
    assert found.error["a"].value == pytest.approx(both / 1.25, rel=0.1)
    alone = 1 / 4 + 0.25 + 1 / 4
    assert found.loss["a"]["a"].value == pytest.approx((alone - both) / 1.25, rel=0.1)
    for i in "ab":
        assert found.single_all[i].value == pytest.approx(np.mean([found.single[i][j].value for j in "ab"]))


def test_units_and_width_of_a_modality_do_not_matter():
    model = Linear({"a": 0.5, "b": 1.0}, "ab", rows=200)
    one = model.found()
    scaled = lambda made: {"a": 1000 * np.repeat(made["a"], 7, 1) + 5, "b": made["b"]}
    two = generative_integration(
        scaled(model.truth),
        scaled(model.made("ab")),
        {i: scaled(model.made(i)) for i in "ab"},
        {"a": scaled(model.made("b")), "b": scaled(model.made("a"))},
    )
    for i in "ab":
        for j in "ab":
            assert two.single[i][j].value == pytest.approx(one.single[i][j].value)
            assert two.loss[i][j].value == pytest.approx(one.loss[i][j].value)


def test_only_rows_with_both_cells_count():
    model = Linear({"a": 0.5, "b": 1.0}, "ab", rows=200)
    have = np.random.default_rng(0).random((200, 2)) < 0.6
    truth = {j: np.where(have[:, [k]], model.truth[j], np.nan) for k, j in enumerate("ab")}
    full = {j: np.where(have[:, [k]], v, np.nan) for k, (j, v) in enumerate(model.made("ab").items())}
    # What is made of an absent cell, or of one that nobody can compare it with, is NaN as well.
    made = {
        i: {j: np.where(have[:, [k]] & have[:, [m]], v, np.nan) for m, (j, v) in enumerate(model.made(i).items())}
        for k, i in enumerate("ab")
    }
    found = generative_integration(truth, full, made, made, have)
    both = have.all(1)
    variance = np.var(model.truth["b"][have[:, 1]])
    expected = np.mean((model.truth["b"] - model.made("a")["b"])[both] ** 2) / variance
    assert found.single["a"]["b"].value == pytest.approx(expected)
    before = np.mean((model.truth["b"] - model.made("ab")["b"])[both] ** 2) / variance
    assert found.loss["a"]["b"].value == pytest.approx(expected - before)


def test_rows_without_anything_to_compare_are_undefined():
    rng = np.random.default_rng(0)
    truth = {"a": rng.normal(size=(40, 1)), "b": rng.normal(size=(40, 1))}
    have = np.stack([np.arange(40) < 20, np.arange(40) >= 20], 1)
    found = generative_integration(truth, truth, dict.fromkeys(truth, truth), dict.fromkeys(truth, truth), have)
    assert np.isnan(found.single["a"]["b"].value)
    assert found.single["a"]["a"].value == 0
    assert found.account()["loss"]["b"]["a"]["value"] is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t, f, a, w: (t, f, {"a": a["a"]}, w), "alone: expected a, b, found a"),
        (lambda t, f, a, w: (t, f, a, {"a": {"a": t["a"]}, "b": t}), "without a: no reconstruction of b"),
        (lambda t, f, a, w: (t, {**f, "a": f["a"][:, :1]}, a, w), r"a: expected a reconstruction \[9, 2\]"),
        (lambda t, f, a, w: (t, {**f, "a": f["a"] * np.nan}, a, w), "NaN"),
        (lambda t, f, a, w: ({**t, "a": np.ones((9, 2))}, f, a, w), "do not vary"),
        (lambda t, f, a, w: ({**t, "b": t["b"][:4]}, f, a, w), "expected 9 rows"),
        (lambda t, f, a, w: ({}, {}, {}, {}), "at least one modality"),
    ],
)
def test_bad_input_is_refused(change, said):
    rng = np.random.default_rng(0)
    truth = {"a": rng.normal(size=(9, 2)), "b": rng.normal(size=(9, 3))}
    with pytest.raises(ValueError, match=said):
        generative_integration(*change(truth, truth, dict.fromkeys(truth, truth), dict.fromkeys(truth, truth)))

import json

import numpy as np
import pytest
import torch

from plait.measures.trust.modality_attribution import modality_attribution


def differentiable(function):
    """From a function of tensors {modality: [N, ...]} -> [N]."""

    def value_and_gradient(tokens):
        inputs = {name: torch.tensor(v, requires_grad=True) for name, v in tokens.items()}
        value = function(inputs)
        gradient = torch.autograd.grad(value.sum(), list(inputs.values()), allow_unused=True)
        filled = [torch.zeros_like(x) if g is None else g for x, g in zip(inputs.values(), gradient, strict=True)]
        return value.detach().numpy(), {n: g.numpy() for n, g in zip(inputs, filled, strict=True)}

    return value_and_gradient


def drawn(rows=50, seed=0):
    rng = np.random.default_rng(seed)
    tokens = {"image": rng.normal(size=(rows, 3, 4)), "text": rng.normal(size=(rows, 5))}
    return tokens, {"image": rng.normal(size=(3, 4)), "text": rng.normal(size=5)}


def test_a_linear_output_is_attributed_in_closed_form_with_one_step():
    tokens, absent = drawn()
    rng = np.random.default_rng(1)
    w, v = rng.normal(size=(3, 4)), rng.normal(size=5)
    linear = differentiable(lambda x: (x["image"] * torch.tensor(w)).sum((1, 2)) + x["text"] @ torch.tensor(v) + 3)
    found = modality_attribution(linear, tokens, absent, steps=1)
    assert found.attribution["image"] == pytest.approx(((tokens["image"] - absent["image"]) * w).sum((1, 2)))
    assert found.attribution["text"] == pytest.approx((tokens["text"] - absent["text"]) @ v)
    assert found.residual == pytest.approx(np.zeros(50), abs=1e-12)
    sizes = [np.abs(a).mean() for a in found.attribution.values()]
    assert [s.value for s in found.share.values()] == pytest.approx([s / sum(sizes) for s in sizes])


def test_a_product_is_halved_by_the_straight_path():
    rng = np.random.default_rng(0)
    one, two = rng.normal(size=(2, 40, 1))
    product = differentiable(lambda x: (x["a"] * x["b"])[:, 0])
    zeros = {"a": np.zeros(1), "b": np.zeros(1)}
    found = modality_attribution(product, {"a": one, "b": two}, zeros, steps=2)
    assert found.attribution["a"] == pytest.approx((one * two)[:, 0] / 2)
    # From another baseline: int (b1 + t d1)' ... = d_a (b_b + d_b / 2).
    moved = modality_attribution(product, {"a": one, "b": two}, {"a": np.full(1, 0.5), "b": np.full(1, 2.0)}, steps=2)
    assert moved.attribution["a"] == pytest.approx(((one - 0.5) * (2 + (two - 2) / 2))[:, 0])
    assert moved.attribution["b"] == pytest.approx(((two - 2) * (0.5 + (one - 0.5) / 2))[:, 0])


def test_attributions_of_a_network_add_up_and_an_unused_modality_gets_exactly_nothing():
    tokens, absent = drawn()
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(12, 16), torch.nn.GELU(), torch.nn.Linear(16, 1)).double()
    found = modality_attribution(differentiable(lambda x: network(x["image"].flatten(1))[:, 0]), tokens, absent)
    assert found.complete
    assert np.abs(found.residual).max() < 1e-6
    assert (found.attribution["text"] == 0).all()
    assert found.share["text"].value == 0
    assert found.share["text"].interval == (0, 0)
    assert found.share["image"].value == 1
    assert found.difference == pytest.approx(sum(found.attribution.values()))


def test_shares_sum_to_one_and_follow_the_evidence():
    rng = np.random.default_rng(0)
    tokens = {name: rng.normal(size=(400, 2)) for name in "abc"}
    weights = {"a": 4.0, "b": 2.0, "c": 1.0}
    model = differentiable(lambda x: torch.tanh(0.01 * sum(weights[n] * x[n].sum(1) for n in "abc")))
    found = modality_attribution(model, tokens, {name: np.zeros(2) for name in "abc"}, steps=4)
    assert sum(s.value for s in found.share.values()) == pytest.approx(1)
    for name in "abc":
        low, high = found.share[name].interval
        assert low < weights[name] / 7 < high
        assert high - low < 0.15


def test_a_row_without_the_modality_owes_it_nothing():
    tokens, absent = drawn()
    tokens["image"][:20] = absent["image"]
    found = modality_attribution(
        differentiable(lambda x: x["image"].sum((1, 2)).sin() * x["text"].sum(1)), tokens, absent
    )
    assert (found.attribution["image"][:20] == 0).all()
    assert (found.attribution["image"][20:] != 0).all()


def test_too_few_steps_are_reported():
    tokens, absent = drawn()
    steep = differentiable(lambda x: torch.sigmoid(40 * x["text"].sum(1)) + 0 * x["image"].sum((1, 2)))
    few, many = (modality_attribution(steep, tokens, absent, steps=steps) for steps in (2, 400))
    assert not few.complete
    assert many.complete
    assert np.abs(few.residual).mean() > 10 * np.abs(many.residual).mean()


@pytest.mark.parametrize("unit", [1e-3, 1, 1e3])
def test_what_counts_as_complete_is_a_share_of_what_there_is_to_attribute(unit):
    tokens, absent = drawn()
    bent = differentiable(lambda x: unit * torch.tanh(x["text"].sum(1)) + 0 * x["image"].sum((1, 2)))
    found = modality_attribution(bent, tokens, absent, steps=2)
    lacking = np.abs(found.residual).sum() / np.abs(found.difference).sum()
    assert 0.005 < lacking < 1
    assert modality_attribution(bent, tokens, absent, steps=2, tolerance=1.01 * lacking).complete
    assert not modality_attribution(bent, tokens, absent, steps=2, tolerance=0.99 * lacking).complete


def test_an_output_that_never_moves_has_no_shares():
    tokens, absent = drawn()
    found = modality_attribution(differentiable(lambda x: 0 * x["text"].sum(1) + 1), tokens, absent, steps=1)
    assert found.complete
    assert np.isnan([s.value for s in found.share.values()]).all()
    assert json.loads(json.dumps(found.account(), allow_nan=False))["share"]["text"]["value"] is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t, a: (t, {"image": a["image"]}), "each of image, text, found image"),
        (lambda t, a: (t, {**a, "text": np.zeros(4)}), r"\[5\] or \[50, 5\]"),
        (lambda t, a: (t, {**a, "text": np.full(5, np.nan)}), "absent text: 5"),
        (lambda t, a: ({**t, "text": t["text"][:9]}, a), r"\[9, 50\]"),
        (lambda t, a: ({}, {}), "no modality"),
    ],
)
def test_bad_input_is_refused(change, said):
    with pytest.raises(ValueError, match=said):
        modality_attribution(differentiable(lambda x: x["text"].sum(1)), *change(*drawn()))


def test_gradients_that_do_not_fit_are_refused():
    tokens, absent = drawn()
    with pytest.raises(ValueError, match="no gradient was given for text"):
        modality_attribution(lambda x: (np.zeros(50), {"image": x["image"]}), tokens, absent)
    with pytest.raises(ValueError, match="gradient of image"):
        modality_attribution(lambda x: (np.zeros(50), {n: np.zeros(3) for n in x}), tokens, absent)
    with pytest.raises(ValueError, match="value"):
        modality_attribution(lambda x: (0.0, x), tokens, absent)

import math

import pytest
import tiny
import torch

from plait.core.component import find
from plait.core.packed import Batch, Packed
from plait.core.part import Place

MultiLabel = find("heads", "multi_label")
NAN = float("nan")


def built(truth: list[list[float]]):
    head = MultiLabel()
    torch.manual_seed(0)
    head.place = Place("heads", "multi_label")
    head.build(tiny.spec(targets=("multi_label",)), head.place)
    target = Packed(torch.tensor(truth).view(-1, 2), torch.arange(len(truth)))
    head.prepare(tiny.Rows(None, Batch(len(truth), {}, {"multi_label": target}, torch.arange(len(truth)))))
    return head


def test_mean_over_known_labels() -> None:
    head = built([[1, 0], [0, 1]])
    logits = torch.tensor([[1.0, -2.0]]).repeat(4, 1).requires_grad_()
    loss = head.loss(logits, torch.tensor([[1, 0], [1, NAN], [NAN, 1], [NAN, NAN]]))
    yes, no = math.log(1 + math.exp(-1)), math.log(1 + math.exp(-2))
    assert loss.tolist() == pytest.approx([(yes + no) / 2, yes, math.log(1 + math.exp(2)), 0], abs=1e-6)
    loss.sum().backward()
    assert (logits.grad[1, 1], logits.grad[2, 0]) == (0, 0)
    assert torch.isfinite(logits.grad).all()


def test_before_training_it_says_the_base_rates_of_known_labels() -> None:
    head = built([[1, NAN]] * 6 + [[0, 1]] * 2)
    with torch.no_grad():
        head.linear.weight.zero_()
        head.linear.bias.zero_()
    assert head.predict(head.decide(torch.randn(1, 16)))[0].tolist() == pytest.approx([7 / 10, 3 / 4], abs=1e-6)


def test_without_any_label() -> None:
    assert built([]).logit_prior.tolist() == [0, 0]


def test_what_it_predicts_is_a_probability_through_which_gradients_flow() -> None:
    params = torch.tensor([[-2.0, 0.0, 3.0]], requires_grad=True)
    found = find("heads", "multi_label")().predict(params)
    expected = 1 / (1 + (-params.detach()).exp())
    assert torch.allclose(found, expected)
    (gradient,) = torch.autograd.grad(found.sum(), params)
    assert torch.allclose(gradient, expected * (1 - expected))

import math

import pytest
import tiny
import torch

from plait.core.component import find
from plait.core.packed import Batch, Packed
from plait.core.part import Place

Class = find("heads", "class")


def built(truth: list[int], **arguments):
    head = Class(**arguments)
    torch.manual_seed(0)
    head.place = Place("heads", "class")
    head.build(tiny.spec(targets=("class",)), head.place)
    target = Packed(torch.tensor(truth, dtype=torch.long), torch.arange(len(truth)))
    head.prepare(tiny.Rows(None, Batch(len(truth), {}, {"class": target}, torch.arange(len(truth)))))
    return head


def test_loss_is_the_negative_log_probability() -> None:
    head, logits = built([0, 1, 2]), torch.tensor([[2.0, 0.0, -1.0], [0.5, 0.5, 0.5]])
    expected = [math.log(sum(math.exp(x) for x in (2, 0, -1))) - 0.0, math.log(3)]
    assert head.loss(logits, torch.tensor([1, 2])).tolist() == pytest.approx(expected, abs=1e-6)
    assert head.score(logits, torch.tensor([1, 2])).tolist() == pytest.approx(
        [math.exp(-x) for x in expected], abs=1e-6
    )
    assert torch.allclose(head.predict(logits).sum(1), torch.ones(2))


def test_before_training_it_says_the_base_rates() -> None:
    head = built([0] * 79 + [1] * 17 + [2] * 1)
    with torch.no_grad():
        head.linear.weight.zero_()
        head.linear.bias.zero_()
    assert head.predict(head.decide(torch.randn(4, 16)))[0].tolist() == pytest.approx([0.80, 0.18, 0.02], abs=1e-6)


def test_balanced_classes_weigh_the_same_in_total() -> None:
    truth = [0] * 59 + [1] * 29 + [2] * 9
    head = built(truth, weighting="balanced")
    loss = head.loss(torch.zeros(100, 3), torch.tensor([0] * 60 + [1] * 30 + [2] * 10))
    assert [float(part.sum()) for part in loss.split([60, 30, 10])] == pytest.approx(
        [100 / 3 * math.log(3)] * 3, rel=1e-5
    )
    assert torch.equal(head.log_prior, torch.zeros(3))


def test_label_smoothing_gives_the_truth_a_share() -> None:
    head, logits = built([0, 1, 2], label_smoothing=0.3), torch.tensor([[2.0, 0.0, -1.0]])
    log = logits.log_softmax(1)[0]
    expected = -(0.8 * log[0] + 0.1 * log[1] + 0.1 * log[2])
    assert torch.allclose(head.loss(logits, torch.tensor([0])), expected[None])
    assert torch.allclose(head.score(logits, torch.tensor([0])), log[0].exp()[None])


def test_what_training_stands_on_is_found_once() -> None:
    head = built([0, 0, 1, 2])
    before = head.log_prior.clone()
    target = Packed(torch.tensor([2, 2, 2, 2, 2]), torch.arange(5))
    head.prepare(tiny.Rows(None, Batch(5, {}, {"class": target}, torch.arange(5))))
    assert torch.equal(head.log_prior, before)


def test_without_any_label() -> None:
    head = built([])
    assert torch.isfinite(head.decide(torch.randn(2, 16))).all()

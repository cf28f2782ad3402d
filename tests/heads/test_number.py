import pytest
import tiny
import torch

from plait.core.component import find
from plait.core.packed import Batch, Packed
from plait.core.part import Place

Number = find("heads", "number")


def built(truth: list[float]):
    head = Number()
    torch.manual_seed(0)
    head.place = Place("heads", "number")
    head.build(tiny.spec(targets=("number",)), head.place)
    target = Packed(torch.tensor(truth, dtype=torch.float64), torch.arange(len(truth)))
    head.prepare(tiny.Rows(None, Batch(len(truth), {}, {"number": target}, torch.arange(len(truth)))))
    return head


TRUTH = [1e6 + 10, 1e6 + 20, 1e6 + 60]


def test_it_predicts_in_the_users_unit_and_learns_in_its_own() -> None:
    head = built(TRUTH)
    mean, std = 1e6 + 30, (1400 / 3) ** 0.5
    params = torch.tensor([[0.0], [1.0], [-2.0]])
    assert head.predict(params).tolist() == pytest.approx([mean, mean + std, mean - 2 * std])
    loss = head.loss(params, torch.tensor([mean, mean, mean - 2 * std], dtype=torch.float64))
    assert loss.tolist() == pytest.approx([0, 0.5, 0], abs=1e-4)


def test_the_unit_of_the_target_does_not_change_the_loss() -> None:
    metres, feet = built([1.0, 2.0, 5.0]), built([3.28, 6.56, 16.4])
    params = torch.randn(3, 1)
    first = metres.loss(params, torch.tensor([1.0, 2.0, 5.0]).double())
    assert torch.allclose(first, feet.loss(params, torch.tensor([3.28, 6.56, 16.4]).double()), atol=1e-5)


def test_a_constant_target_and_none() -> None:
    for head in (built([4.0, 4.0]), built([])):
        assert torch.isfinite(head.loss(torch.zeros(2, 1), torch.tensor([4.0, 4.0]).double())).all()
    assert built([4.0]).predict(torch.zeros(1, 1)).tolist() == [4.0]

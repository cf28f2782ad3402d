import tiny
import torch
from torch import nn

from plait.core.part import Branch, Encoder, Hiding, Objective, Part, Place, Target


def test_places_and_targets() -> None:
    assert str(Place("encoders", "image")) == "encoders.image"
    assert str(Place("fusion", "")) == "fusion"
    assert Target("number").size == 1
    assert Target("class", ("x", "y")).size == 2
    assert tiny.spec("ca").names == ("c", "a")


def test_defaults_do_nothing() -> None:
    present = torch.ones(3, 2, dtype=torch.bool)
    assert not Hiding().hide(present, None, None).any()
    assert Part().terms(None, None) == {}
    assert Encoder().precompute([1, 2]) == [1, 2]
    assert set(Objective().passes(None)) == {"main"}


def test_a_branch_without_gradient_is_zero() -> None:
    parameters = [nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(3))]
    parameters[0].grad = torch.tensor([1.0, 2.0])
    branch = Branch(parameters)
    assert branch.gradient().tolist() == [1, 2, 0, 0, 0]
    branch.scale(2)
    branch.change(lambda g: g + 1)
    assert branch.gradient().tolist() == [3, 5, 0, 0, 0]
    assert parameters[1].grad is None
    assert len(Branch([]).gradient()) == 0

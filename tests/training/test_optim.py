import copy
import itertools
import math

import pytest
import torch
from torch import nn

from plait.core.recipe import Training
from plait.training import optim


def module() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def step(net: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    net(torch.randn(8, 3)).square().sum().backward()
    optimizer.step()


@pytest.mark.parametrize(
    ("chosen", "reference"),
    [
        ({"adamw": {"lr": 0.01, "betas": [0.8, 0.9], "eps": 1e-6}}, torch.optim.AdamW),
        ({"sgd": {"lr": 0.01, "momentum": 0.9, "nesterov": True}}, torch.optim.SGD),
    ],
)
def test_it_is_torchs_own(chosen, reference) -> None:
    torch.manual_seed(0)
    ours = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    theirs = copy.deepcopy(ours)
    mine = optim.make(ours.parameters(), Training(optimizer=chosen))
    arguments = dict(next(iter(chosen.values())))
    plain = reference(theirs.parameters(), weight_decay=0.0, foreach=False, **arguments)
    for net, optimizer in ((ours, mine), (theirs, plain)):
        torch.manual_seed(1)
        for _ in range(5):
            step(net, optimizer)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("first", [0, 3])
def test_momentum_begins_with_a_parameters_first_gradient(first) -> None:
    """As torch's own does one by one, where the gradient of some comes later than that of others."""
    torch.manual_seed(0)
    ours = [nn.Parameter(torch.randn(4, 3)) for _ in range(2)]
    theirs = copy.deepcopy(ours)
    arguments = {"lr": 0.1, "momentum": 0.9}
    mine = optim.make(ours, Training(optimizer={"sgd": arguments}))
    plain = torch.optim.SGD(theirs, foreach=False, fused=False, **arguments)
    for at in range(6):
        for early, late in (ours, theirs):
            early.grad = torch.full((4, 3), at + 1.0)
            late.grad = torch.full((4, 3), at - 2.0) if at >= first else None
        mine.step()
        plain.step()
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a, b)


def test_only_matrices_decay() -> None:
    net = module()
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    optimizer = optim.make(net.parameters(), Training(optimizer={"adamw": {"lr": 0.1, "weight_decay": 0.5}}))
    for p in net.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    for name, p in net.named_parameters():
        torch.testing.assert_close(p.detach(), before[name] * (0.95 if p.dim() > 1 else 1))


def test_a_parameter_without_gradient_does_not_move() -> None:
    net = module()
    before = net[0].weight.detach().clone()
    optimizer = optim.make(net.parameters(), Training(optimizer={"adamw": {"lr": 0.1, "weight_decay": 0.5}}))
    optimizer.step()
    assert torch.equal(net[0].weight, before)


def test_warm_up_then_cosine_to_zero() -> None:
    settings = Training(warmup=0.1)
    found = [optim.factor(settings, i, 100) for i in range(101)]
    assert found[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert found[10] == 1
    assert found[55] == pytest.approx(0.5)
    assert found[100] == pytest.approx(0)
    assert all(a >= b for a, b in itertools.pairwise(found[10:]))


def test_constant_and_no_steps_at_all() -> None:
    assert [optim.factor(Training(schedule="constant", warmup=0.0), i, 10) for i in (0, 5, 20)] == [1, 1, 1]
    assert math.isfinite(optim.factor(Training(), 0, 0))


def test_set_rate_keeps_the_own_rate() -> None:
    optimizer = optim.make(module().parameters(), Training(optimizer={"sgd": {"lr": 0.2}}))
    assert optim.set_rate(optimizer, 0.5) == pytest.approx(0.1)
    assert optim.set_rate(optimizer, 1.0) == pytest.approx(0.2)


def test_momentum_zero_is_the_weights_themselves() -> None:
    net = module()
    average, optimizer = optim.Average(net, 0.0), optim.make(net.parameters(), Training())
    for _ in range(3):
        step(net, optimizer)
        average.update()
    assert all(torch.equal(average.tensors[name], p) for name, p in net.named_parameters())


def test_the_average_follows_its_formula() -> None:
    net = module()
    average, optimizer = optim.Average(net, 0.3), optim.make(net.parameters(), Training(optimizer={"sgd": {"lr": 0.1}}))
    expected = {name: p.detach().clone() for name, p in net.named_parameters()}
    for t in range(6):
        step(net, optimizer)
        average.update()
        m = min(0.3, (1 + t) / (10 + t))
        expected = {name: m * expected[name] + (1 - m) * p.detach() for name, p in net.named_parameters()}
    for name, value in expected.items():
        torch.testing.assert_close(average.tensors[name], value)


def test_frozen_parameters_and_buffers_are_not_averaged_and_a_swap_is_undone_by_another() -> None:
    net = module()
    net[0].requires_grad_(False)
    average, optimizer = optim.Average(net, 0.9), optim.make(net[2].parameters(), Training())
    step(net, optimizer)
    average.update()
    now = {name: value.clone() for name, value in net.state_dict().items()}
    average.swap()
    changed = {name for name, value in net.state_dict().items() if not torch.equal(value, now[name])}
    assert changed == {"2.weight", "2.bias"}
    average.swap()
    assert all(torch.equal(value, now[name]) for name, value in net.state_dict().items())


def test_the_state_of_an_average_goes_through_a_copy() -> None:
    net = module()
    first = optim.Average(net, 0.9)
    first.update()
    second = optim.Average(net, 0.9)
    second.load_state_dict({"steps": 1, "tensors": {n: t.clone() for n, t in first.state_dict()["tensors"].items()}})
    for p in net.parameters():
        p.data.add_(1)
    for average in (first, second):
        average.update()
    assert all(torch.equal(first.tensors[name], second.tensors[name]) for name in first.tensors)

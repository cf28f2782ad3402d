import math

import numpy as np
import pytest
import tiny
import torch

from plait.core.component import find
from plait.core.packed import Packed
from plait.heads.survival import cox

Survival = find("heads", "survival")


def slow_cox(eta: list[float], time: list[float], event: list[bool], ties: str) -> float:
    """Straight from the definitions, one event time after another."""
    total = 0.0
    for t in sorted({t for t, e in zip(time, event, strict=True) if e}):
        risk = sum(math.exp(x) for x, s in zip(eta, time, strict=True) if s >= t)
        tied = [x for x, s, e in zip(eta, time, event, strict=True) if e and s == t]
        own = sum(math.exp(x) for x in tied)
        for i, x in enumerate(tied):
            total += math.log(risk - (i / len(tied) * own if ties == "efron" else 0)) - x
    return total


def draws(seed: int, size: int = 25):
    g = torch.Generator().manual_seed(seed)
    eta = 2 * torch.randn(size, generator=g, dtype=torch.float64)
    return eta, torch.randint(1, 8, (size,), generator=g).double(), torch.rand(size, generator=g) < 0.6


@pytest.mark.parametrize("ties", ["efron", "breslow"])
@pytest.mark.parametrize("seed", range(5))
def test_equals_the_definition(ties, seed: int) -> None:
    eta, time, event = draws(seed)
    expected = slow_cox(eta.tolist(), time.tolist(), event.tolist(), ties)
    assert float(cox(eta, time, event, ties).sum()) == pytest.approx(expected, rel=1e-9)


def test_both_ways_agree_without_ties_and_with_one_event() -> None:
    eta, time, event = draws(0)
    time = time + torch.rand(len(time), generator=torch.Generator().manual_seed(3)).double()
    assert torch.allclose(cox(eta, time, event, "efron"), cox(eta, time, event, "breslow"))
    assert cox(eta[:1], time[:1], torch.tensor([True])).tolist() == pytest.approx([0])


def test_a_constant_and_a_monotone_clock_change_nothing() -> None:
    eta, time, event = draws(1)
    loss = cox(eta, time, event)
    assert torch.allclose(loss, cox(eta + 7, time, event))
    assert torch.allclose(loss, cox(eta, time.exp(), event))


def test_samples_may_come_in_any_order() -> None:
    eta, time, event = draws(2)
    order = torch.randperm(25, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(cox(eta, time, event)[order], cox(eta[order], time[order], event[order]))


def test_censored_samples_and_batches_without_events() -> None:
    eta, time, event = draws(3)
    assert (cox(eta, time, event)[~event] == 0).all()
    assert (cox(eta, time, event & False) == 0).all()
    assert cox(eta[:0], time[:0], event[:0]).shape == (0,)


@pytest.mark.parametrize("ties", ["efron", "breslow"])
def test_gradient_is_right_also_far_out(ties) -> None:
    eta, time, event = draws(4)
    torch.autograd.gradcheck(lambda x: cox(x, time, event, ties), eta.requires_grad_())
    wide = (60 * torch.randn(25, generator=torch.Generator().manual_seed(0))).requires_grad_()
    cox(wide, time, event, ties).sum().backward()
    assert torch.isfinite(wide.grad).all()


@pytest.mark.parametrize("ties", ["efron", "breslow"])
def test_minimum_is_where_scikit_survival_has_it(ties) -> None:
    linear_model = pytest.importorskip("sksurv.linear_model")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(150, 3))
    time = np.ceil(rng.exponential(np.exp(-x @ [0.8, -0.5, 0.0])) * 6)
    event = rng.random(150) < 0.8
    outcome = np.array(list(zip(event, time, strict=True)), dtype=[("event", bool), ("time", float)])
    expected = linear_model.CoxPHSurvivalAnalysis(ties=ties).fit(x, outcome).coef_
    weight = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight], max_iter=100, tolerance_grad=1e-10, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = cox(torch.tensor(x) @ weight, torch.tensor(time), torch.tensor(event), ties).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    assert weight.detach().numpy() == pytest.approx(expected, abs=1e-3)


def test_training_orders_the_samples() -> None:
    metrics = pytest.importorskip("sksurv.metrics")
    net = tiny.network("ac", ("survival",))
    step = tiny.train(tiny.step(net), steps=60, size=48, targets=("survival",), missing=0.0)
    rows = tiny.batch(200, "ac", ("survival",), missing=0.0, unlabelled=0.0, seed=999)
    step.eval()
    prediction: Packed = net(rows).predictions["survival"]
    truth = rows.targets["survival"].values.numpy()
    risk = net.heads["survival"].predict(prediction.values).detach().numpy()
    assert metrics.concordance_index_censored(truth[:, 1] > 0, truth[:, 0], risk)[0] > 0.75

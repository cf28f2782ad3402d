from __future__ import annotations

import itertools
import math

import pytest
import tiny
import torch
from torch import Tensor

from plait.core.cost import multiply_adds
from plait.core.errors import RecipeError
from plait.core.gaussian import Gaussian
from plait.core.part import Place, Spec
from plait.fusion.consensus_posterior import ConsensusPosterior, consensus, subsets
from plait.heads.latent_decoder import LatentDecoder


def experts(size: int = 8, count: int = 3, width: int = 4, seed: int = 0, least: float = 0.7) -> tuple[Tensor, Tensor]:
    """Deviations between `least` and 1."""
    g = torch.Generator().manual_seed(seed)
    return torch.randn(size, count, width, generator=g), least + (1 - least) * torch.rand(
        size, count, width, generator=g
    )


def inverted(mean: Tensor, deviation: Tensor, correlation: float) -> tuple[float, float]:
    """Of one sample's experts [M] in one dimension, with the covariance written out and inverted."""
    covariance = correlation * torch.outer(deviation, deviation)
    covariance.diagonal().copy_(deviation.square())
    inverse = torch.linalg.inv(covariance.double())
    return float((inverse.sum(0) * mean).sum() / inverse.sum()), float(1 / inverse.sum())


EVERYBODY = torch.ones(8, 3, dtype=torch.bool)


@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.5])
def test_it_is_the_inverse_of_the_experts_covariance(correlation: float) -> None:
    (mean, deviation), there = experts(), torch.tensor([[1, 1, 1], [1, 0, 1], [0, 1, 0], [1, 1, 0]]).bool().repeat(2, 1)
    found = consensus(mean.masked_fill(~there.unsqueeze(2), torch.nan), deviation, there, correlation)
    for row, place in itertools.product(range(8), range(4)):
        own = there[row]
        expected = inverted(mean[row, own, place], deviation[row, own, place], correlation)
        assert float(found[0][row, place]) == pytest.approx(expected[0], abs=1e-5)
        assert float(found[1][row, place]) == pytest.approx(expected[1], abs=1e-5)


def test_without_correlation_it_is_the_product_of_experts() -> None:
    mean, deviation = experts(least=0.05)
    precision = deviation.square().reciprocal()
    found = consensus(mean, deviation, EVERYBODY, 0.0)
    assert torch.allclose(found[1], 1 / precision.sum(1))
    assert torch.allclose(found[0], (precision * mean).sum(1) / precision.sum(1), atol=1e-6)


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("correlation", [0.0, 0.4, 0.95])
def test_equal_experts_are_as_sure_as_their_correlation_lets_them(count: int, correlation: float) -> None:
    mean, deviation = torch.full((2, count, 1), 1.5), torch.full((2, count, 1), 0.6)
    found = consensus(mean, deviation, torch.ones(2, count, dtype=torch.bool), correlation)
    expected = 0.36 * (1 + (count - 1) * correlation) / count
    assert torch.allclose(found[1], torch.full((2, 1), expected))
    assert torch.allclose(found[0], torch.full((2, 1), 1.5))


def test_one_expert_is_himself() -> None:
    mean, deviation = experts()
    alone = torch.zeros(8, 3, dtype=torch.bool)
    alone[:, 1] = True
    found = consensus(mean, deviation, alone, 0.4)
    assert torch.allclose(found[0], mean[:, 1])
    assert torch.allclose(found[1], deviation[:, 1].square())


def test_no_expert_counts_against_what_it_says() -> None:
    mean, deviation = torch.tensor([[[4.0], [8.0]]]), torch.tensor([[[3.0], [1.0]]])
    unguarded, _ = inverted(mean[0, :, 0], deviation[0, :, 0], 0.9)
    assert unguarded > 8.5
    found = consensus(mean, deviation, torch.ones(1, 2, dtype=torch.bool), 0.9)
    assert found[0].item() == pytest.approx(8)
    assert found[1].item() == pytest.approx(1)
    wild, deviations = experts(500, least=0.01)
    mean, variance = consensus(wild, deviations.requires_grad_(), torch.ones(500, 3, dtype=torch.bool), 0.9)
    assert (mean <= wild.amax(1) + 1e-4).all()
    assert (mean >= wild.amin(1) - 1e-4).all()
    assert (variance > 0).all()
    assert (variance <= deviations.amin(1).square() * 1.001).all()
    mean.sum().backward()
    assert deviations.grad.isfinite().all()


def test_subsets() -> None:
    assert list(subsets(("x", "y", "z"))) == [
        ("x",), ("y",), ("z",), ("x", "y"), ("x", "z"), ("y", "z"), ("x", "y", "z")
    ]  # fmt: skip


# in a network


def network(decoders: str = "abc", names: str = "abc", **arguments):
    heads = {name: LatentDecoder() for name in decoders}
    net = tiny.network(names, ("class",), fusion=ConsensusPosterior(**arguments), heads=heads)
    net.prepare(tiny.Rows(net, tiny.batch(200, names, ("class",))))
    return net


def bound(net, rows) -> Tensor:
    """[size], 0 where nothing is."""
    return net.fusion.terms(net(rows), torch.Generator())["bound"].dense(rows.size)[0]


def slowly(net, rows) -> Tensor:
    """Sample by sample, subset by subset, as it is written."""
    found = torch.zeros(rows.size)
    for row in range(rows.size):
        one = rows.take(torch.tensor([row]))
        out = net(one)
        own = [name for name in "abc" if name in out.pieces]
        losses, logits = [], []
        for subset in subsets(tuple(own)):
            fused = out.only(*subset).fused
            q = Gaussian(fused.notes["mean"], fused.notes["log_var"])
            loss = net.fusion.beta * q.divergence()[0]
            for name in own:
                if name in net.heads:
                    guess = net.heads[name].decide(fused.values)
                    each = net.heads[name].loss(guess, out.pieces[name].values)
                    loss = loss + each[out.pieces[name].mask].sum()
            losses.append(loss)
            logits.append(net.fusion.shares[str(sorted(subset))] if net.fusion.learn else torch.zeros(()))
        if losses:
            share = torch.stack(logits).softmax(0)
            entropy = -(share * share.log()).sum() if net.fusion.learn else 0.0
            found[row] = (share * torch.stack(losses)).sum() - net.fusion.entropy * entropy
    return found


@pytest.mark.parametrize("arguments", [{}, {"learn": False}, {"correlation": 0.0, "beta": 2.5, "entropy": 3.0}])
@pytest.mark.parametrize("decoders", ["abc", "b", ""])
def test_the_bound_is_what_is_written_sample_by_sample(arguments, decoders: str) -> None:
    net, rows = network(decoders, **arguments).eval(), tiny.batch(16, "abc", ("class",), missing=0.4)
    rows = rows.keep(torch.arange(16).unsqueeze(1).expand(-1, 3) != 5)
    with torch.no_grad():
        for i, share in enumerate(net.fusion.shares.parameters()):
            share.fill_(math.sin(i))
        found = bound(net, rows)
        assert torch.allclose(found, slowly(net, rows), atol=1e-3)
    assert found[5] == 0


def test_equal_shares_are_the_mean_over_subsets_and_no_entropy() -> None:
    rows = tiny.batch(16, "abc", ("class",))
    equal, learned = network(learn=False, entropy=7.0).eval(), network(entropy=0.0).eval()
    learned.load_state_dict({**learned.state_dict(), **equal.state_dict()})
    assert torch.allclose(bound(equal, rows), bound(learned, rows), atol=1e-4)
    assert not list(equal.fusion.shares.parameters())


def test_a_subset_with_a_better_bound_gains_share_and_entropy_holds_it_back() -> None:
    rows = tiny.batch(40, "abc", ("class",), missing=0.0)

    def gradients(net) -> dict[str, float]:
        keys = [str(sorted(subset)) for subset in subsets(tuple("abc"))]
        found = torch.autograd.grad(bound(net, rows).mean(), [net.fusion.shares[key] for key in keys])
        return dict(zip(keys, map(float, found), strict=True))

    losses = {}
    for subset in subsets(tuple("abc")):
        only = network(entropy=0.0).eval()
        with torch.no_grad():
            only.fusion.shares[str(sorted(subset))].fill_(50)
            losses[str(sorted(subset))] = float(bound(only, rows).mean())
    mean = sum(losses.values()) / 7
    for key, gradient in gradients(network(entropy=0.0).eval()).items():
        assert gradient == pytest.approx((losses[key] - mean) / 7, abs=1e-3)
    held = network(entropy=1e4).eval()
    with torch.no_grad():
        held.fusion.shares[min(losses, key=losses.__getitem__)].fill_(1.0)
    assert max(gradients(held).items(), key=lambda item: item[1])[0] == min(losses, key=losses.__getitem__)


def test_fused_is_the_consensus_of_the_modalities_own_posteriors() -> None:
    net, rows = network(correlation=0.3).eval(), tiny.batch(20, "abc", ("class",), missing=0.0)
    out = net(rows)
    own = {name: Gaussian.of(net.fusion.maps[name](out.tokens[name].pooled().values)) for name in "abc"}
    alone = out.only("b").fused
    assert torch.allclose(alone.notes["mean"], own["b"].mean, atol=1e-6)
    assert torch.allclose(alone.notes["log_var"], own["b"].log_var, atol=1e-5)
    mean = torch.stack([q.mean for q in own.values()], 1)
    deviation = torch.stack([(q.log_var / 2).exp() for q in own.values()], 1)
    expected = consensus(mean, deviation, torch.ones(20, 3, dtype=torch.bool), 0.3)
    assert torch.allclose(out.fused.values, expected[0], atol=1e-6)
    assert torch.allclose(out.fused.notes["log_var"].exp(), expected[1], atol=1e-6)


def test_fused_is_the_mean_and_in_training_a_draw_from_the_consensus() -> None:
    net, rows = network(), tiny.batch(30, "abc", ("class",))
    fused = net.eval()(rows).fused
    assert torch.equal(fused.values, fused.notes["mean"])
    net.train()
    drawn = torch.stack([net(rows, (i,)).fused.values for i in range(400)])
    deviation = (fused.notes["log_var"] / 2).exp()
    assert ((drawn.mean(0) - fused.notes["mean"]) / deviation * 20).square().mean().sqrt() < 1.1
    assert torch.allclose(drawn.std(0), deviation, rtol=0.2)


def test_every_cell_is_encoded_once_however_many_subsets() -> None:
    net, rows = network().train(), tiny.batch(30, "abc", ("class",))
    calls = []
    for name, encoder in net.encoders.items():
        encoder.register_forward_hook(lambda *_, name=name: calls.append(name))
    net.fusion.terms(net(rows), torch.Generator())
    assert sorted(calls) == ["a", "b", "c"]
    assert multiply_adds(lambda: net(rows).fused) < multiply_adds(lambda: bound(net, rows))


def test_absent_modalities_are_generated_from_the_others() -> None:
    net, rows = network().eval(), tiny.batch(20, "abc", ("class",), missing=0.0)
    only = net(rows).only("a")
    assert torch.equal(only.decoded["c"].values, net.heads["c"].decide(only.fused.values))
    assert len(only.decoded["c"]) == 20


def test_training_improves_the_bound_and_generates_what_goes_together() -> None:
    net, rows = network(names="ac", decoders="ac", entropy=5.0), tiny.batch(200, "ac", ("class",), missing=0.0)
    with torch.no_grad():
        before = bound(net.eval(), rows).mean()
    tiny.train(tiny.step(net, {}), steps=80, size=64, targets=("class",), missing=0.0)
    with torch.no_grad():
        assert bound(net.eval(), rows).mean() < before - 1
        out = net(rows)
        guess = net.heads["c"].predict(out.only("a").decoded["c"].values)[:, 0].mean(1)
        truth = out.pieces["c"].values[:, 0].mean(1)
    assert torch.corrcoef(torch.stack([guess, truth]))[0, 1] > 0.6


def test_the_factor_goes_from_first_to_beta_by_optimiser_steps_and_is_saved() -> None:
    for first, beta, now in ((0.0, 2.0, [0.0, 0.5, 1.0, 1.5, 2.0, 2.0]), (3.0, 1.0, [3.0, 2.5, 2.0, 1.5, 1.0, 1.0])):
        rows = tiny.batch(12, "abc", ("class",))
        net = network(beta=beta, first=first, anneal=4).eval()
        for weight in now:
            assert torch.equal(bound(net, rows), bound(network(beta=weight).eval(), rows))
            other = network(beta=beta, first=first, anneal=4)
            other.load_state_dict(net.state_dict())
            assert other.fusion.weight() == weight
            net.fusion.keep(net(rows))
        assert "fusion.steps" not in network(beta=beta).state_dict()


def test_the_loop_counts_the_steps() -> None:
    net = network(anneal=100)
    tiny.train(tiny.step(net, {}), steps=7, size=16, targets=("class",), missing=0.0)
    assert int(net.fusion.steps) == 7


def test_too_many_modalities_are_refused() -> None:
    part = ConsensusPosterior()
    with pytest.raises(RecipeError, match=r"7 modalities have 2\^7 - 1 subsets"):
        part.build(Spec(8, 8, dict.fromkeys("abcdefg", tiny.MODALITIES["a"])), Place("fusion", ""))

from __future__ import annotations

import copy

import pytest
import tiny
import torch
from torch import Tensor
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from plait.adapters.mixture_prior import MixturePrior, pull
from plait.core.gaussian import Gaussian
from plait.core.packed import tokens_of
from plait.core.part import Place
from plait.heads.latent_decoder import LatentDecoder


def posteriors(size: int = 6, width: int = 3, missing: float = 0.4, seed: int = 0) -> list[tuple[Gaussian, Tensor]]:
    g = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(3):
        rows = (torch.rand(size, generator=g) >= missing).nonzero().squeeze(1)
        mean, log_var = (torch.randn(len(rows), width, generator=g) for _ in range(2))
        found.append((Gaussian(mean, log_var), rows))
    return found


def normal(q: Gaussian, at: int) -> Normal:
    return Normal(q.mean[at], (q.log_var[at] / 2).exp())


@pytest.mark.parametrize("alpha", [0.0, 0.25, 1.0])
def test_the_pull_is_the_written_sum_over_ordered_pairs_of_what_a_sample_has(alpha: float) -> None:
    parts = posteriors(12)
    leaves = [leaf.requires_grad_() for q, _ in parts for leaf in q]
    found = pull(parts, 12, alpha)
    gradients = torch.autograd.grad(found.sum(), leaves)
    everything = torch.zeros(())
    for row in range(12):
        own = [normal(q, rows.tolist().index(row)) for q, rows in parts if row in rows]
        total = 0.0
        for q in own:
            total += alpha * torch.distributions.kl_divergence(q, Normal(0.0, 1.0)).sum()
            for p in own:
                total += (1 - alpha) / len(own) * torch.distributions.kl_divergence(q, p).sum()
        assert torch.allclose(found[row], torch.as_tensor(total), atol=1e-4)
        everything = everything + total
    for one, other in zip(gradients, torch.autograd.grad(everything, leaves), strict=True):
        assert torch.allclose(one, other, atol=1e-4)


def test_posteriors_that_coincide_are_pulled_nowhere() -> None:
    (q, rows), *_ = posteriors(missing=0.0)
    assert torch.allclose(pull([(q, rows)] * 4, 6, 0.0), torch.zeros(6), atol=1e-5)
    assert (pull([(q, rows)] * 4, 6, 0.1) > 0).all()


def test_a_sample_of_one_modality_is_pulled_by_the_standard_normal_alone() -> None:
    ((q, rows), *_) = posteriors(missing=0.0)
    assert torch.allclose(pull([(q, rows)], 6, 0.0), torch.zeros(6), atol=1e-6)
    assert torch.allclose(pull([(q, rows)], 6, 0.3), 0.3 * q.divergence())


def test_it_is_at_least_the_divergence_to_the_mixture() -> None:
    parts = posteriors(missing=0.0)
    bound = pull(parts, 6, 0.0)
    for row in range(6):
        own = [normal(q, row) for q, _ in parts]
        stacked = Normal(torch.stack([q.loc for q in own]), torch.stack([q.scale for q in own]))
        mixture = MixtureSameFamily(Categorical(torch.ones(3)), Independent(stacked, 1))
        estimates = []
        for q in own:
            z = q.sample((20_000,))
            estimates.append((q.log_prob(z).sum(1) - mixture.log_prob(z)).mean())
        exact = sum(estimates)
        assert 0.1 < exact < bound[row]


# in a network


def network(alpha: float = 0.0, beta: float = 1.0, anneal: int = 0, decoders: str = "abc", names: str = "abc", **more):
    net = tiny.network(
        names,
        ("class",),
        adapters={"it": MixturePrior(beta, alpha, anneal)},
        heads={name: LatentDecoder(reads="own") for name in decoders},
        **more,
    )
    net.prepare(tiny.Rows(net, tiny.batch(200, names, ("class",))))
    return net


def terms(net, rows):
    return net.adapters["it"].terms(net(rows), torch.Generator())


def test_in_evaluation_the_latent_is_the_mean_and_in_training_a_draw_from_the_posterior() -> None:
    net, rows = network(), tiny.batch(40, "abc", ("class",))
    out = net.eval()(rows)
    for name in "abc":
        assert torch.equal(out.tokens[name].values[:, 0], out.tokens[name].notes["mean"])
    net.train()
    drawn = torch.stack([net(rows, (i,)).tokens["a"].values[:, 0] for i in range(400)])
    notes = net(rows).tokens["a"].notes
    off = (drawn.mean(0) - notes["mean"]) / (notes["log_var"] / 2).exp() * 20
    assert off.square().mean().sqrt() < 1.1
    assert torch.allclose(drawn.std(0), (notes["log_var"] / 2).exp(), rtol=0.2)


def test_reconstructions_are_of_each_modality_from_its_own_latent_and_absent_ones_cost_nothing() -> None:
    net, rows = network().eval(), tiny.batch(30, "abc", ("class",), missing=0.4)
    rows = rows.keep(torch.arange(30).unsqueeze(1).expand(-1, 3) != 7)
    out = net(rows)
    found = net.adapters["it"].terms(out, torch.Generator())
    assert list(found) == ["recon/a", "recon/b", "recon/c", "prior"]
    for name in "abc":
        term = found[f"recon/{name}"]
        assert term.rows.tolist() == [row for row in range(30) if row != 7]
        pieces, head = out.pieces[name], net.heads[name]
        dense, _ = term.dense(30)
        for row in range(30):
            if row not in pieces.rows:
                assert dense[row] == 0
                continue
            at = pieces.rows.tolist().index(row)
            params = head.decide(out.tokens[name].notes["mean"][at : at + 1])
            truth = pieces.values[at : at + 1][pieces.mask[at : at + 1]]
            scaled = (truth - head.mean) / head.std
            expected = -Normal(params[0].expand(len(truth), -1), 1.0).log_prob(scaled).sum()
            assert torch.allclose(dense[row], expected, atol=1e-4)


def test_no_reconstruction_reaches_another_modality_s_encoder() -> None:
    net, rows = network().train(), tiny.batch(30, "abc", ("class",), missing=0.2)
    terms(net, rows)["recon/b"].values.sum().backward()
    reached = {name.split(".")[1] for name, gradient in tiny.gradients(net).items() if gradient.any()}
    assert {name for name in reached if len(name) == 1} == {"b"}
    assert net.adapters["it"].maps["a"].weight.grad is None


@pytest.mark.parametrize(("alpha", "reached"), [(1.0, {"a"}), (0.0, {"a", "b"})])
def test_with_alpha_one_modalities_are_independent(alpha: float, reached: set[str]) -> None:
    """What is pulled of a sample with a and b, by changing only a's posterior."""
    net, rows = network(alpha, names="ab", decoders="ab").eval(), tiny.batch(20, "ab", ("class",), missing=0.0)
    moved = copy.deepcopy(net)
    with torch.no_grad():
        moved.adapters["it"].maps["a"].bias += 0.5

    def towards(of) -> dict[str, Tensor]:
        of.zero_grad()
        sum(term.values.sum() for term in terms(of, rows).values()).backward()
        return {name: of.adapters["it"].maps[name].weight.grad.clone() for name in "ab"}

    first, second = towards(net), towards(moved)
    assert {name for name in "ab" if not torch.allclose(first[name], second[name], atol=1e-6)} == reached


def test_beta_weighs_the_pull_alone_and_with_nothing_it_is_zero() -> None:
    rows = tiny.batch(20, "abc", ("class",))
    once, thrice, never = (terms(network(beta=beta).eval(), rows) for beta in (1.0, 3.0, 0.0))
    assert torch.allclose(thrice["prior"].values, 3 * once["prior"].values)
    assert not never["prior"].values.any()
    assert torch.equal(once["recon/a"].values, thrice["recon/a"].values)
    assert list(terms(network(decoders="").eval(), rows)) == ["prior"]


def test_alpha_falls_from_one_by_optimiser_steps_and_is_saved() -> None:
    net = network(alpha=0.2, anneal=4)
    step = tiny.step(net)
    part, found = net.adapters["it"], []
    for i in range(6):
        found.append(part.weight())
        tiny.loss(step.train(), tiny.batch(12, "abc", ("class",)), i).backward()
        step.after(i)
    assert found == pytest.approx([1.0, 0.8, 0.6, 0.4, 0.2, 0.2])
    other = network(alpha=0.2, anneal=4)
    other.load_tensors(net.state_dict())
    assert other.adapters["it"].weight() == part.weight() == pytest.approx(0.2)
    rows = tiny.batch(12, "abc", ("class",))
    part.steps.zero_()
    independent = network(alpha=1.0)
    independent.load_tensors(net.state_dict())
    assert torch.equal(terms(net.eval(), rows)["prior"].values, terms(independent.eval(), rows)["prior"].values)


def test_one_modality_generates_another_from_its_own_latent() -> None:
    net = network(missing={"borrowed": "borrowed_latent"}).eval()
    out = net(tiny.batch(20, "abc", ("class",), missing=0.0)).only("a")
    expected = net.heads["c"].decide(out.tokens["a"].notes["mean"])
    assert torch.allclose(out.decoded["c"].values, expected, atol=1e-6)


def test_the_pull_brings_the_latents_of_a_sample_together() -> None:
    def closeness(alpha: float) -> float:
        net = network(alpha, names="ac", decoders="ac")
        tiny.train(tiny.step(net, {}), steps=60, size=64, targets=("class",), missing=0.0)
        tokens = net.eval()(tiny.batch(200, "ac", ("class",), missing=0.0)).tokens
        first, second = (tokens[name].notes["mean"].detach() for name in "ac")
        return float((first - second).square().mean() / (first - second.roll(1, 0)).square().mean())

    assert closeness(0.0) < 0.4 < 0.7 < closeness(1.0)


def test_a_cell_is_there_if_any_of_its_tokens_is_visible_and_speaks_for_those_alone() -> None:
    part = MixturePrior().eval()
    part.build(tiny.spec("a"), Place("adapters", "it"))
    values = torch.randn(3, 2, 16, generator=torch.Generator().manual_seed(0))
    hidden = torch.tensor([[True, False], [False, False], [True, True]])
    tokens = tokens_of(values, torch.arange(3), hidden=hidden)
    found = part(tokens, "encoders.a", torch.ones(3, 1, dtype=torch.bool))
    assert found.visible[:, 0].tolist() == [True, True, False]
    alone = part(tokens_of(values[:1, 1:], torch.arange(1)), "encoders.a", torch.ones(1, 1, dtype=torch.bool))
    assert torch.allclose(found.values[0], alone.values[0], atol=1e-6)


def test_it_leaves_what_is_not_after_an_encoder() -> None:
    part = MixturePrior()
    part.build(tiny.spec("a"), Place("adapters", "it"))
    tokens = tiny.network("a")(tiny.batch(5, "a")).tokens["a"]
    assert part(tokens, "fusion.a", torch.ones(5, 1, dtype=torch.bool)) is tokens


def test_the_prior_term_is_the_pull_on_what_it_noted_times_beta_and_teaches_every_map() -> None:
    net, rows = network(alpha=0.25, beta=3.0).train(), tiny.batch(12, "abc", ("class",), missing=0.4)
    out = net(rows)
    term = net.adapters["it"].terms(out, torch.Generator())["prior"]
    notes = {name: part.notes for name, part in out.tokens.items()}
    for row, value in zip(term.rows.tolist(), term.values, strict=True):
        own = []
        for name, part in out.tokens.items():
            if row in part.rows:
                at = part.rows.tolist().index(row)
                own.append(Normal(notes[name]["mean"][at], (notes[name]["log_var"][at] / 2).exp()))
        standard = sum(torch.distributions.kl_divergence(q, Normal(0.0, 1.0)).sum() for q in own)
        mutual = sum(torch.distributions.kl_divergence(q, p).sum() for q in own for p in own) / len(own)
        assert torch.allclose(value, 3 * (0.25 * standard + 0.75 * mutual), rtol=1e-4)
    term.values.sum().backward()
    assert all((p.grad != 0).any() for p in net.adapters.parameters())


def test_a_modality_that_is_seen_but_was_not_decoded_has_no_reconstruction_to_pay_for() -> None:
    net, rows = network(decoders="ab").eval(), tiny.batch(12, "abc", ("class",), missing=0.0)
    out = net(rows)
    found = net.adapters["it"].terms(out, torch.Generator())
    assert set(found) == {"recon/a", "recon/b", "prior"}
    assert (found["recon/a"].values > 0).all()
    absent = net(tiny.batch(12, "bc", ("class",), missing=0.0))
    assert (net.adapters["it"].terms(absent, torch.Generator())["recon/a"].values == 0).all()

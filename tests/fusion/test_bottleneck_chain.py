import pytest
import tiny
import torch
from torch.distributions import Normal, kl_divergence

from plait.core.component import configure, find
from plait.core.errors import RecipeError
from plait.core.outputs import Outputs
from plait.core.packed import Batch
from plait.fusion.bottleneck_chain import drawn, rate

BottleneckChain = find("fusion", "bottleneck_chain")


def network(names: str = "abcd", **arguments):
    return tiny.network(names, ("class",), fusion=BottleneckChain(**arguments))


def seen(net, rows: Batch) -> Outputs:
    return net(rows, ("a pass",))


def test_the_rate_is_the_divergence_from_the_standard_normal() -> None:
    g = torch.Generator().manual_seed(0)
    mean, log_var = torch.randn(7, 5, generator=g), torch.randn(7, 5, generator=g)
    expected = kl_divergence(Normal(mean, (log_var / 2).exp()), Normal(0.0, 1.0)).mean(1)
    assert torch.allclose(rate(mean, log_var), expected, atol=1e-6)
    assert torch.equal(rate(torch.zeros(2, 3), torch.zeros(2, 3)), torch.zeros(2))


def test_a_draw_has_the_mean_and_the_deviation_that_it_is_said_to_have() -> None:
    mean, log_var = torch.tensor([[1.0, -2.0]]).expand(20_000, 2), torch.tensor([[0.5, -3.0]]).expand(20_000, 2)
    found = drawn(mean, log_var, torch.Generator().manual_seed(0))
    assert torch.allclose(found.mean(0), mean[0], atol=0.03)
    assert torch.allclose(found.var(0).log(), log_var[0], atol=0.05)


def test_with_beta_zero_and_no_other_loss_the_posteriors_collapse() -> None:
    net = network("abc", betas=(0.0, 0.0), weight=1.0, decay=1.0, latent=8).train()
    optimizer = torch.optim.Adam(net.fusion.parameters(), lr=0.03)
    rows = tiny.batch(12, "abc", ("class",))
    before = sum(v.values.sum().item() for v in net.fusion.terms(seen(net, rows), None).values())
    for i in range(80):
        optimizer.zero_grad()
        terms = net.fusion.terms(net(rows, (i,)), None)
        sum(term.values.sum() for term in terms.values()).backward()
        optimizer.step()
    notes = net.eval()(rows).fused.notes
    after = sum(v.values.sum().item() for v in terms.values())
    assert after < 0.02 * before
    for k in (0, 1):
        assert notes[f"mean/{k}"].abs().max() < 0.2
        assert notes[f"log_var/{k}"].abs().max() < 0.3


def test_terms_equal_one_sample_at_a_time() -> None:
    net = network(betas=(3.0, 5.0), weight=0.7, decay=0.5).train()
    rows = tiny.batch(16, targets=("class",))
    out = seen(net, rows)
    fusion, notes, tokens = net.fusion, out.fused.notes, out.tokens
    terms = fusion.terms(out, None)
    assert list(terms) == ["rate/0", "rate/1", "detect/b", "detect/c", "detect/d"]
    has = {name: part.rows.tolist() for name, part in rows.modalities.items()}
    assert out.fused.rows.tolist() == has["a"]
    for i, row in enumerate(has["a"]):
        x = tokens["a"].values[i, 0]
        for k, factor in ((0, 0.7), (1, 0.35)):
            mean, log_var = fusion.stages[k](x).chunk(2)
            divergence = kl_divergence(Normal(mean, (log_var / 2).exp()), Normal(0.0, 1.0)).mean()
            assert torch.allclose(terms[f"rate/{k}"].values[i], factor * divergence, atol=1e-5)
            x = notes[f"latent/{k}"][i]
        assert torch.allclose(out.fused.values[i], fusion.out(x), atol=1e-5)
        for name, k, factor in (("b", 0, 0.7 * 3), ("c", 1, 0.35 * 5), ("d", 1, 0.35 * 5)):
            term = terms[f"detect/{name}"]
            assert (row in term.rows.tolist()) == (row in has[name])
            if row in has[name]:
                part = tokens[name].take(tokens[name].rows == row)
                truth = part.values[part.visible].mean(0)
                error = (fusion.detectors[name](notes[f"latent/{k}"][i]) - truth).square().mean()
                assert torch.allclose(term.values[term.rows == row][0], factor * error, atol=1e-5)


def test_a_prediction_reads_the_prime_modality_alone() -> None:
    net = network(prime="c").eval()
    rows = tiny.batch(16, targets=("class",))
    found = net(rows).predictions["class"]
    assert found.rows.tolist() == rows.modalities["c"].rows.tolist()
    alone = Batch(16, {"c": rows.modalities["c"]}, rows.targets, rows.ids)
    assert torch.equal(net(alone).predictions["class"].values, found.values)


def test_detectors_are_only_targets() -> None:
    """They shape the chain and get no gradient from it."""
    net = network("ab").train()
    terms = net.fusion.terms(seen(net, tiny.batch(24, "ab", ("class",))), None)
    terms["detect/b"].values.sum().backward()
    assert net.encoders["b"].linear.weight.grad is None
    assert net.encoders["a"].linear.weight.grad.abs().sum() > 0
    assert net.fusion.stages[0][0].weight.grad.abs().sum() > 0


def test_latents_are_drawn_in_training_and_means_otherwise() -> None:
    net, rows = network(), tiny.batch(16, targets=("class",))
    notes = net.train()(rows, (1,)).fused.notes
    assert not torch.equal(notes["latent/0"], notes["mean/0"])
    assert not torch.equal(notes["latent/0"], net(rows, (2,)).fused.notes["latent/0"])
    assert torch.equal(notes["latent/0"], net(rows, (1,)).fused.notes["latent/0"])
    notes = net.eval()(rows).fused.notes
    assert torch.equal(notes["latent/1"], notes["mean/1"])


def test_a_weight_of_zero_leaves_no_loss() -> None:
    net, rows = network(weight=0.0), tiny.batch(8, targets=("class",))
    assert net.fusion.terms(seen(net, rows), None) == {}


def test_each_stage_is_half_as_wide_and_the_rest_of_the_detectors_stand_at_the_last() -> None:
    fusion = network(latent=12, betas=(1.0, 1.0, 1.0)).fusion
    assert [stage[-1].out_features for stage in fusion.stages] == [24, 12, 6]
    assert fusion.stage_of == {"b": 0, "c": 1, "d": 2}
    assert network(betas=(1.0, 1.0)).fusion.stage_of == {"b": 0, "c": 1, "d": 1}


def test_arguments_that_cannot_be() -> None:
    with pytest.raises(RecipeError, match=r"^fusion\.prime: there is no modality 'e'"):
        network(prime="e")
    with pytest.raises(RecipeError, match=r"^fusion\.bottleneck_chain: betas is empty"):
        configure("fusion", "bottleneck_chain", {"betas": []})
    assert configure("fusion", "bottleneck_chain", {"betas": [1, 2]}).betas == (1.0, 2.0)


@pytest.mark.parametrize("training", [True, False])
def test_three_stages_follow_each_other_and_the_last_is_mapped_out(training: bool) -> None:
    net, rows = network(latent=12, betas=(1.0, 1.0, 1.0)).train(training), tiny.batch(16, targets=("class",))
    out = seen(net, rows)
    fusion, notes = net.fusion, out.fused.notes
    x = out.tokens["a"].pooled().values
    for k, stage in enumerate(fusion.stages):
        inner = torch.relu(stage[0](x))
        mean, log_var = stage[-1](inner).chunk(2, 1)
        assert torch.allclose(notes[f"mean/{k}"], mean, atol=1e-6)
        assert torch.allclose(notes[f"log_var/{k}"], log_var, atol=1e-6)
        x = notes[f"latent/{k}"]
    assert x.shape[1] == 3
    assert torch.allclose(out.fused.values, fusion.out(x), atol=1e-6)


def test_what_predicts_and_what_is_detected_teach_every_stage_up_to_theirs() -> None:
    net, rows = network(betas=(1.0, 1.0, 1.0)).train(), tiny.batch(24, targets=("class",))
    for name, reached in (("fused", 3), ("detect/b", 1), ("detect/c", 2), ("detect/d", 3), ("rate/1", 2)):
        net.zero_grad()
        out = seen(net, rows)
        values = out.fused.values if name == "fused" else net.fusion.terms(out, None)[name].values
        values.square().sum().backward()
        learned = [all(p.grad is not None and (p.grad != 0).any() for p in s.parameters()) for s in net.fusion.stages]
        assert learned == [k < reached for k in range(3)], name
        assert (net.encoders["a"].linear.weight.grad != 0).any()


def test_who_lacks_the_prime_modality_gets_nothing_and_nobody_has_it_neither() -> None:
    net, rows = network().train(), tiny.batch(16, targets=("class",))
    out = net(Batch(16, {name: rows.modalities[name] for name in "bc"}, rows.targets, rows.ids))
    assert out.fused.values.shape == (0, 16)
    assert all(len(term) == 0 for term in net.fusion.terms(out, None).values())
    lone = net(Batch(16, {"a": rows.modalities["a"]}, rows.targets, rows.ids))
    terms = net.fusion.terms(lone, None)
    assert {name: len(term) for name, term in terms.items()} == {
        name: len(lone.fused) if name.startswith("rate") else 0 for name in terms
    }

import pytest
import tiny
import torch
from torch.nn import functional as F

from plait.core.cost import multiply_adds
from plait.core.meter import Meter
from plait.core.outputs import Pass
from plait.core.packed import tokens_of
from plait.core.part import Clock
from plait.core.random import generator
from plait.missing.masked_projection import MaskedProjection, segments

NAME = "masked_projection"


def made(names: str = "abc", fusion: str = "self_attention", **arguments):
    return tiny.network(names, ("class",), fusion=fusion, missing={NAME: MaskedProjection(**arguments)})


def test_stand_ins_are_projected_from_every_token_that_the_sample_has() -> None:
    net, rows = made("abcd", tokens=3).eval(), tiny.batch(30, "abcd", ("class",), missing=0.5)
    out, part, looked = net(rows), net.missing[NAME], 0
    for name, found in out.filled.items():
        for row, values in zip(found.rows[found.made], found.values[found.made], strict=True):
            x = [part.queries[name]]
            for source, tokens in out.tokens.items():
                own = tokens.on(row.unsqueeze(0))
                x.append(own.values[own.mask] + part.types[source])
            read = tiny.attended(part.block, torch.cat(x))[:3]
            read = part.maps[name].norm(read + part.maps[name].mlp(read))
            assert torch.allclose(values[:3], read, atol=1e-5)
            looked += 1
    assert looked > 30


def test_segments_by_hand() -> None:
    values = torch.arange(4.0).view(1, 4, 1)
    full = tokens_of(values, torch.tensor([0]))
    assert segments(full, 4).flatten().tolist() == [0, 1, 2, 3]
    assert segments(full, 2).flatten().tolist() == [0.5, 2.5]
    assert segments(full, 3).flatten().tolist() == [0.5, 1.5, 2.5]
    assert torch.equal(segments(full, 1)[:, 0], full.pooled().values)
    mask = torch.tensor([[True, False, True, False]])
    short = tokens_of(values.masked_fill(~mask.unsqueeze(2), torch.nan), torch.tensor([0]), mask)
    assert segments(short, 4).flatten().tolist() == [0, 0, 2, 2]


def test_segments_are_those_of_adaptive_pooling() -> None:
    values = torch.randn(6, 7, 5, generator=generator("v"))
    for length in range(1, 8):
        for count in range(1, 9):
            mask = (torch.arange(7) < length).expand(6, 7)
            pooled = F.adaptive_avg_pool1d(values[:, :length].transpose(1, 2), count).transpose(1, 2)
            assert torch.allclose(segments(tokens_of(values, torch.arange(6), mask), count), pooled, atol=1e-6)


def test_what_was_masked_cannot_change_its_projection() -> None:
    found = []
    for value in (0.0, 5.0):
        net, rows = made(tokens=2).train(), tiny.batch(20, "abc", ("class",), missing=0.1)
        rows.modalities["b"].values[:] += value
        found.append(tiny.without(net, rows, 1).guesses["b"].on(torch.arange(0, 20, 2)))
    assert len(found[0]) > 5
    assert torch.equal(found[0].values, found[1].values)


@pytest.mark.parametrize("count", [1, 2])
def test_only_what_was_masked_has_a_loss_and_it_is_smooth_l1(count: int) -> None:
    net, rows = made(tokens=count).train(), tiny.batch(30, "abc", ("class",), missing=0.3)
    out = tiny.without(net, rows, 1)
    terms = net.missing[NAME].terms(out, None)
    assert [len(terms[n]) for n in "ac"] == [0, 0]
    others = set(rows.modalities["a"].rows.tolist()) | set(rows.modalities["c"].rows.tolist())
    assert set(terms["b"].rows.tolist()) == set(rows.modalities["b"].rows.tolist()) & set(range(0, 30, 2)) & others
    for row, loss in zip(terms["b"].rows.unsqueeze(1), terms["b"].values, strict=True):
        truth, guess = segments(out.tokens["b"].on(row), count), out.guesses["b"].on(row).values
        gap = (truth - guess).abs()
        assert torch.allclose(loss, torch.where(gap < 1, gap.square() / 2, gap - 0.5).mean(), atol=1e-6)
    assert all(len(term) == 0 for term in net.missing[NAME].terms(net(rows), None).values())


def test_the_truth_is_not_moved_towards_its_projection() -> None:
    net = made("ab").train()
    out = tiny.without(net, tiny.batch(20, "ab", ("class",), missing=0.2), 1)
    net.missing[NAME].terms(out, None)["b"].values.sum().backward()
    found = tiny.gradients(net)
    assert not any(gradient.any() for name, gradient in found.items() if name.startswith("encoders.b"))
    assert found["encoders.a.linear.weight"].any()


def test_masks_the_asked_share_of_what_is_there() -> None:
    present = torch.rand(5000, 4, generator=generator("present")) < 0.5
    hidden = MaskedProjection(rate=0.3).hide(present, None, generator(0))
    assert not (hidden & ~present).any()
    assert abs(float(hidden[present].float().mean()) - 0.3) < 0.02


@pytest.mark.parametrize("training", [True, False])
def test_with_nothing_masked_or_absent_it_is_the_fusion_alone(training: bool) -> None:
    rows = tiny.batch(16, "abc", ("class",), missing=0.0)
    net, plain = made(rate=0.0), tiny.network("abc", ("class",), fusion="self_attention")
    first, second = (tiny.step(n).train(training).run(rows, Pass(), Clock(), Meter(n.names)) for n in (net, plain))
    assert torch.equal(first.fused.values, second.fused.values)
    assert multiply_adds(lambda: net(rows).fused) == multiply_adds(lambda: plain(rows).fused)


def test_rate_zero_on_complete_rows_trains_as_without_it() -> None:
    silent = tiny.train(tiny.step(made(rate=0.0)), missing=0.0, targets=("class",)).network.state_dict()
    plain = tiny.network("abc", ("class",), fusion="self_attention")
    absent = tiny.train(tiny.step(plain), missing=0.0, targets=("class",)).network.state_dict()
    assert all(torch.equal(value, silent[name]) for name, value in absent.items())


def test_each_target_has_its_own_queries_and_map() -> None:
    net, rows = made("abc").eval(), tiny.batch(6, "a", ("class",), missing=0.0)
    found = net(rows).filled
    assert not torch.allclose(found["b"].values, found["c"].values, atol=1e-2)


def test_a_modality_without_company_has_nothing_to_learn() -> None:
    assert not list(made("a").missing[NAME].parameters())


def test_a_stand_in_and_its_gradients_are_those_of_one_sample_at_a_time() -> None:
    net, rows = made("ab", tokens=2).eval(), tiny.batch(12, "ab", ("class",), missing=0.4)
    out, part = net(rows), net.missing[NAME]
    found, expected = [], []
    for name, source in (("a", "b"), ("b", "a")):
        filled = out.filled[name]
        for row, values in zip(filled.rows[filled.made], filled.values[filled.made], strict=True):
            own = out.tokens[source].on(row.unsqueeze(0))
            x = torch.cat([part.queries[name], own.values[own.mask] + part.types[source]])
            read = tiny.attended(part.block, x)[:2]
            inner, _, outer = part.maps[name].mlp
            read = read + outer(F.gelu(inner(read)))
            standard = (read - read.mean(1, keepdim=True)) / (read.var(1, unbiased=False, keepdim=True) + 1e-5).sqrt()
            norm = part.maps[name].norm
            expected.append(standard * norm.weight + norm.bias)
            found.append(values[:2])
    assert tiny.agrees(torch.stack(found), torch.stack(expected), [*part.parameters(), *net.encoders.parameters()])

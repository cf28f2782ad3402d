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
from plait.missing.feature_autoencoder import FeatureAutoencoder, drop, reconstruction

NAME = "feature_autoencoder"


def made(names: str = "abc", fusion: str = "self_attention", **arguments):
    return tiny.network(names, ("class",), fusion=fusion, missing={NAME: FeatureAutoencoder(**arguments)})


def test_an_absent_modality_is_decoded_from_mask_memory_and_what_is_kept() -> None:
    net, rows = made("abcd").eval(), tiny.batch(30, "abcd", ("class",), missing=0.5)
    out, part = net(rows), net.missing[NAME]
    pooled = {n: p.pooled() for n, p in out.tokens.items()}
    for row in range(30):
        kept = [n for n in "abcd" if row in pooled[n].rows]
        lost = [n for n in "abcd" if n not in kept]
        if not lost:
            continue
        x = torch.cat([part.memory, *(pooled[n].values[pooled[n].rows == row] + part.types[n] for n in kept)])
        x = part.encode[1](tiny.attended(part.encode[0], x))
        types = torch.stack([torch.zeros(16)] * len(part.memory) + [part.types[n] for n in kept + lost])
        x = torch.cat([x, part.mask.expand(len(lost), -1)]) + types
        x = part.predict(part.decode[1](tiny.attended(part.decode[0], x)))[-len(lost) :]
        for name, values in zip(lost, x, strict=True):
            found = out.filled[name]
            assert found.made[found.rows == row]
            assert torch.allclose(found.values[found.rows == row][0, 0], values, atol=1e-5)


def test_dropping_keeps_each_number_of_modalities_equally_often_and_never_none() -> None:
    g = torch.Generator().manual_seed(0)
    present = torch.rand(40_000, 4, generator=g) < 0.7
    gone = drop(present, 1.0, g)
    assert not (gone & ~present).any()
    kept = (present & ~gone).sum(1)
    for count in (1, 2, 3, 4):
        numbers = kept[present.sum(1) == count]
        shares = torch.bincount(numbers, minlength=count + 1).float() / len(numbers)
        assert torch.allclose(shares, torch.tensor([0.0] + [1 / count] * count), atol=0.02)
    three = present.sum(1) == 3
    assert abs(gone[three][present[three]].float().mean().item() - 1 / 3) < 0.02
    assert not drop(present, 0.0, g).any()
    assert abs(drop(present, 0.25, g).any(1).float().mean().item() / gone.any(1).float().mean().item() - 0.25) < 0.02


def test_samples_are_dropped_from_one_by_one_and_no_modality_more_than_another() -> None:
    gone = drop(torch.ones(20_000, 3, dtype=torch.bool), 1.0, generator(0))
    assert torch.allclose(gone.float().mean(0), torch.full((3,), 1 / 3), atol=0.02)
    assert len(gone.unique(dim=0)) == 7


def test_what_is_kept_passes_unchanged() -> None:
    net, rows = made().train(), tiny.batch(30, "abc", ("class",), missing=0.3)
    out = tiny.step(net).train().run(rows, Pass(), Clock(), Meter(net.names))
    assert out.guesses
    for name, part in out.filled.items():
        real = part.real()
        assert torch.equal(real.rows, out.seen[name].rows)
        assert torch.equal(real.pooled().values, out.seen[name].pooled().values)


def test_what_was_dropped_cannot_change_its_stand_in() -> None:
    found = []
    for value in (0.0, 5.0):
        net, rows = made().train(), tiny.batch(20, "abc", ("class",), missing=0.1)
        rows.modalities["b"].values[:] += value
        found.append(tiny.without(net, rows, 1).guesses["b"].on(torch.arange(0, 20, 2)))
    assert len(found[0]) > 5
    assert torch.equal(found[0].values, found[1].values)


def test_only_what_was_dropped_has_a_loss() -> None:
    net, rows = made().train(), tiny.batch(30, "abc", ("class",), missing=0.3)
    out = tiny.without(net, rows, 1)
    terms = net.missing[NAME].terms(out, None)
    assert [len(terms[n]) for n in "ac"] == [0, 0]
    there = set(rows.modalities["b"].rows.tolist()) & set(range(0, 30, 2))
    others = set(rows.modalities["a"].rows.tolist()) | set(rows.modalities["c"].rows.tolist())
    assert set(terms["b"].rows.tolist()) == there & others
    truth = out.tokens["b"].pooled()
    for row, loss in zip(terms["b"].rows, terms["b"].values, strict=True):
        true = truth.values[truth.rows == row][0]
        true = (true - true.mean()) / (true.var(correction=0) + 1e-5).sqrt()
        guess = out.filled["b"].values[out.filled["b"].rows == row][0, 0]
        assert torch.allclose(loss, F.mse_loss(guess, true), atol=1e-5)
    assert all(len(term) == 0 for term in net.missing[NAME].terms(net(rows), None).values())


def test_the_loss_is_nothing_at_the_truth() -> None:
    truth = torch.randn(6, 8, generator=generator("truth"))
    assert torch.equal(reconstruction(truth, truth, False), torch.zeros(6))
    assert torch.allclose(reconstruction(F.layer_norm(3 * truth + 1, (8,)), truth, True), torch.zeros(6), atol=1e-6)


def test_the_truth_is_not_moved_towards_its_reconstruction() -> None:
    net = made("ab", normalise=False).train()
    net.missing[NAME].terms(tiny.without(net, tiny.batch(20, "ab", ("class",), missing=0.2), 1), None)[
        "b"
    ].values.sum().backward()
    found = tiny.gradients(net)
    assert not any(gradient.any() for name, gradient in found.items() if name.startswith("encoders.b"))
    assert found["encoders.a.linear.weight"].abs().sum() > 0


@pytest.mark.parametrize("training", [True, False])
def test_with_rate_zero_complete_rows_are_left_as_they_are_and_pay_nothing(training: bool) -> None:
    rows = tiny.batch(16, "abc", ("class",), missing=0.0)
    net, plain = (
        made(rate=0.0).train(training),
        tiny.network("abc", ("class",), fusion="self_attention").train(training),
    )
    first, second = (tiny.step(n).train(training).run(rows, Pass(), Clock(), Meter(n.names)) for n in (net, plain))
    assert torch.equal(first.fused.values, second.fused.values)
    assert multiply_adds(lambda: net(rows).fused) == multiply_adds(lambda: plain(rows).fused)


def test_rate_zero_on_complete_rows_trains_as_without_it() -> None:
    silent = tiny.train(tiny.step(made(rate=0.0)), missing=0.0, targets=("class",)).network.state_dict()
    plain = tiny.network("abc", ("class",), fusion="self_attention")
    absent = tiny.train(tiny.step(plain), missing=0.0, targets=("class",)).network.state_dict()
    assert all(torch.equal(value, silent[name]) for name, value in absent.items())


def test_a_cell_without_a_visible_token_is_neither_read_nor_replaced() -> None:
    net, rows = made("ab").eval(), tiny.batch(4, "ab", ("class",), missing=0.0)
    tokens = net(rows).tokens
    blind = tokens["a"].with_(mask=torch.zeros_like(tokens["a"].mask))
    filled = net.missing[NAME]({"a": blind}, 4, None)
    assert filled.tokens["a"] is blind
    assert not filled.guesses
    both = net.missing[NAME]({"a": blind, "b": tokens_of(tokens["b"].values, tokens["b"].rows)}, 4, None)
    assert both.tokens["a"] is blind


def test_a_modality_without_company_has_nothing_to_learn() -> None:
    assert not list(made("a").missing[NAME].parameters())


def test_stand_ins_teach_everything_that_they_are_made_from() -> None:
    net, rows = made("abc").eval(), tiny.batch(20, "abc", ("class",), missing=0.4)
    out = net(rows)
    sum(part.values[part.made].sum() for part in out.filled.values() if part.made is not None).backward()
    assert all((p.grad != 0).any() for p in (*net.missing[NAME].parameters(), *net.encoders.parameters()))

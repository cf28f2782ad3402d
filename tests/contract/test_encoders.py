"""What every encoder keeps to, for each kind of cells that it takes."""

from __future__ import annotations

import fnmatch

import numpy as np
import pytest
import tiny
import torch

from plait.core.component import configure
from plait.core.packed import Tokens

ALL = list(range(9))


def hide(pieces: Tokens, rate: float = 0.4, seed: int = 0) -> Tokens:
    view = configure("views", "hide", {"rate": rate})
    view.build(tiny.spec("a"), None)
    return view.pieces({"a": pieces}, torch.Generator().manual_seed(seed))["a"]


def test_cutting_has_no_parameters_and_keeps_the_rows(encoder) -> None:
    net, rows = encoder.network(), encoder.batch(ALL)
    pieces = net.cut(rows)["m"]
    assert not pieces.values.requires_grad
    assert torch.equal(pieces.rows, rows.modalities["m"].rows)
    length, width = net.spec.pieces["m"]
    if length:
        assert pieces.values.shape[1] == length
    if width:
        assert pieces.values.shape[2] == width
    tokens = net(rows).tokens["m"]
    assert torch.equal(tokens.rows, pieces.rows)
    assert tokens.values.shape[2] == 16
    assert tokens.mask.shape == tokens.values.shape[:2]


def test_every_parameter_learns(encoder) -> None:
    """From tokens that are seen and, for masked modelling, from those that are hidden."""
    net = encoder.network().train()
    part = net.encoders["m"]
    reached = {name: False for name, p in part.named_parameters() if p.requires_grad}
    for i in range(3):
        net.zero_grad()
        out = net(encoder.batch(ALL), ("step", i))
        pieces = hide(out.pieces["m"], seed=i) if out.pieces["m"].values.shape[1] > 1 else out.pieces["m"]
        hidden = torch.zeros_like(pieces.mask)
        hidden[0] = pieces.mask[0]  # a cell that is hidden whole
        pieces = pieces.with_(hidden=hidden if pieces.hidden is None else pieces.hidden | hidden)
        tokens = part(pieces)
        weight = torch.randn(tokens.values.shape, generator=torch.Generator().manual_seed(i))
        (tokens.values * weight)[tokens.mask].sum().backward()
        for name, gradient in tiny.gradients(part).items():
            reached[name] |= bool((gradient != 0).any())
    assert [n for n, hit in reached.items() if not hit and not any(fnmatch.fnmatch(n, i) for i in part.idle)] == []


def test_what_stands_beyond_a_cells_end_changes_nothing(encoder) -> None:
    if not encoder.modality.ragged:
        pytest.skip("its cells do not differ in length")
    net = encoder.network().eval()
    garbage = [77.0, 0.0] if np.issubdtype(encoder.cells[0].dtype, np.integer) else [77.0, float("nan")]
    expected = net(encoder.batch(ALL)).tokens["m"]
    for value in garbage:
        for extra in (0, 7):
            found = net(encoder.batch(ALL, beyond=value, extra=extra)).tokens["m"]
            shared = min(found.values.shape[1], expected.values.shape[1])
            assert torch.equal(found.mask.sum(1), expected.mask.sum(1))
            own, other = (t.values[:, :shared][t.mask[:, :shared]] for t in (found, expected))
            assert torch.allclose(own, other, atol=1e-5)


def test_what_is_hidden_changes_nothing(encoder) -> None:
    net = encoder.network().eval()
    part, pieces = net.encoders["m"], hide(net.cut(encoder.batch(ALL))["m"])
    found = []
    for value in (0, 99):
        changed = pieces.values.masked_fill(pieces.hidden.unsqueeze(-1), value)
        tokens = part(pieces.with_(values=changed))
        found.append({"values": tokens.values.masked_fill(~tokens.mask.unsqueeze(-1), 0), "visible": tokens.visible})
    assert tiny.equal(*found)
    assert pieces.hidden.any() or pieces.values.shape[1] == 1 or bool((pieces.mask.sum(1) < 2).all())


def test_a_cell_says_the_same_in_any_company(encoder) -> None:
    net = encoder.network().eval()
    together = net(encoder.batch(ALL)).tokens["m"]
    for i in (0, 4):
        alone = net(encoder.batch([i])).tokens["m"]
        found, expected = alone.values[0][alone.visible[0]], together.values[i][together.visible[i]]
        assert torch.allclose(found, expected, atol=1e-4)


def test_eval_is_deterministic_and_saving_keeps_every_bit(encoder) -> None:
    net, other = encoder.network().eval(), encoder.network(seed=1, prepared=False).eval()
    first = net(encoder.batch(ALL), ("one",)).tokens["m"]
    assert torch.equal(first.values, net(encoder.batch(ALL), ("two",)).tokens["m"].values)
    other.load_tensors(net.state_dict())
    assert torch.equal(first.values, other(encoder.batch(ALL)).tokens["m"].values)


def test_precomputing_again_gives_the_same_under_the_same_name(encoder) -> None:
    first, second = encoder.configured(), encoder.configured()
    assert first.fingerprint() == second.fingerprint()
    for cell, again in zip(encoder.cells, second.precompute(encoder.raw), strict=True):
        assert cell.dtype == again.dtype
        np.testing.assert_array_equal(cell, again)


def test_a_batch_without_the_modality_does_not_run_it(encoder) -> None:
    net, rows = encoder.network().train(), encoder.batch(ALL)
    del rows.modalities["m"]
    tiny.loss(tiny.step(net), rows).backward()
    assert all(p.grad is None for p in net.encoders["m"].parameters())

"""What every encoder must keep, and how to run one without a table."""

import copy

import numpy as np
import pytest
import torch

from plait.core.packed import Batch, Packed
from plait.core.part import Modality, Place, Spec
from plait.core.random import seeded

WIDTH = 16


class Rows:
    """Training rows for `prepare`: one batch per entry."""

    def __init__(self, *batches):
        self.cells = batches
        self.size = sum(len(cells) for cells in batches)

    def batches(self, limit=None):
        for cells in self.cells:
            yield Batch(len(cells), {"x": cells}, {}, torch.arange(len(cells)))


class Lab:
    @staticmethod
    def packed(encoder, cells, rows=None, padding=0, junk=None):
        """As a store gathers cells: padded to the longest, here by `padding` more, filled with `junk`."""
        stored = encoder.precompute(cells)
        rows = torch.arange(len(stored)) if rows is None else torch.as_tensor(rows)
        if not Lab.ragged(encoder, stored):
            return Packed(torch.from_numpy(np.stack(stored)), rows)
        lengths = [len(cell) for cell in stored]
        values = np.zeros((len(stored), max(lengths) + padding, *stored[0].shape[1:]), stored[0].dtype)
        if junk is not None:
            values[:] = junk
        for row, cell in zip(values, stored, strict=True):
            row[: len(cell)] = cell
        return Packed(torch.from_numpy(values), rows, notes={"length": torch.tensor(lengths)})

    @staticmethod
    def ragged(encoder, stored):
        return encoder.kind in ("text", "audio", "series") or len({cell.shape for cell in stored}) > 1

    @staticmethod
    def build(encoder, kind, cells, details=None, seed=0):
        encoder.kind = kind
        stored = encoder.precompute(cells)
        ragged = Lab.ragged(encoder, stored)
        modality = Modality(kind, stored[0].shape[ragged:], ragged, details or {})
        spec = Spec(WIDTH, WIDTH, {"x": modality}, pieces={"x": encoder.describe(modality)})
        encoder.place = Place("encoders", "x")
        with seeded(seed):
            encoder.build(spec, encoder.place)
        return encoder.eval()

    @staticmethod
    def encode(encoder, cells, **how):
        return encoder(encoder.cut(Lab.packed(encoder, cells, **how)))

    rows = Rows

    @staticmethod
    def contract(encoder, kind, cells, details=None):
        """All checks that hold for any encoder; `cells` are decoded cells, at least four, of different content."""
        Lab.build(encoder, kind, cells, details)
        encoder.prepare(Rows(Lab.packed(encoder, cells)))
        for check in (
            _form,
            _rows,
            _hidden,
            _all_hidden,
            _padding,
            _order,
            _alone,
            _paste,
            _layers,
            _saved,
            _grown,
            _half,
        ):
            with torch.no_grad():
                check(encoder, kind, cells, details)
        _gradients(encoder, cells)
        with torch.autocast("cpu", torch.bfloat16):
            _gradients(encoder, cells)


def _half(encoder, kind, cells, details):
    """In mixed precision it gives the same tokens, as near as bfloat16 comes."""
    exact = Lab.encode(encoder, cells)
    with torch.autocast("cpu", torch.bfloat16):
        found = Lab.encode(encoder, cells)
    error = (found.values.float() - exact.values)[exact.mask]
    assert error.square().mean().sqrt() < 0.15 * exact.values[exact.mask].square().mean().sqrt()


@pytest.fixture(scope="session")
def lab():
    return Lab


def same(found, expected, exact=False):
    length = min(found.values.shape[1], expected.values.shape[1])
    assert torch.equal(found.mask[:, :length], expected.mask[:, :length])
    assert not found.mask[:, length:].any()
    assert not expected.mask[:, length:].any()
    options = {"rtol": 0, "atol": 0} if exact else {"rtol": 1e-3, "atol": 1e-4}
    torch.testing.assert_close(found.values[:, :length], expected.values[:, :length], **options)


def some_hidden(pieces):
    """About a third of the pieces, and all of the second cell."""
    chance = torch.rand(pieces.mask.shape, generator=torch.Generator().manual_seed(0))
    hidden = pieces.mask & (chance < 0.35)
    hidden[1] = pieces.mask[1]
    return pieces.with_(hidden=hidden)


def with_junk(pieces):
    """Other content wherever it is hidden or does not exist."""
    values = pieces.values.clone()
    values[~pieces.visible] = torch.nan if values.is_floating_point() else 99
    notes = dict(pieces.notes)
    if "observed" in notes:
        notes["observed"] = notes["observed"] ^ ~pieces.visible.unsqueeze(2)
    return pieces.with_(values=values, notes=notes)


def _form(encoder, kind, cells, details):
    cut = encoder.cut(Lab.packed(encoder, cells))
    tokens = encoder(cut)
    assert tokens.values.shape == (*tokens.mask.shape, WIDTH)
    assert tokens.values.isfinite().all()
    assert tokens.values[tokens.mask].std() > 0.1
    assert not tokens.values[~tokens.mask].any()
    assert tokens.layers is None
    count, size = encoder.describe(Modality(kind, *_shape(encoder, cells), details or {}))
    assert count in (0, cut.values.shape[1])
    assert size in (0, cut.values.shape[2])


def _shape(encoder, cells):
    stored = encoder.precompute(cells)
    ragged = Lab.ragged(encoder, stored)
    return stored[0].shape[ragged:], ragged


def _rows(encoder, kind, cells, details):
    rows = [3 * i + 1 for i in range(len(cells))]
    tokens = Lab.encode(encoder, cells, rows=rows)
    assert tokens.rows.tolist() == rows
    same(tokens, Lab.encode(encoder, cells), exact=True)


def _hidden(encoder, kind, cells, details):
    pieces = some_hidden(encoder.cut(Lab.packed(encoder, cells)))
    found, expected = encoder(with_junk(pieces)), encoder(pieces)
    assert torch.equal(found.values, expected.values)
    assert torch.equal(found.visible, expected.visible)
    assert not expected.visible[1].any()
    assert expected.hidden.any()
    assert expected.values[expected.hidden].isfinite().all()


def _all_hidden(encoder, kind, cells, details):
    pieces = encoder.cut(Lab.packed(encoder, cells))
    tokens = encoder(pieces.with_(hidden=pieces.mask))
    assert not tokens.visible.any()
    assert tokens.values.isfinite().all()


def _padding(encoder, kind, cells, details):
    plain = Lab.encode(encoder, cells)
    if not Lab.ragged(encoder, encoder.precompute(cells)):
        return
    same(Lab.encode(encoder, cells, padding=37, junk=77), plain)
    same(Lab.encode(encoder, cells, junk=77), plain, exact=True)


def _order(encoder, kind, cells, details):
    order = torch.arange(len(cells)).flip(0)
    turned = Lab.encode(encoder, [cells[i] for i in order])
    plain = Lab.encode(encoder, cells)
    same(turned.with_(values=turned.values[order], mask=turned.mask[order]), plain)


def _alone(encoder, kind, cells, details):
    together = Lab.encode(encoder, cells)
    for i, cell in enumerate(cells):
        same(Lab.encode(encoder, [cell], rows=[i]), together.take(slice(i, i + 1)))


def _paste(encoder, kind, cells, details):
    packed = Lab.packed(encoder, cells)
    pasted = encoder.paste(encoder.cut(packed))
    assert pasted.values.dtype == packed.values.dtype
    torch.testing.assert_close(pasted.values, packed.values, rtol=0, atol=0, equal_nan=True)
    assert torch.equal(pasted.rows, packed.rows)


def _layers(encoder, kind, cells, details):
    pieces = some_hidden(encoder.cut(Lab.packed(encoder, cells)))
    tokens = encoder(pieces, layers=1)
    assert len(tokens.layers) == min(1, len(encoder.trunk.blocks))
    assert torch.equal(tokens.values, encoder(pieces).values)
    for layer in tokens.layers:
        assert layer.shape == tokens.values.shape
        torch.testing.assert_close(encoder.trunk.norm(layer)[tokens.mask], tokens.values[tokens.mask])


def _saved(encoder, kind, cells, details):
    other = copy.deepcopy(encoder)
    for tensor in other.state_dict().values():
        tensor.zero_()
    other.load_state_dict(encoder.state_dict())
    same(Lab.encode(other, cells), Lab.encode(encoder, cells), exact=True)


def _grown(encoder, kind, cells, details):
    """Built and prepared again, it stays bit for bit what it was."""
    before = Lab.encode(encoder, cells)
    Lab.build(encoder, kind, cells, details, seed=1)
    encoder.prepare(Rows(Lab.packed(encoder, cells[:1])))
    same(Lab.encode(encoder, cells), before, exact=True)


def _gradients(encoder, cells):
    """Every parameter that learns gets a finite gradient, and the hidden junk none of it."""
    encoder.train()
    pieces = some_hidden(encoder.cut(Lab.packed(encoder, cells)))
    found = []
    for part in (pieces, with_junk(pieces)):
        encoder.zero_grad()
        with seeded(0):
            tokens = encoder(part)
        (tokens.values[tokens.mask] * torch.linspace(-1, 1, WIDTH)).sum().backward()
        gradients = {name: p.grad for name, p in encoder.named_parameters() if p.requires_grad}
        assert [name for name, grad in gradients.items() if grad is None] == []
        assert all(grad.isfinite().all() for grad in gradients.values())
        found.append(gradients)
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
    encoder.zero_grad()
    encoder.eval()

"""Augmentation and masking: noise, hide, drop."""

import pytest
import tiny
import torch

from plait.core.component import find
from plait.core.errors import RecipeError
from plait.core.packed import tokens_of
from plait.core.part import Modality, Place, Spec
from plait.core.random import generator

Noise, Hide, Drop = (find("views", name) for name in ("noise", "hide", "drop"))


def built(view):
    view.build(tiny.spec(), Place("views", "it.0"))
    return view


@pytest.fixture
def pieces():
    return tiny.network().cut(tiny.batch(40, missing=0.3))


def test_noise_has_the_asked_share_of_each_cells_spread() -> None:
    g = torch.Generator().manual_seed(0)
    values = torch.randn(30, 20, 50, generator=g) * torch.logspace(-3, 3, 30).view(-1, 1, 1) + 7
    mask = torch.arange(20).expand(30, 20) < 12
    part = tokens_of(values.masked_fill(~mask.unsqueeze(-1), float("nan")), torch.arange(30), mask)
    noisy = built(Noise(std=0.5)).pieces({"a": part}, g)["a"]
    for i in range(30):
        spread = (noisy.values[i, :12] - part.values[i, :12]).std() / part.values[i, :12].std()
        assert float(spread) == pytest.approx(0.5, rel=0.15)


def test_noise_on_codes_is_refused() -> None:
    view = Noise()
    view.place = Place("views", "noisy.0")
    view.build(Spec(16, 8, {"word": Modality("text", (1,))}, {}), view.place)
    codes = {"word": tokens_of(torch.ones(2, 3, 1, dtype=torch.long), torch.arange(2))}
    with pytest.raises(RecipeError, match="pieces of 'word' are codes"):
        view.pieces(codes, torch.Generator())


def test_noise_on_the_chosen_modalities_only(pieces) -> None:
    noisy = built(Noise(modalities=["b"])).pieces(pieces, generator(0))
    assert noisy["a"] is pieces["a"]
    assert not torch.equal(noisy["b"].values, pieces["b"].values)
    assert torch.equal(built(Noise(std=0.0)).pieces(pieces, generator(0))["b"].values, pieces["b"].values)


@pytest.mark.parametrize("rate", [0.0, 0.3, 0.5, 1.0])
def test_hide_hides_exactly_the_share_and_leaves_one(pieces, rate: float) -> None:
    for part in built(Hide(rate=rate)).pieces(pieces, generator(0)).values():
        n = part.mask.sum(1)
        expected = (rate * n).round().minimum(n - 1)
        assert torch.equal(part.hidden.sum(1), expected.long())
        assert not (part.hidden & ~part.mask).any()
    again = built(Hide(rate=rate)).pieces(pieces, generator(0))["b"]
    assert torch.equal(again.hidden, built(Hide(rate=rate)).pieces(pieces, generator(0))["b"].hidden)
    assert torch.equal(again.values, pieces["b"].values)


def test_hide_adds_to_what_is_hidden_already(pieces) -> None:
    view = built(Hide(rate=0.5))
    once = view.pieces(pieces, generator(0))
    twice = view.pieces(once, generator(1))
    assert (twice["b"].hidden | once["b"].hidden).equal(twice["b"].hidden)
    assert (twice["b"].visible.sum(1) >= 1).all()


def test_drop_takes_the_asked_share_and_leaves_one_of_a_samples_own() -> None:
    rows = tiny.batch(4000, missing=0.0)
    kept = built(Drop(rate=0.3)).cells(rows, generator(0)).present
    assert float(kept.float().mean()) == pytest.approx(0.7 + 0.3**4 / 4, abs=0.01)
    rows = tiny.batch(400, missing=0.5)
    kept = built(Drop(rate=1.0)).cells(rows, generator(0)).present
    assert (kept.sum(1) == 1).all()
    assert not (kept & ~rows.present).any()


def test_drop_of_some_modalities() -> None:
    rows = tiny.batch(50, missing=0.0)
    kept = built(Drop(rate=1.0, modalities=["a", "c"])).cells(rows, generator(0)).present
    assert kept.all(0).tolist() == [False, True, False, True]
    assert not kept[:, 0].any()


def test_unknown_modalities_are_refused() -> None:
    for cls in (Noise, Hide, Drop):
        with pytest.raises(RecipeError, match=r"^views.it.0: there is no modality 'x'"):
            built(cls(modalities=["x"]))

"""Entries that change places between two modalities: what is kept of them, when, and what the loss makes of it."""

import pytest
import tiny
import torch
from torch.nn import functional as F

from plait.core.component import find
from plait.core.part import Clock
from plait.objectives.info_nce import info_nce
from plait.objectives.swapped_info_nce import exchanged

InfoNCE, SwappedInfoNCE = (find("objectives", name) for name in ("info_nce", "swapped_info_nce"))


def units(n: int, seed: int) -> torch.Tensor:
    return F.normalize(torch.randn(n, 6, generator=torch.Generator().manual_seed(seed)), dim=1)


def losses(objective, training=True, seed=0, missing=0.3):
    """Of three modalities, by pair; two cells of one are equal."""
    rows = tiny.batch(30, "abc", targets=(), missing=missing)
    rows.modalities["a"].values[1] = rows.modalities["a"].values[0]
    step = tiny.step(tiny.network("abc", targets=()), {"it": objective}).train(training)
    state = step.state("it", objective, rows, Clock(), tiny.meter(step), {}, None)
    torch.manual_seed(seed)
    return {name: term.values.detach() for name, term in objective(state).items()}


def same(one, other) -> bool:
    assert one.keys() == other.keys()
    return all(torch.equal(one[name], other[name]) for name in one)


def test_all_in_each_others_place_leaves_the_loss_and_none_leaves_the_embeddings() -> None:
    a, b, scale = units(9, 0), units(9, 1), torch.tensor(5.0)
    here, there = exchanged(a, b, torch.ones_like(a)), exchanged(a, b, torch.zeros_like(a))
    assert torch.allclose(here[0], a)
    assert torch.allclose(here[1], b)
    assert torch.allclose(there[0], b)
    assert torch.allclose(there[1], a)
    assert torch.allclose(info_nce(*there, scale), info_nce(a, b, scale), atol=1e-5)


def test_what_one_gives_away_the_other_gets() -> None:
    a, b, kept = units(9, 0), units(9, 1), torch.rand(9, 6, generator=torch.Generator().manual_seed(2))
    x, y = (F.normalize(v, dim=1) for v in (a - (1 - kept) * (a - b), b + (1 - kept) * (a - b)))
    found = exchanged(a, b, kept)
    assert torch.allclose(found[0], x, atol=1e-6)
    assert torch.allclose(found[1], y, atol=1e-6)


def test_hard_takes_each_entry_of_either_and_soft_mixes_them(monkeypatch) -> None:
    seen = []
    monkeypatch.setattr(
        "plait.objectives.swapped_info_nce.exchanged", lambda a, b, kept: seen.append(kept) or exchanged(a, b, kept)
    )
    for soft in (False, True):
        losses(SwappedInfoNCE(share=1.0, soft=soft))
    hard, mixed = seen[:3], seen[3:]
    whole = torch.cat([part.flatten() for part in hard])
    assert set(whole.tolist()) == {0.0, 1.0}
    assert whole.mean().item() == pytest.approx(0.5, abs=0.1)
    # Each sample and entry by itself, and each pair of modalities.
    assert not torch.equal(hard[0][0], hard[0][1])
    assert 0 < hard[0][0].sum() < hard[0][0].numel()
    assert not torch.equal(hard[0][:5], hard[1][:5])
    whole = torch.cat([part.flatten() for part in mixed])
    assert ((whole > 0) & (whole < 1)).all()
    assert whole.var().item() == pytest.approx(1 / 12, abs=0.02)


@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_with_share_zero_and_outside_training_it_is_info_nce_to_the_bit(missing) -> None:
    for soft in (False, True):
        assert same(losses(SwappedInfoNCE(share=0.0, soft=soft), missing=missing), losses(InfoNCE(), missing=missing))
    plain = losses(InfoNCE(), training=False, missing=missing)
    assert same(losses(SwappedInfoNCE(share=1.0), training=False, missing=missing), plain)
    assert not same(losses(SwappedInfoNCE(share=1.0), missing=missing), losses(InfoNCE(), missing=missing))


def test_a_share_of_the_steps_does_it() -> None:
    plain = losses(InfoNCE())
    did = [not same(losses(SwappedInfoNCE(share=0.25), seed=seed), plain) for seed in range(80)]
    assert 8 <= sum(did) <= 32


def test_both_modalities_learn_from_what_they_gave_away() -> None:
    a, b, kept = units(5, 0).requires_grad_(), units(5, 1).requires_grad_(), torch.full((5, 6), 0.7)
    for found, giver in zip(exchanged(a, b, kept), (b, a), strict=True):
        assert torch.autograd.grad(found[:, 0].sum(), giver)[0].abs().sum() > 0

"""Gram volumes: published limits, invariances, a slow reference, absent cells, and aligned directions."""

import math

import pytest
import tiny
import torch
from torch.nn import functional as F

from plait.core.component import configure, find
from plait.core.errors import RecipeError
from plait.core.meter import Meter
from plait.core.packed import Batch
from plait.core.part import Clock
from plait.objectives.gram import FLOOR, gram, volume

Gram = find("objectives", "gram")
SCALE = torch.tensor(5.0)


def units(n: int, seed: int, width: int = 6) -> torch.Tensor:
    return F.normalize(torch.randn(n, width, generator=torch.Generator().manual_seed(seed)), dim=1)


def by_projection(vectors: torch.Tensor) -> float:
    """Volume by Gram-Schmidt: the product of what each vector adds to the span of those before it."""
    basis, total = [], 1.0
    for vector in vectors.double():
        for b in basis:
            vector = vector - (vector @ b) * b
        total *= float(vector.norm())
        basis.append(vector / vector.norm())
    return total


def test_volumes_that_are_known() -> None:
    a, b = units(9, 0), units(9, 1)
    sine = (1 - (a * b).sum(1).square()).sqrt()
    assert torch.allclose(volume(torch.stack([a, b], 1)), sine, atol=1e-5)
    assert torch.allclose(volume(torch.eye(5)), torch.tensor(1.0))
    assert float(volume(torch.stack([a[0], b[0], F.normalize(a[0] - 2 * b[0], dim=0)]))) < 2 * math.sqrt(FLOOR)
    assert float(volume(torch.eye(4)[:3] * torch.tensor([[2.0], [3.0], [5.0]]))) == pytest.approx(30, rel=1e-5)
    for k in (2, 3, 4):
        vectors = units(k, 10 + k)
        assert float(volume(vectors)) == pytest.approx(by_projection(vectors), abs=1e-5)


def test_order_signs_and_a_common_rotation_change_nothing() -> None:
    vectors = units(4, 0)
    before = volume(vectors)
    rotation = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(1)))[0]
    for other in (vectors[[2, 0, 3, 1]], vectors @ rotation, vectors * torch.tensor([[1.0], [-1], [-1], [1]])):
        assert torch.allclose(volume(other), before, atol=1e-5)
    # The trap: it takes opposite directions for equal ones.
    assert torch.allclose(volume(vectors[:1].repeat(2, 1) * torch.tensor([[1.0], [-1]])), torch.tensor(1e-3))


def by_loop(z, present, anchor=None, same=None, scale=5.0) -> dict[int, float]:
    """Each sample's loss: [N, K, E], [N, K].  same: equal cells have equal numbers; None: no two are equal."""

    def score(head, tail, m, names):
        return -scale * by_projection(torch.stack([z[head, m], *(z[tail, k] for k in names if k != m)]))

    found = {}
    for i in range(len(z)):
        names = present[i].nonzero().squeeze(1).tolist()
        company = [j for j in range(len(z)) if present[j, names].all()]
        if len(names) < 2:
            continue

        def true(head, tail, m, names=names, company=company):
            both = [same[head if k == m else tail, k] for k in names]
            return any(both == [same[j, k] for k in names] for j in company)

        losses = []
        for m in [anchor] if anchor in names else names:
            for swap in (False, True):
                pairs = [(j, i) if swap else (i, j) for j in company]
                kept = [p for p in pairs if p == (i, i) or same is None or not true(*p, m)]
                losses.append(math.log(sum(math.exp(score(*p, m, names)) for p in kept)) - score(i, i, m, names))
        found[i] = sum(losses) / len(losses)
    return found


@pytest.mark.parametrize("modalities", [2, 3, 4])
@pytest.mark.parametrize("anchor", [None, 1])
@pytest.mark.parametrize("absent", [0.0, 0.4])
@pytest.mark.parametrize("equal", [False, True])
def test_the_loss_equals_a_loop(modalities, anchor, absent, equal) -> None:
    generator = torch.Generator().manual_seed(modalities)
    z = torch.stack([units(9, seed) for seed in range(modalities)], 1)
    present = torch.rand(9, modalities, generator=generator) >= absent
    codes = (torch.randint(3, (9, modalities), generator=generator) + 1) * 1000 ** torch.arange(modalities)
    # What is absent is not read.
    found = gram(
        z.masked_fill(~present.unsqueeze(2), torch.nan), present, SCALE, anchor, codes * present if equal else None
    )
    expected = by_loop(z, present, anchor, codes if equal else None)
    assert len(expected) > 3
    assert found.rows.tolist() == list(expected)
    assert torch.allclose(found.values, torch.tensor(list(expected.values())), atol=1e-4)


def test_gradients_are_finite_where_vectors_coincide() -> None:
    for start in (torch.ones(4, 6), torch.eye(6)[:4], units(4, 0)):
        z = torch.stack([F.normalize(start, dim=1)] * 3, 1).requires_grad_()
        for present in (torch.ones(4, 3), torch.tensor([[1.0, 1, 1], [0, 1, 1], [0, 0, 1], [1, 0, 1]])):
            loss = gram(z * present.unsqueeze(2), present > 0, SCALE).values.sum()
            assert torch.isfinite(torch.autograd.grad(loss, z)[0]).all()


def test_descent_makes_true_tuples_smaller_than_wrong_ones() -> None:
    """And the anchor comes to lie in the others' span: only then is the volume near 0."""
    z = [units(8, seed, 12).requires_grad_() for seed in range(3)]
    optimizer = torch.optim.Adam(z, lr=0.05)
    for _ in range(60):
        optimizer.zero_grad()
        unit = torch.stack([F.normalize(x, dim=1) for x in z], 1)
        gram(unit, torch.ones(8, 3, dtype=torch.bool), torch.tensor(14.0)).values.mean().backward()
        optimizer.step()
    unit = torch.stack([F.normalize(x.detach(), dim=1) for x in z], 1)
    found = torch.stack([volume(torch.cat([unit[i, :1].expand(8, 1, 12), unit[:, 1:]], 1)) for i in range(8)])
    true = found.diagonal()
    wrong = found.masked_fill(torch.eye(8, dtype=torch.bool), 2).amin(1)
    assert (true < wrong).all()
    assert float(true.max()) < 0.5


def state_of(objective, rows: Batch, names: str):
    net = tiny.network(names, targets=())
    step = tiny.step(net, {"it": objective}).eval()
    return step.state("it", objective, rows, Clock(), Meter(net.names), {}, None), net


@pytest.mark.parametrize("anchor", [None, "b"])
def test_only_tuples_of_equally_many_are_compared(anchor) -> None:
    rows = tiny.batch(40, "abc", targets=(), missing=0.4)
    objective = Gram(anchor=anchor, temperature=0.2, duplicates="keep")
    state, net = state_of(objective, rows, "abc")
    found, present = objective(state)["all"], rows.present
    z = torch.stack([net(rows).embedding(name).unit().dense(40)[0] for name in "abc"], 1).detach()
    expected = by_loop(z, present, None if anchor is None else 1)
    assert found.rows.tolist() == list(expected) == (present.sum(1) >= 2).nonzero().squeeze(1).tolist()
    assert torch.allclose(found.values, torch.tensor(list(expected.values())), atol=1e-4)


def test_equal_tuples_are_no_negatives_and_half_equal_ones_are() -> None:
    rows = tiny.batch(2, "ac", targets=(), missing=0.0)
    same = {name: part.with_(values=part.values[:1].repeat(2, 1)) for name, part in rows.modalities.items()}
    both, half = Batch(2, same, {}, rows.ids), Batch(2, {**rows.modalities, "c": same["c"]}, {}, rows.ids)
    for batch, expected in ((both, 0.0), (half, 0.0)):
        objective = Gram()
        assert objective(state_of(objective, batch, "ac")[0])["all"].values.tolist() == [expected] * 2
        keeping = Gram(duplicates="keep")
        assert (keeping(state_of(keeping, batch, "ac")[0])["all"].values > 0.1).all()
    # Of three modalities one that is shared leaves tuples different.
    rows = tiny.batch(2, "abc", targets=(), missing=0.0)
    one = Batch(
        2,
        {**rows.modalities, "c": rows.modalities["c"].with_(values=rows.modalities["c"].values[:1].repeat(2, 1))},
        {},
        rows.ids,
    )
    objective = Gram(anchor="a")
    assert (objective(state_of(objective, one, "abc")[0])["all"].values > 0).all()


def test_wrong_arguments_are_refused_with_the_place() -> None:
    for arguments, said in (
        ({"modalities": ["a", "bb"]}, "there is no modality 'bb'"),
        ({"modalities": ["a", "b"], "anchor": "c"}, "there is no modality 'c'"),
    ):
        with pytest.raises(RecipeError, match=r"^objectives\.gram: ") as error:
            tiny.step(tiny.network("abcd", targets=()), {"gram": configure("objectives", "gram", arguments)})
        assert said in str(error.value)


def test_half_precision_keeps_small_volumes() -> None:
    rows, objective = tiny.batch(20, "abc", targets=(), missing=0.0), Gram()
    with torch.autocast("cpu", torch.bfloat16):
        net = tiny.network("abc", targets=())
        step = tiny.step(net, {"it": objective}).eval()
        state = step.state("it", objective, rows, Clock(), Meter(net.names), {}, None)
        z = torch.stack([state.of().embedding(name).unit().values.float() for name in "abc"], 1)
        found = objective(state)["all"].values
    expected = gram(z, torch.ones(20, 3, dtype=torch.bool), objective.log_scale.exp()).values
    assert torch.allclose(found, expected, atol=1e-4)

"""Symile: the limit of two modalities, a slow reference, signs, false negatives, absent cells, and XOR."""

import itertools
import math

import pytest
import tiny
import torch
from torch.nn import functional as F

from plait.core.component import configure, find
from plait.core.errors import RecipeError
from plait.core.meter import Meter
from plait.core.packed import Batch, Packed
from plait.core.part import Clock
from plait.objectives.info_nce import info_nce
from plait.objectives.symile import symile

Symile = find("objectives", "symile")
SCALE = torch.tensor(6.0)


def units(n: int, seed: int, width: int = 6) -> torch.Tensor:
    return F.normalize(torch.randn(n, width, generator=torch.Generator().manual_seed(seed)), dim=1)


def triples(n: int) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    g = torch.Generator().manual_seed(9)
    return [units(n, seed) for seed in range(3)], [torch.randperm(n, generator=g) for _ in range(3)]


def slow(z, scale, orders=None):
    """Sample by sample, tuple by tuple, written out for three modalities."""
    n, out = len(z[0]), []
    for i in range(n):
        total = 0.0
        for m in range(3):
            k, h = (k for k in range(3) if k != m)
            if orders is None:
                wrong = [(j, o) for j, o in itertools.product(range(n), repeat=2) if (j, o) != (i, i)]
            else:
                wrong = [(j, int(orders[h][j])) for j in range(n) if j != i]
            score = [scale * float((z[m][i] * z[k][j] * z[h][o]).sum()) for j, o in [(i, i), *wrong]]
            total += math.log(sum(math.exp(s) for s in score)) - score[0]
        out.append(total / 3)
    return out


@pytest.mark.parametrize("every", [False, True])
def test_it_equals_a_loop(every: bool) -> None:
    z, orders = triples(7)
    orders = None if every else orders
    assert symile(z, SCALE, orders).tolist() == pytest.approx(slow(z, 6.0, orders), abs=1e-5)


@pytest.mark.parametrize("every", [False, True])
def test_with_two_modalities_it_is_info_nce(every: bool) -> None:
    z, orders = triples(8)
    found = symile(z[:2], SCALE, None if every else orders[:2])
    assert torch.allclose(found, info_nce(z[0], z[1], SCALE), atol=1e-6)


def test_signs_that_cancel_change_nothing_and_others_do() -> None:
    z, orders = triples(8)
    flip = torch.ones(6)
    flip[2] = -1
    before = symile(z, SCALE, orders)
    for pair in itertools.combinations(range(3), 2):
        assert torch.equal(before, symile([x * flip if k in pair else x for k, x in enumerate(z)], SCALE, orders))
    assert not torch.allclose(before, symile([z[0] * flip, *z[1:]], SCALE, orders), atol=1e-3)


def test_every_modality_learns_from_every_anchor() -> None:
    """The partners are not held constant: with one anchor alone each would still get a gradient."""
    z, orders = triples(6)
    z = [x.clone().requires_grad_() for x in z]
    gradients = torch.autograd.grad(symile(z, SCALE, orders).sum(), z)
    step = 1e-3
    for k, gradient in enumerate(gradients):
        moved = [x.detach().double() for x in z]
        moved[k][2, 3] += step
        up = symile(moved, SCALE, orders).sum()
        moved[k][2, 3] -= 2 * step
        down = symile(moved, SCALE, orders).sum()
        assert float(gradient[2, 3]) == pytest.approx(float((up - down) / (2 * step)), abs=1e-3)


def test_no_shuffle_makes_a_true_tuple_a_negative() -> None:
    """Two samples: whatever the permutations, the other tuple takes its first partner from the other sample."""
    a = torch.eye(2)
    for order in (torch.tensor([0, 1]), torch.tensor([1, 0])):
        found = symile([a, a, a], torch.tensor(50.0), [order] * 3)
        assert float(found.max()) < 1e-6


def test_a_tuple_that_equals_a_true_one_is_no_negative() -> None:
    """Samples 0 and 1 are the same in every modality, so that neither is wrong for the other."""
    z, _ = triples(5)
    z = [torch.cat([x[:1], x]) for x in z]
    codes = torch.stack([torch.tensor([k, k, k + 10, k + 20, k + 30, k + 40]) * 1000003 ** (k + 1) for k in range(3)])
    ignored = symile(z, SCALE, None, codes)
    # Of the grid of 36 tuples the four of samples 0 and 1 are one true tuple; it counts once.
    total = 0.0
    for m in range(3):
        k, h = (k for k in range(3) if k != m)
        score = {
            (j, o): 6.0 * float((z[m][0] * z[k][j] * z[h][o]).sum()) for j, o in itertools.product(range(6), repeat=2)
        }
        kept = [s for (j, o), s in score.items() if (j, o) == (0, 0) or j > 1 or o > 1]
        total += math.log(sum(math.exp(s) for s in kept)) - score[0, 0]
    assert float(ignored[0]) == pytest.approx(total / 3, abs=1e-5)
    distinct = torch.arange(18).view(3, 6) ** 5 * 7919
    assert torch.equal(symile(z, SCALE, orders=None, codes=distinct), symile(z, SCALE))


@pytest.mark.parametrize("every", [False, True])
def test_an_equal_tuple_leaves_the_gradient_of_the_scale_finite(every: bool) -> None:
    """The slope of what is left, by small steps; 0 times infinity would be none."""
    z, orders = triples(5)
    z = [torch.cat([x[:1], x]) for x in z]
    orders = None if every else [torch.arange(6).roll(k + 1) for k in range(3)]
    codes = torch.stack([torch.tensor([k, k, k + 10, k + 20, k + 30, k + 40]) * 1000003 ** (k + 1) for k in range(3)])
    z = [x.double() for x in z]
    scale = torch.tensor(6.0, dtype=torch.float64, requires_grad=True)
    symile(z, scale, orders, codes).sum().backward()
    more, less = (
        float(symile(z, torch.tensor(6.0 + d, dtype=torch.float64), orders, codes).sum()) for d in (1e-3, -1e-3)
    )
    assert float(scale.grad) == pytest.approx((more - less) / 2e-3, abs=1e-4)


def state_of(objective, rows: Batch, names: str):
    net = tiny.network(names, targets=())
    step = tiny.step(net, {"it": objective}).eval()
    return step.state("it", objective, rows, Clock(), Meter(net.names), {}, None), net


@pytest.mark.parametrize("duplicates", ["ignore", "keep"])
def test_two_modalities_in_a_network(duplicates: str) -> None:
    rows = tiny.batch(20, "ac", targets=(), missing=0.4)
    ours, theirs = Symile(temperature=0.2, duplicates=duplicates), find("objectives", "info_nce")(temperature=0.2)
    found, expected = (o(state_of(o, rows, "ac")[0]) for o in (ours, theirs))
    assert torch.equal(found["all"].rows, expected["a~c"].rows)
    assert torch.allclose(found["all"].values, expected["a~c"].values, atol=1e-6)


def test_equal_cells_are_no_negatives() -> None:
    rows = tiny.batch(2, "ac", targets=(), missing=0.0)
    twice = {name: part.with_(values=part.values[:1].repeat(2, 1)) for name, part in rows.modalities.items()}
    rows = Batch(2, twice, {}, rows.ids)
    for negatives in ("shuffled", "all"):
        ignoring, keeping = (Symile(negatives=negatives, duplicates=d) for d in ("ignore", "keep"))
        assert ignoring(state_of(ignoring, rows, "ac")[0])["all"].values.tolist() == [0.0, 0.0]
        assert keeping(state_of(keeping, rows, "ac")[0])["all"].values.tolist() == pytest.approx([math.log(2)] * 2)


def test_a_sample_is_compared_by_what_it_has_and_counted_once() -> None:
    rows, objective = tiny.batch(40, "abc", targets=(), missing=0.4), Symile(negatives="all", temperature=0.5)
    state, net = state_of(objective, rows, "abc")
    found, out = objective(state)["all"], net(rows)
    present = rows.present
    assert found.rows.tolist() == (present.sum(1) >= 2).nonzero().squeeze(1).tolist()
    units_of = {name: out.embedding(name).unit() for name in "abc"}
    for pattern in ([True, True, False], [True, True, True]):
        names = [name for name, there in zip("abc", pattern, strict=True) if there]
        have = (present >= torch.tensor(pattern)).all(1).nonzero().squeeze(1)
        own = (present == torch.tensor(pattern)).all(1).nonzero().squeeze(1)
        assert len(own) > 0
        assert len(names) == 3 or len(own) < len(have)
        scale = torch.tensor(2 * 8 ** (len(names) / 2 - 1))
        loss = symile([units_of[name].at(have).values for name in names], scale)
        expected = Packed(loss, have).at(own).values
        assert torch.allclose(found.at(own).values, expected, atol=1e-5)


def test_wrong_arguments_are_refused_with_the_place() -> None:
    for arguments, said in (
        ({"modalities": ["a", "bb"]}, "there is no modality 'bb'"),
        ({"modalities": ["a"]}, "two or more"),
        ({"modalities": ["a", "a"]}, "two or more"),
        ({"negatives": "all"}, "N^3 tuples"),
    ):
        with pytest.raises(RecipeError, match=r"^objectives\.symile: ") as error:
            tiny.step(tiny.network("abcd", targets=()), {"symile": configure("objectives", "symile", arguments)})
        assert said in str(error.value)


def test_it_sees_the_xor_that_pairs_do_not() -> None:
    """c = a xor b, bit by bit, and any two are independent: who knows a and b finds c, or guesses."""
    bits = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=3)))
    a, b = (x.flatten(0, 1) for x in (bits.unsqueeze(1).expand(8, 8, 3), bits.unsqueeze(0).expand(8, 8, 3)))
    modalities = [a, b, a * b]

    def accuracy(loss) -> float:
        torch.manual_seed(0)
        maps = [torch.nn.Linear(3, 6) for _ in range(3)]
        optimizer = torch.optim.AdamW([p for m in maps for p in m.parameters()], lr=0.05)
        for _ in range(150):
            z = [F.normalize(m(x), dim=1) for m, x in zip(maps, modalities, strict=True)]
            optimizer.zero_grad()
            loss(z).mean().backward()
            optimizer.step()
        with torch.no_grad():
            one, two, other = (F.normalize(m(x), dim=1) for m, x in zip(maps, [a, b, bits], strict=True))
            query = one * two if loss is product else one + two
            return float((bits[(query @ other.T).argmax(1)] == a * b).all(1).float().mean())

    codes = torch.stack([(x > 0).long() @ torch.tensor([1, 2, 4]) * 1000**k for k, x in enumerate(modalities)])

    def product(z):
        return symile(z, torch.tensor(30.0), [torch.randperm(64) for _ in z], codes)

    def pairs(z):
        same = [code.unsqueeze(1) == code for code in codes]
        return sum(
            info_nce(z[k], z[h], torch.tensor(10.0), (same[k] | same[h]).fill_diagonal_(False))
            for k, h in itertools.combinations(range(3), 2)
        )

    found = accuracy(product), accuracy(pairs)
    assert found[0] > 0.9
    assert found[1] < 0.4


def test_temperature_learned_or_fixed() -> None:
    rows = tiny.batch(10, "abc", targets=(), missing=0.0)
    learned, fixed = Symile(negatives="all"), Symile(negatives="all", temperature=0.07)
    assert [name for name, _ in learned.named_parameters()] == ["log_scale"]
    assert not list(fixed.parameters())
    first, second = (o(state_of(o, rows, "abc")[0])["all"].values for o in (learned, fixed))
    assert torch.equal(first, second)
    with torch.no_grad():
        learned.log_scale.fill_(math.log(1e6))
    capped, expected = (o(state_of(o, rows, "abc")[0])["all"].values for o in (learned, Symile(None, 0.01, "all")))
    assert torch.allclose(capped, expected, rtol=1e-4)

"""The contrastive objectives: mathematics against slow references, and which cells are compared."""

import itertools
import math

import pytest
import tiny
import torch
from torch.nn import functional as F

from plait.core.component import configure, find
from plait.core.errors import RecipeError
from plait.core.meter import Meter
from plait.core.packed import Batch, Packed, tokens_of
from plait.core.part import Clock
from plait.objectives._pairs import content
from plait.objectives.info_nce import info_nce
from plait.objectives.siglip import siglip

InfoNCE, SigLIP = find("objectives", "info_nce"), find("objectives", "siglip")


def units(n: int, seed: int) -> torch.Tensor:
    return F.normalize(torch.randn(n, 6, generator=torch.Generator().manual_seed(seed)), dim=1)


def slow_info_nce(a, b, scale, ignore):
    out = []
    for i in range(len(a)):
        total = 0.0
        for x, y in ((a, b), (b, a)):
            s = [scale * float(x[i] @ y[j]) for j in range(len(a))]
            total += math.log(sum(math.exp(s[j]) for j in range(len(a)) if not ignore[i][j])) - s[i]
        out.append(total / 2)
    return out


def slow_siglip(a, b, scale, bias, ignore):
    total = 0.0
    for i, j in itertools.product(range(len(a)), repeat=2):
        if not ignore[i][j]:
            sign = 1 if i == j else -1
            total += math.log(1 + math.exp(-sign * (scale * float(a[i] @ b[j]) + bias)))
    return total


IGNORE = torch.zeros(7, 7, dtype=torch.bool)
IGNORE[0, 3] = IGNORE[3, 0] = IGNORE[5, 6] = IGNORE[6, 5] = True


@pytest.mark.parametrize("ignore", [None, IGNORE])
def test_info_nce_equals_a_loop(ignore) -> None:
    a, b = units(7, 0), units(7, 1)
    found = info_nce(a, b, torch.tensor(5.0), ignore)
    assert found.tolist() == pytest.approx(
        slow_info_nce(a, b, 5.0, (IGNORE & False) if ignore is None else ignore), abs=1e-5
    )


@pytest.mark.parametrize("ignore", [None, IGNORE])
def test_siglip_equals_a_loop_and_is_symmetric(ignore) -> None:
    a, b = units(7, 0), units(7, 1)
    scale, bias = torch.tensor(5.0), torch.tensor(-2.0)
    found = siglip(a, b, scale, bias, ignore)
    slow = slow_siglip(a, b, 5.0, -2.0, (IGNORE & False) if ignore is None else ignore)
    assert float(found.sum()) == pytest.approx(slow, abs=1e-4)
    assert torch.allclose(found, siglip(b, a, scale, bias, ignore), atol=1e-6)


def test_limits_of_info_nce() -> None:
    a, b = units(9, 0), units(9, 1)
    assert torch.allclose(info_nce(a, b, torch.tensor(0.0)), torch.full((9,), math.log(9)), atol=1e-6)
    assert info_nce(a[:1], b[:1], torch.tensor(10.0)).tolist() == [0.0]
    assert info_nce(a[:0], b[:0], torch.tensor(10.0)).shape == (0,)
    everything = ~torch.eye(9, dtype=torch.bool)
    assert torch.equal(info_nce(a, b, torch.tensor(10.0), everything), torch.zeros(9))


def test_siglip_with_one_sample_is_the_logistic_loss() -> None:
    a = units(1, 0)
    expected = -F.logsigmoid(torch.tensor(10.0 - 10.0))
    assert torch.allclose(siglip(a, a, torch.tensor(10.0), torch.tensor(-10.0)), expected[None])


def state_of(objective, rows: Batch, names: str):
    net = tiny.network(names, targets=())
    step = tiny.step(net, {"it": objective}).eval()
    return step.state("it", objective, rows, Clock(), Meter(net.names), {}, None), net


@pytest.mark.parametrize("cls", [InfoNCE, SigLIP])
def test_runs_on_the_samples_that_have_both(cls) -> None:
    rows, objective = tiny.batch(40, "abc", targets=(), missing=0.5), cls()
    state, _ = state_of(objective, rows, "abc")
    terms = objective(state)
    assert set(terms) == {"a~b", "a~c", "b~c"}
    for name, term in terms.items():
        first, second = (rows.modalities[n].present(40) for n in name.split("~"))
        assert torch.equal(term.rows, (first & second).nonzero().squeeze(1))


def test_the_sum_over_pairs_is_their_mean() -> None:
    rows = tiny.batch(30, "abc", targets=(), missing=0.3)
    three, one = InfoNCE(), InfoNCE(pairs=[("a", "b")])
    first, second = three(state_of(three, rows, "abc")[0]), one(state_of(one, rows, "abc")[0])
    assert torch.allclose(3 * first["a~b"].values, second["a~b"].values, atol=1e-6)


@pytest.mark.parametrize("cls", [InfoNCE, SigLIP])
def test_equal_cells_are_no_negatives(cls) -> None:
    """With two samples that share a cell of one modality, each other's pair is not there."""
    rows = tiny.batch(2, "ab", targets=(), missing=0.0)
    same = rows.modalities["b"]
    same = same.with_(values=same.values[:1].expand(2, -1, -1), notes={"length": same.notes["length"][:1].expand(2)})
    rows = Batch(2, {**rows.modalities, "b": same}, {}, rows.ids)
    ignoring, keeping = cls(), cls(duplicates="keep")
    ignored = ignoring(state_of(ignoring, rows, "ab")[0])["a~b"].values
    kept = keeping(state_of(keeping, rows, "ab")[0])["a~b"].values
    if cls is InfoNCE:
        assert ignored.tolist() == [0.0, 0.0]
    assert (kept > ignored).all()


def test_a_hub_aligns_it_with_every_other() -> None:
    objective = InfoNCE(hub="c")
    state_of(objective, tiny.batch(5, "abcd", targets=()), "abcd")
    assert objective.pairs == (("c", "a"), ("c", "b"), ("c", "d"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"pairs": [["a", "bb"]]}, "there is no modality 'bb'. Did you mean 'b'?"),
        ({"pairs": [["a", "a"]]}, "against itself"),
        ({"pairs": [["a", "b"], ["b", "a"]]}, "named twice"),
        ({"hub": "z"}, "there is no modality 'z'"),
        ({"hub": "a", "pairs": [["a", "b"]]}, "both given"),
    ],
)
def test_wrong_pairs_are_refused_with_the_place(arguments, said: str) -> None:
    with pytest.raises(RecipeError, match=r"^objectives\.info_nce: ") as error:
        tiny.step(tiny.network("abc", targets=()), {"info_nce": configure("objectives", "info_nce", arguments)})
    assert said in str(error.value)


def test_temperature_learned_or_fixed() -> None:
    learned, fixed = InfoNCE(), InfoNCE(temperature=0.2)
    assert learned.log_scale.exp().item() == pytest.approx(1 / 0.07)
    assert [name for name, _ in learned.named_parameters()] == ["log_scale"]
    assert not list(fixed.parameters())
    assert fixed.log_scale.exp().item() == pytest.approx(5.0)
    with torch.no_grad():
        learned.log_scale.fill_(50.0)
    rows = tiny.batch(10, "ab", targets=(), missing=0.0)
    assert torch.isfinite(learned(state_of(learned, rows, "ab")[0])["a~b"].values).all()


def test_a_learned_temperature_learns_and_stays_above_a_hundredth() -> None:
    rows = tiny.batch(12, "ab", targets=())

    def loss(scale: float, **arguments) -> tuple[torch.Tensor, torch.nn.Module]:
        objective = InfoNCE(**arguments)
        state, _ = state_of(objective, rows, "ab")
        with torch.no_grad():
            objective.log_scale.fill_(math.log(scale))
        return objective(state)["a~b"].values.sum(), objective

    ordinary, objective = loss(20.0)
    ordinary.backward()
    assert objective.log_scale.grad.abs() > 0
    assert not torch.allclose(ordinary, loss(60.0)[0])
    assert torch.allclose(loss(1000.0)[0], loss(100.0)[0])
    # A fixed one is what was asked for.
    assert not torch.allclose(loss(1000.0, temperature=0.001)[0], loss(100.0, temperature=0.01)[0])


def test_siglip_begins_as_published() -> None:
    objective = SigLIP()
    assert objective.log_scale.exp().item() == pytest.approx(10.0)
    assert objective.bias.item() == -10.0


def test_content_codes_tell_cells_apart_and_ignore_padding() -> None:
    g = torch.Generator().manual_seed(0)
    values = torch.randn(200, 6, 3, generator=g)
    mask = torch.ones(200, 6, dtype=torch.bool)
    mask[:, 4:] = False
    values[100:] = values[:100]
    values[100:, 4:] = float("nan")
    codes = content(tokens_of(values, torch.arange(200), mask))
    assert torch.equal(codes[:100], codes[100:])
    assert len(codes.unique()) == 100
    swapped = values[:100].flip(1).contiguous()
    assert not torch.isin(content(tokens_of(swapped, torch.arange(100))), codes).any()
    small = torch.tensor([0.0, 1.0, 2.0, 4.0])
    grid = torch.cartesian_prod(small, small, small, small).view(256, 2, 2)
    assert len(content(tokens_of(grid, torch.arange(256))).unique()) == 256


def test_training_aligns() -> None:
    """Planted pairs: what was trained on finds its partner in new rows."""

    def rows(n: int, seed: int) -> Batch:
        g = torch.Generator().manual_seed(seed)
        a = torch.randn(n, 5, generator=g)
        return Batch(
            n, {"a": Packed(a, torch.arange(n)), "c": Packed(a[:, :4] + 0, torch.arange(n))}, {}, torch.arange(n)
        )

    for name in ("info_nce", "siglip"):
        net = tiny.network("ac", targets=())
        step = tiny.step(net, {name: name}).train()
        optimizer = torch.optim.AdamW(step.parameters(), lr=0.02)
        for i in range(150):
            optimizer.zero_grad()
            tiny.loss(step, rows(32, i), i).backward()
            optimizer.step()
        out = net.eval()(rows(64, 1000))
        near = out.embedding("a").unit().values @ out.embedding("c").unit().values.T
        assert float((near.argmax(1) == torch.arange(64)).float().mean()) > 0.5, name


def test_a_temperature_that_changes_is_the_fixed_one_of_that_moment() -> None:
    rows, rising = tiny.batch(12, "ab", targets=()), InfoNCE(temperature=(0.1, 0.5))
    for progress, now in ((0.0, 0.1), (0.25, 0.2), (1.0, 0.5)):
        said = []
        for objective in (rising, InfoNCE(temperature=now)):
            state, _ = state_of(objective, rows, "ab")
            state.clock = Clock(progress=progress)
            said.append(objective(state)["a~b"].values)
        assert torch.allclose(*said)
    assert not list(rising.parameters())
    assert rising.state_dict().keys() == InfoNCE(temperature=0.1).state_dict().keys()


def test_a_temperature_may_change_in_a_recipe_and_is_never_below_zero() -> None:
    assert configure("objectives", "info_nce", {"temperature": [0.05, 0.3]}).temperature == (0.05, 0.3)
    for wrong in ([0.05, 0.0], [0.1, 0.2, 0.3]):
        with pytest.raises(RecipeError, match="temperature"):
            configure("objectives", "info_nce", {"temperature": wrong})


def test_the_temperature_at_the_end_is_told() -> None:
    learned = InfoNCE()
    with torch.no_grad():
        learned.log_scale.fill_(math.log(1 / 0.2))
    for objective, ended in ((learned, 0.2), (InfoNCE(temperature=0.3), 0.3), (InfoNCE(temperature=(0.1, 0.5)), 0.5)):
        assert objective.figures() == {"temperature": pytest.approx(ended)}

import pytest
import tiny
import torch
from torch import nn
from torch.nn import functional as F

from plait.core.component import configure, find
from plait.core.errors import RecipeError
from plait.core.packed import tokens_of
from plait.fusion._experts import chance_of_top, mixed, top_gates, unevenness

CombinationRoutedExperts = find("fusion", "combination_routed_experts")
WIDTH = 16


def network(names: str = "abc", missing: bool = True, **arguments):
    stand_ins = {"it": "combination_bank"} if missing else {}
    fusion = CombinationRoutedExperts(**{"experts": 8, "top": 2, "dropout": 0.0, **arguments})
    return tiny.network(names, ("class",), fusion=fusion, missing=stand_ins)


def test_gates_are_a_softmax_over_the_largest() -> None:
    g = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(9, 6, generator=g)
    for row, gates in zip(logits, top_gates(logits, 2), strict=True):
        best = row.argsort(descending=True)[:2]
        assert torch.allclose(gates[best], row[best].exp() / row[best].exp().sum())
        assert int((gates > 0).sum()) == 2
    assert torch.allclose(top_gates(logits, 6), logits.softmax(1))


def test_every_expert_runs_on_the_tokens_sent_to_it_and_no_other() -> None:
    torch.manual_seed(0)
    experts = nn.ModuleList(nn.Linear(4, 4) for _ in range(5))
    x, gates = torch.randn(30, 4, requires_grad=True), top_gates(torch.randn(30, 5), 2).requires_grad_()
    expected = sum(gates[:, e, None] * experts[e](x) for e in range(5))
    seen: list[int] = []
    for expert in experts:
        expert.register_forward_hook(lambda module, given, out: seen.append(len(out)))
    found = mixed(x, gates, experts)
    assert sum(seen) == 2 * 30
    assert torch.allclose(found, expected, atol=1e-6)
    direction = torch.randn(30, 4)
    own, theirs = (torch.autograd.grad((y * direction).sum(), [x, gates]) for y in (found, expected))
    assert torch.allclose(own[0], theirs[0], atol=1e-5)
    assert torch.allclose(own[1][gates > 0], theirs[1][gates > 0], atol=1e-5)


def test_the_chance_of_being_used_is_what_drawing_the_noise_again_says() -> None:
    g = torch.Generator().manual_seed(0)
    clean, deviation = torch.randn(5, generator=g), 0.3 + torch.rand(5, generator=g)
    noisy = clean + deviation * torch.randn(5, generator=g)
    chance = chance_of_top(clean[None], noisy[None], deviation[None], 2)[0]
    for e in range(5):
        again = noisy.repeat(20_000, 1)
        again[:, e] = clean[e] + deviation[e] * torch.randn(20_000, generator=g)
        used = (again.topk(2, 1).indices == e).any(1).float().mean()
        assert abs(float(used - chance[e])) < 0.015


def test_unevenness_is_nothing_for_equals_and_the_number_of_experts_for_one_that_gets_everything() -> None:
    assert unevenness(torch.full((6,), 3.0)).item() == 0
    assert abs(unevenness(torch.tensor([0.0, 7.0, 0.0, 0.0])).item() - 4) < 1e-5
    assert unevenness(torch.tensor([5.0])).item() == 0


def test_each_combination_has_an_expert_of_its_own_that_does_not_change_when_a_modality_comes_later() -> None:
    fusion = network("abc").fusion
    expert = fusion.expert_of(torch.arange(1, 8))
    assert expert.tolist() == list(range(7))
    one = torch.zeros(1, 1, WIDTH)
    rows = torch.tensor([0])
    sets = {name: fusion._observed({n: tokens_of(one, rows) for n in name}, 1).item() for name in ("a", "c", "bc")}
    assert sets == {"a": 1, "c": 4, "bc": 6}


def test_a_combination_is_what_was_observed_and_not_what_was_made() -> None:
    net, rows = network(), tiny.batch(24, "abc", ("class",))
    out = net.eval()(rows)
    has = rows.present.long() @ torch.tensor([1, 2, 4])
    assert all(len(part) == 24 for part in out.filled.values())
    assert torch.equal(out.fused.notes["code"], has)


def by_hand(net, rows):
    """Logits, gates and rows of all tokens, from the filled tokens, one sample at a time; also what is fused."""
    fusion, filled = net.fusion, net(rows).filled
    found = []
    for row in range(rows.size):
        parts = {}
        for name, part in filled.items():
            for i in (part.rows == row).nonzero().flatten().tolist():
                parts[name] = part.values[i][part.visible[i]] + fusion.types[name]
        x = torch.cat(list(parts.values()))
        h = fusion.norms[0](x)
        attention = fusion.attention
        q, k, v = (
            y.view(len(x), fusion.heads, -1).transpose(0, 1)
            for y in (attention.query(h), *attention.key_value(h).chunk(2, 1))
        )
        seen = (q @ k.transpose(1, 2) / (WIDTH // fusion.heads) ** 0.5).softmax(-1) @ v
        x = x + attention.out(seen.transpose(0, 1).reshape(len(x), -1))
        h = fusion.norms[1](x)
        logits = fusion.router(h)
        gates = top_gates(logits, fusion.top)
        x = x + sum(gates[:, e, None] * fusion.experts[e](h) for e in range(fusion.count))
        x, start, fused = fusion.norms[2](x), 0, 0
        for name, own in parts.items():
            fused = fused + fusion.maps[name](x[start : start + len(own)].mean(0))
            start += len(own)
        found.append((logits, gates, fused / len(parts) ** 0.5))
    return found


@pytest.mark.parametrize("missing", [True, False])
def test_equals_one_sample_at_a_time(missing: bool) -> None:
    net, rows = network(missing=missing).eval(), tiny.batch(16, "abc", ("class",))
    fused = net(rows).fused
    for found, (_, _, expected) in zip(fused.values, by_hand(net, rows), strict=True):
        assert torch.allclose(found, expected, atol=1e-5)


def test_terms_equal_one_sample_at_a_time() -> None:
    net, rows = network(assign=0.5, balance=2.0).eval(), tiny.batch(16, "abc", ("class",))
    terms = net.fusion.terms(net(rows), None)
    code = (rows.present.long() @ torch.tensor([1, 2, 4])).tolist()
    found = by_hand(net, rows)
    incomplete = [i for i in range(16) if code[i] != 7]
    assert terms["assign"].rows.tolist() == incomplete
    for i, value in zip(incomplete, terms["assign"].values, strict=True):
        logits = found[i][0]
        expected = 0.5 * F.cross_entropy(logits, torch.full((len(logits),), code[i] - 1))
        assert torch.allclose(value, expected, atol=1e-5)
    for name, which, experts in (
        ("complete", [i for i in range(16) if code[i] == 7], range(8)),
        ("incomplete", incomplete, [0, 1, 2, 3, 4, 5, 7]),
    ):
        gates = torch.cat([found[i][1] for i in which])[:, list(experts)]
        expected = 2.0 * (unevenness(gates.sum(0)) + unevenness((gates > 0).float().sum(0)))
        assert terms[f"balance/{name}"].rows.tolist() == which
        assert torch.allclose(terms[f"balance/{name}"].values, expected.expand(len(which)), atol=1e-4)


def test_when_the_router_has_learned_an_incomplete_sample_goes_first_to_its_own_expert() -> None:
    net = network(assign=1.0, balance=0.0)
    net.train()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    rows = tiny.batch(32, "abc", ("class",))
    for i in range(40):
        optimizer.zero_grad()
        terms = net.fusion.terms(net(rows, (i,)), None)
        terms["assign"].values.mean().backward()
        optimizer.step()
    net.eval()
    code = (rows.present.long() @ torch.tensor([1, 2, 4])).tolist()
    first = [gates.argmax(1) == c - 1 for (_, gates, _), c in zip(by_hand(net, rows), code, strict=True) if c != 7]
    assert torch.cat(first).float().mean() > 0.97


def test_noise_is_in_training_only_and_learns() -> None:
    net, rows = network().train(), tiny.batch(16, "abc", ("class",))
    assert not torch.equal(net(rows, (1,)).fused.values, net(rows, (2,)).fused.values)
    assert torch.equal(net(rows, (1,)).fused.values, net(rows, (1,)).fused.values)
    sum(t.values.sum() for n, t in net.fusion.terms(net(rows, (1,)), None).items() if "balance" in n).backward()
    assert net.fusion.noise.weight.grad.abs().sum() > 0
    assert net.fusion.router.weight.grad.abs().sum() > 0


def test_without_weights_there_are_no_terms_and_the_rest_is_the_same() -> None:
    rows = tiny.batch(16, "abc", ("class",))
    free, tied = network(assign=0.0, balance=0.0).train(), network().train()
    assert free.fusion.terms(free(rows), None) == {}
    assert torch.equal(free(rows, (1,)).fused.values, tied(rows, (1,)).fused.values)


def test_fewer_experts_than_combinations() -> None:
    with pytest.raises(RecipeError, match=r"^fusion\.experts: 4 modalities have 15 combinations"):
        network("abcd", experts=14)
    with pytest.raises(RecipeError, match=r"top is 5, but there are only 4"):
        configure("fusion", "combination_routed_experts", {"experts": 4, "top": 5})


def test_the_noise_has_the_size_that_was_learned_and_no_mean() -> None:
    fusion = network().fusion.train()
    x = torch.randn(1, WIDTH, generator=torch.Generator().manual_seed(0)).expand(20_000, -1)
    clean, deviation = fusion.router(x[0]), F.softplus(fusion.noise(x[0])) + 1e-2
    logits, gates, _ = fusion._route(x)
    assert torch.allclose(logits.mean(0), clean, atol=0.03)
    assert torch.allclose(logits.std(0), deviation, rtol=0.03)
    assert torch.equal(gates, top_gates(logits, fusion.top))

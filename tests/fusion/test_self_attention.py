import copy

import pytest
import tiny
import torch
from torch import Tensor
from torch.nn import functional as F

from plait.core.attention import Block
from plait.core.component import find
from plait.core.packed import Tokens, tokens_of
from plait.fusion.self_attention import PRIOR

SelfAttention = find("fusion", "self_attention")
WIDTH = 8


def built(pool: str, names: str = "abcd", **arguments) -> torch.nn.Module:
    fusion = SelfAttention(pool=pool, heads=2, dropout=0.0, **{"skip": False, **arguments})
    torch.manual_seed(0)
    fusion.build(tiny.spec(names, width=WIDTH), None)
    return fusion.eval()


def some_tokens(size: int = 20, seed: int = 0) -> dict[str, Tokens]:
    g = torch.Generator().manual_seed(seed)
    out = {}
    for name, length in (("a", 1), ("b", 4), ("c", 2)):
        rows = (torch.rand(size, generator=g) < 0.6).nonzero().squeeze(1)
        mask = torch.rand(len(rows), length, generator=g) < 0.7
        out[name] = tokens_of(torch.randn(len(rows), length, WIDTH, generator=g), rows, mask)
    return out


def reference(fusion: torch.nn.Module, tokens: dict[str, Tokens], row: int) -> tuple[Tensor | None, dict[str, Tensor]]:
    """One sample at a time, in plain attention."""
    own, spans = [], {}
    for name, part in tokens.items():
        for i in (part.rows == row).nonzero().flatten().tolist():
            seen = part.values[i][part.visible[i]] + fusion.types[name]
            spans[name] = seen
            own.append(seen)
    if not own or not sum(len(x) for x in own):
        return None, {}
    x = torch.cat(own)
    if fusion.pool == "summary":
        x = torch.cat([fusion.summary[None], x])
    for block in fusion.blocks:
        h = block.norm_attention(x)
        q, k, v = (
            part.view(len(x), 2, WIDTH // 2).transpose(0, 1)
            for part in (block.attention.query(h), *block.attention.key_value(h).chunk(2, 1))
        )
        mixed = (q @ k.transpose(1, 2) / (WIDTH // 2) ** 0.5).softmax(-1) @ v
        x = x + block.attention.out(mixed.transpose(0, 1).reshape(len(x), WIDTH))
        x = x + block.feed(block.norm_feed(x))
    x = fusion.norm(x)
    context, start = {}, int(fusion.pool == "summary")
    for name, seen in spans.items():
        context[name] = x[start : start + len(seen)]
        start += len(seen)
    return (x[0] if fusion.pool == "summary" else x.mean(0)), context


@pytest.mark.parametrize("pool", ["summary", "mean"])
def test_equals_plain_attention_over_each_samples_own_tokens(pool: str) -> None:
    fusion, tokens = built(pool), some_tokens()
    fusion.context = True
    with torch.no_grad():
        fused = fusion(tokens, 20, None)
        for row in range(20):
            expected, context = reference(fusion, tokens, row)
            assert (expected is not None) == (row in fused.rows.tolist())
            if expected is None:
                continue
            assert torch.allclose(fused.values[fused.rows == row][0], expected, atol=1e-5)
            for name, values in context.items():
                part = fused.tokens[name]
                i = int((part.rows == row).nonzero())
                assert torch.allclose(part.values[i][part.visible[i]], values, atol=1e-5)


def test_with_skip_it_begins_as_the_mean_of_the_modalities() -> None:
    tokens = some_tokens()
    fusion = built("summary", skip=True)
    rows = fusion(tokens, 20, None).rows.tolist()
    seen = [p.take(p.visible.any(1)).pooled() for p in tokens.values()]
    own = [[p.values[p.rows == row][0] for p in seen if row in p.rows] for row in rows]
    expected = torch.stack([torch.stack(values).mean(0) for values in own])
    assert len(rows) > 10
    assert torch.allclose(fusion(tokens, 20, None).values, expected, atol=1e-6)
    with torch.no_grad():
        fusion.rest.weight.copy_(torch.eye(WIDTH))
    alone = built("summary")(tokens, 20, None)
    assert torch.allclose(fusion(tokens, 20, None).values, expected + alone.values, atol=1e-5)


def test_drop_path_leaves_the_transformer_out_of_some_samples_and_keeps_its_expectation() -> None:
    tokens = some_tokens()
    fusion = built("summary", skip=True, drop_path=0.4)
    with torch.no_grad():
        fusion.rest.weight.copy_(torch.eye(WIDTH))
        alone = built("summary")(tokens, 20, None).values
        mean = fusion(tokens, 20, None).values - alone
        fusion.train()
        shares = []
        for seed in range(60):
            torch.manual_seed(seed)
            shares.append(((fusion(tokens, 20, None).values - mean) / alone).median(1).values)
    shares = torch.stack(shares)
    assert (
        torch.isclose(shares, torch.zeros(()), atol=1e-3)
        .logical_or(torch.isclose(shares, torch.tensor(1 / 0.6), atol=1e-3))
        .all()
    )
    assert abs(float(shares.mean()) - 1) < 0.1


def test_a_modality_that_comes_later_changes_no_embedding() -> None:
    fusion, tokens = built("summary", "abc"), some_tokens()
    before = fusion(tokens, 20, None).values
    fusion.build(tiny.spec("abcd", width=WIDTH), None)
    assert "d" in fusion.types
    assert torch.equal(fusion(tokens, 20, None).values, before)


def test_a_modality_left_out_changes_no_initial_weight() -> None:
    few, many = built("summary", "ac").state_dict(), built("summary", "abcd").state_dict()
    assert all(torch.equal(value, many[name]) for name, value in few.items())


def test_without_anyone_to_read_the_context_the_last_block_runs_on_the_summary_alone() -> None:
    tokens = some_tokens()
    fusion = built("summary")
    fusion.blocks.append(Block(WIDTH, 2).eval())
    seen: list[int] = []
    for block in fusion.blocks:
        block.feed[0].register_forward_hook(lambda module, given, out: seen.append(len(out)))
    short = fusion(tokens, 20, None)
    assert short.tokens == {}
    every = sum(int(part.visible.sum()) for part in tokens.values()) + len(short.rows)
    assert seen[-1] == len(short.rows)
    assert set(seen[:-1]) == {every}
    fusion.context = True
    whole = fusion(tokens, 20, None)
    assert seen[-1] == every
    assert list(whole.tokens) == ["a", "b", "c"]
    assert torch.equal(short.rows, whole.rows)
    assert torch.allclose(short.values, whole.values, atol=1e-6)


def test_nothing_to_decide_from() -> None:
    fused = built("mean")({}, 3, None)
    assert fused.values.shape == (0, WIDTH)
    hidden = some_tokens()["a"]
    fused = built("mean")({"a": hidden.with_(hidden=torch.ones_like(hidden.mask))}, 20, None)
    assert len(fused) == 0


def test_a_sample_reads_only_itself() -> None:
    fusion, tokens = built("summary"), some_tokens()
    row = int(tokens["b"].rows[0])
    changed = copy.copy(tokens)
    changed["b"] = tokens["b"].with_(values=tokens["b"].values.index_fill(0, torch.tensor([0]), 3.0))
    first, second = fusion(tokens, 20, None), fusion(changed, 20, None)
    other = first.rows != row
    assert torch.equal(first.values[other], second.values[other])
    assert F.mse_loss(first.values[~other], second.values[~other]) > 1e-4


def test_the_trust_that_is_chosen_is_where_loss_and_prior_are_least() -> None:
    """By differences, with every head's loss of the rows that are labelled and a normal prior on the logarithms."""
    fusion = SelfAttention(heads=2, dropout=0.0, skip=True)
    net, rows = tiny.network("abc", fusion=fusion).eval(), tiny.batch(12, "abc", seed=3)
    net.prepare(tiny.Rows(net, rows))
    with torch.no_grad():
        fusion.rest.weight.copy_(torch.eye(16))
    parts = list(fusion.trust.values())

    @torch.no_grad()
    def cost(logs: Tensor) -> float:
        for part, log in zip(parts, logs.float(), strict=True):
            part.log = log
        out, total = net(rows), (logs.square() / (2 * PRIOR**2)).sum().item()
        for name, prediction in out.predictions.items():
            truth = rows.targets[name]
            labelled = [row for row in truth.rows.tolist() if row in prediction.rows]
            at = torch.tensor(labelled)
            total += net.heads[name].loss(prediction.at(at).values, truth.at(at).values).double().sum().item()
        return total

    def slope(logs: Tensor) -> Tensor:
        steps = 0.03 * torch.eye(len(parts), dtype=torch.float64)
        return torch.tensor([(cost(logs + step) - cost(logs - step)) / 0.06 for step in steps])

    start = torch.zeros(len(parts), dtype=torch.float64)
    for part in parts:
        part.log = torch.zeros(())
    fusion.settle(tiny.Rows(net, rows))
    found = torch.stack([part.log for part in parts]).double()
    assert not any(part.log.requires_grad for part in parts)
    assert found.abs().max() > 0.1
    assert slope(found).abs().max() < 0.05 * (found / PRIOR**2).abs().max()
    assert cost(found) < cost(start)

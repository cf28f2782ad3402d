"""Fusions over one vector per modality: mean, concatenation, gated."""

import math

import tiny
import torch
from torch.nn import functional as F

from plait.core.component import find
from plait.core.cost import multiply_adds
from plait.core.packed import Packed, Tokens, tokens_of

Concatenation, Gated, Mean = (find("fusion", name) for name in ("concatenation", "gated", "mean"))
WIDTH = 8


def built(fusion, names="abc"):
    torch.manual_seed(0)
    fusion.build(tiny.spec(names, width=WIDTH), None)
    return fusion.eval()


def cells(present: dict[str, list[int]], seed: int = 0) -> dict[str, Tokens]:
    g = torch.Generator().manual_seed(seed)
    return {
        name: tokens_of(torch.randn(len(rows), 3, WIDTH, generator=g), torch.tensor(rows, dtype=torch.long))
        for name, rows in present.items()
    }


COMPLETE = {"a": [0, 1, 2, 3], "b": [0, 1, 2, 3], "c": [0, 1, 2, 3]}
PARTIAL = {"a": [0, 2], "b": [0, 1], "c": [0, 3]}


def test_mean_of_what_is_there() -> None:
    tokens = cells(PARTIAL)
    fused = built(Mean())(tokens, 5, None)
    pooled = {name: part.values.mean(1) for name, part in tokens.items()}
    assert fused.rows.tolist() == [0, 1, 2, 3]
    assert torch.allclose(fused.values[0], (pooled["a"][0] + pooled["b"][0] + pooled["c"][0]) / 3, atol=1e-6)
    assert torch.allclose(fused.values[3], pooled["c"][1], atol=1e-6)


def test_concatenation_of_complete_rows_is_one_linear_layer() -> None:
    fusion, tokens = built(Concatenation()), cells(COMPLETE)
    together = torch.cat([part.values.mean(1) for part in tokens.values()], 1)
    weight = torch.cat([fusion.maps[name].weight for name in "abc"], 1)
    bias = sum(fusion.maps[name].bias for name in "abc")
    expected = F.gelu(F.linear(together, weight, bias) / math.sqrt(3))
    assert torch.allclose(fusion(tokens, 4, None).values, expected, atol=1e-6)


def test_concatenation_leaves_absent_modalities_out() -> None:
    fusion, tokens = built(Concatenation()), cells(PARTIAL)
    fused = fusion(tokens, 5, None)
    alone = F.gelu(fusion.maps["b"](tokens["b"].values[1].mean(0)))
    assert torch.allclose(fused.values[fused.rows == 1][0], alone, atol=1e-6)


def test_half_the_cells_cost_half() -> None:
    fusion = built(Concatenation())
    rows = list(range(64))
    full = multiply_adds(lambda: fusion(cells(dict.fromkeys("ab", rows)), 64, None))
    half = multiply_adds(lambda: fusion(cells({"a": rows[:32], "b": rows[32:]}), 64, None))
    assert full == 2 * half > 0


def test_softmax_over_present_equals_a_softmax_row_by_row() -> None:
    from plait.fusion.gated import softmax_over_present

    g = torch.Generator().manual_seed(0)
    scores = {n: Packed(50 * torch.randn(len(r), WIDTH, generator=g), torch.tensor(r)) for n, r in PARTIAL.items()}
    shares = softmax_over_present(scores, 5)
    for row in range(4):
        names = [name for name in scores if row in PARTIAL[name]]
        expected = torch.stack([scores[name].on(torch.tensor([row])).values[0] for name in names]).softmax(0)
        found = torch.stack([shares[name].on(torch.tensor([row])).values[0] for name in names])
        assert torch.allclose(found, expected, atol=1e-6)


def test_gate_of_a_lone_modality_is_one_under_softmax_and_smaller_under_sigmoid() -> None:
    tokens = cells(PARTIAL)
    softmax, sigmoid = built(Gated()), built(Gated(gate="sigmoid"))
    alone = torch.tanh(softmax.maps["c"](tokens["c"].values[1].mean(0)))
    assert torch.allclose(softmax(tokens, 5, None).values[3], alone, atol=1e-6)
    assert (sigmoid(tokens, 5, None).values[3].abs() < alone.abs()).all()


def test_gates_weigh_between_modalities() -> None:
    """With equal messages the fused vector is that message, whatever the gates."""
    fusion, tokens = built(Gated()), cells(COMPLETE)
    for name in "bc":
        fusion.maps[name].load_state_dict(fusion.maps["a"].state_dict())
    same = dict.fromkeys("abc", tokens["a"])
    expected = torch.tanh(fusion.maps["a"](tokens["a"].values.mean(1)))
    assert torch.allclose(fusion(same, 4, None).values, expected, atol=1e-6)


def test_a_cell_without_visible_tokens_is_absent() -> None:
    tokens = cells(COMPLETE)
    blind = tokens["a"].with_(mask=torch.tensor([[True] * 3, [False] * 3, [True] * 3, [True] * 3]))
    without = tokens["a"].take(torch.tensor([0, 2, 3]))
    for fusion in (built(Mean()), built(Concatenation()), built(Gated())):
        first, second = fusion({**tokens, "a": blind}, 4, None), fusion({**tokens, "a": without}, 4, None)
        assert torch.equal(first.values, second.values)


def test_without_anything() -> None:
    for fusion in (built(Mean()), built(Concatenation()), built(Gated())):
        assert fusion({}, 4, None).values.shape == (0, WIDTH)

"""Fusions over one vector per modality: mean, concatenation, gated."""

import tiny
import torch

from plait.core.component import find
from plait.core.cost import multiply_adds
from plait.core.packed import Tokens, tokens_of

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


def test_half_the_cells_cost_half() -> None:
    fusion = built(Concatenation())
    rows = list(range(64))
    full = multiply_adds(lambda: fusion(cells(dict.fromkeys("ab", rows)), 64, None))
    half = multiply_adds(lambda: fusion(cells({"a": rows[:32], "b": rows[32:]}), 64, None))
    assert full == 2 * half > 0


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

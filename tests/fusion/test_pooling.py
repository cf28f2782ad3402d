"""Fusions over one vector per modality: mean, concatenation, gated."""

import torch
from pooled import COMPLETE, PARTIAL, WIDTH, built, cells

from plait.core.component import find
from plait.core.cost import multiply_adds

Concatenation, Gated, Mean = (find("fusion", name) for name in ("concatenation", "gated", "mean"))


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

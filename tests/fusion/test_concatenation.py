import math

import pytest
import tiny
import torch
from pooled import COMPLETE, PARTIAL, WIDTH, built, cells
from torch.nn import functional as F

from plait.fusion.concatenation import Concatenation


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


@pytest.mark.parametrize("training", [True, False])
def test_values_and_gradients_equal_those_of_one_sample_at_a_time(training: bool) -> None:
    fusion, tokens = built(Concatenation(dropout=0.0)).train(training), cells(PARTIAL)
    fused, expected = fusion(tokens, 5, None), []
    assert fused.rows.tolist() == [0, 1, 2, 3]
    for row in range(4):
        has = [name for name in "abc" if row in PARTIAL[name]]
        said = [fusion.maps[name](tokens[name].values[PARTIAL[name].index(row)].mean(0)) for name in has]
        expected.append(F.gelu(sum(said) / math.sqrt(len(has))))
    leaves = [*fusion.parameters(), *(part.values for part in tokens.values())]
    assert tiny.agrees(fused.values, torch.stack(expected), leaves)


def test_dropout_is_of_the_fused_vector_in_training_only() -> None:
    fusion, tokens = built(Concatenation(dropout=0.5)), cells({name: list(range(400)) for name in "ab"})
    plain, dropped = fusion(tokens, 400, None).values, fusion.train()(tokens, 400, None).values
    gone = dropped == 0
    assert abs(gone.float().mean().item() - 0.5) < 0.05
    assert torch.allclose(dropped[~gone], 2 * plain[~gone], atol=1e-5)


def test_of_nothing_it_makes_nothing() -> None:
    assert built(Concatenation())({}, 4, None).values.shape == (0, WIDTH)

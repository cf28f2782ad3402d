import pytest
import tiny
import torch
from pooled import COMPLETE, PARTIAL, WIDTH, built, cells

from plait.core.packed import Packed
from plait.fusion.gated import Gated, softmax_over_present


def test_softmax_over_present_equals_a_softmax_row_by_row() -> None:
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


@pytest.mark.parametrize("gate", ["softmax", "sigmoid"])
def test_values_and_gradients_equal_those_of_one_sample_at_a_time(gate: str) -> None:
    fusion, tokens = built(Gated(gate=gate)), cells(PARTIAL)
    fused, expected = fusion(tokens, 5, None), []
    assert fused.rows.tolist() == [0, 1, 2, 3]
    for row in range(4):
        x = {n: tokens[n].values[PARTIAL[n].index(row)].mean(0) for n in "abc" if row in PARTIAL[n]}
        company = sum(x.values()) / len(x)
        scores = torch.stack([fusion.gates[name](torch.cat([own, company])) for name, own in x.items()])
        gates = scores.softmax(0) if gate == "softmax" else scores.sigmoid()
        said = torch.stack([torch.tanh(fusion.maps[name](own)) for name, own in x.items()])
        expected.append((gates * said).sum(0))
    leaves = [*fusion.parameters(), *(part.values for part in tokens.values())]
    assert tiny.agrees(fused.values, torch.stack(expected), leaves)


def test_of_nothing_it_makes_nothing() -> None:
    assert built(Gated())({}, 4, None).values.shape == (0, WIDTH)

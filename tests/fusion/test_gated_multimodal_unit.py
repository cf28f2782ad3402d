import pytest
import tiny
import torch

from plait.core.component import find
from plait.core.errors import RecipeError
from plait.core.packed import Packed, Tokens, tokens_of

GatedMultimodalUnit = find("fusion", "gated_multimodal_unit")
WIDTH, SIZE = 6, 5
COMPLETE = {name: [0, 1, 2, 3, 4] for name in "abc"}
PARTIAL = {"a": [0, 2, 4], "b": [0, 1], "c": [0, 3, 4]}


def built(names: str) -> torch.nn.Module:
    fusion = GatedMultimodalUnit()
    torch.manual_seed(0)
    fusion.build(tiny.spec(names, width=WIDTH), None)
    return fusion


def cells(present: dict[str, list[int]], seed: int = 0) -> dict[str, Tokens]:
    g = torch.Generator().manual_seed(seed)
    made = {name: torch.randn(SIZE, 1, WIDTH, generator=g) for name in "abc"}
    return {name: tokens_of(made[name][rows], torch.tensor(rows)) for name, rows in present.items()}


def pairs(tokens: dict[str, Tokens]) -> dict[str, Tokens]:
    return {name: tokens[name] for name in "ab"}


def test_of_two_modalities_it_is_the_unit_of_the_paper() -> None:
    fusion, tokens = built("ab"), pairs(cells(COMPLETE))
    a, b = (tokens[name].values[:, 0] for name in "ab")
    z = torch.sigmoid(torch.cat([a, b], 1) @ torch.cat([fusion.gates["a"][name].weight for name in "ab"], 1).T)
    h = z * torch.tanh(a @ fusion.maps["a"].weight.T) + (1 - z) * torch.tanh(b @ fusion.maps["b"].weight.T)
    assert torch.allclose(fusion(tokens, SIZE, None).values, h, atol=1e-6)
    assert not any("bias" in name for name, _ in fusion.named_parameters())


def test_a_gate_of_two_is_its_complement_and_each_gate_of_three_stands_for_itself() -> None:
    two, three = built("ab"), built("abc")
    said = {name: Packed(part.values[:, 0], part.rows) for name, part in cells(COMPLETE).items()}
    gates = two.gated({name: said[name] for name in "ab"}, SIZE)
    assert torch.equal(gates["a"] + gates["b"], torch.ones(SIZE, WIDTH))
    gates = three.gated(said, SIZE)
    whole = torch.cat([said[name].values for name in "abc"], 1)
    for name in "abc":
        weight = torch.cat([three.gates[name][read].weight for read in "abc"], 1)
        assert torch.allclose(gates[name], torch.sigmoid(whole @ weight.T), atol=1e-6)
    assert ((sum(gates.values()) - 1).abs() > 0.05).any()


@pytest.mark.parametrize("winner", ["a", "b"])
def test_with_the_gate_forced_to_one_side_the_other_modality_is_not_heard(winner: str, monkeypatch) -> None:
    fusion, tokens = built("ab"), pairs(cells(COMPLETE))
    z = float(winner == "a")
    forced = {"a": torch.full((SIZE, WIDTH), z), "b": torch.full((SIZE, WIDTH), 1 - z)}
    monkeypatch.setattr(fusion, "gated", lambda cells, size: forced)
    loser = "b" if winner == "a" else "a"
    other = {**tokens, loser: tokens[loser].with_(values=torch.randn(SIZE, 1, WIDTH))}
    first, second = fusion(tokens, SIZE, None).values, fusion(other, SIZE, None).values
    assert torch.equal(first, second)
    assert torch.allclose(first, torch.tanh(fusion.maps[winner](tokens[winner].values[:, 0])), atol=1e-7)


def test_every_gate_listens_to_every_modality() -> None:
    fusion = built("abc")
    said = {name: Packed(part.values[:, 0].requires_grad_(), part.rows) for name, part in cells(COMPLETE).items()}
    for gate in fusion.gated(said, SIZE).values():
        for gradient in torch.autograd.grad(gate.sum(), [part.values for part in said.values()]):
            assert (gradient != 0).any(1).all()


def test_an_absent_modality_is_left_out_of_gates_and_sum() -> None:
    fusion, tokens = built("abc"), cells(PARTIAL)
    fused = fusion(tokens, SIZE, None)
    for row in range(SIZE):
        has = [name for name in "abc" if row in PARTIAL[name]]
        x = {name: tokens[name].values[PARTIAL[name].index(row), 0] for name in has}
        h = torch.zeros(WIDTH)
        for name in has:
            gate = torch.sigmoid(sum(fusion.gates[name][read](x[read]) for read in has))
            h += gate * torch.tanh(fusion.maps[name](x[name]))
        assert torch.allclose(fused.values[row], h, atol=1e-6)


def test_the_only_one_of_two_is_let_through_whole() -> None:
    fusion, tokens = built("ab"), pairs(cells(PARTIAL))
    fused = fusion(tokens, SIZE, None)
    assert fused.rows.tolist() == [0, 1, 2, 4]
    for row, name in ((1, "b"), (2, "a"), (4, "a")):
        said = torch.tanh(fusion.maps[name](tokens[name].values[PARTIAL[name].index(row), 0]))
        assert torch.allclose(fused.values[fused.rows == row][0], said, atol=1e-7)
    nobody_has_a = fusion({"b": tokens["b"]}, SIZE, None)
    assert torch.allclose(nobody_has_a.values, torch.tanh(fusion.maps["b"](tokens["b"].values[:, 0])), atol=1e-7)


def test_two_cannot_become_three() -> None:
    for names in ("a", "ab"):
        with pytest.raises(RecipeError, match=f"built for {len(names)} of 3"):
            built(names).build(tiny.spec("abc", width=WIDTH), None)


def test_one_may_become_two_and_three_four_without_a_change() -> None:
    tokens = cells(PARTIAL)
    for names in ("a", "abc"):
        fusion, seen = built(names), {name: tokens[name] for name in names}
        before = fusion(seen, SIZE, None).values
        fusion.build(tiny.spec("abcd"[: len(names) + 1], width=WIDTH), None)
        assert torch.equal(fusion(seen, SIZE, None).values, before)
        assert torch.equal(built(names)(seen, SIZE, None).values, before)


def slow(fusion, names: str, x: dict[str, torch.Tensor]) -> torch.Tensor:
    """What is fused of one sample, from the vector [D] of each modality that it has."""
    said = {name: torch.tanh(fusion.maps[name].weight @ own) for name, own in x.items()}
    if len(x) == 1 and len(names) <= 2:
        return next(iter(said.values()))
    gates = {}
    for name, blocks in fusion.gates.items():
        gates[name] = torch.sigmoid(sum(blocks[read].weight @ own for read, own in x.items()))
    if len(names) == 2:
        gates["b"] = 1 - gates["a"]
    return sum(gates[name] * said[name] for name in x)


@pytest.mark.parametrize("names", ["ab", "abc"])
def test_values_and_gradients_equal_those_of_one_sample_at_a_time(names: str) -> None:
    """Every parameter has one: of two modalities there is one gate, of an only one none."""
    fusion = built(names)
    tokens = {n: part.with_(values=part.values.requires_grad_()) for n, part in cells(PARTIAL).items() if n in names}
    fused, expected = fusion(tokens, SIZE, None), []
    for row in fused.rows.tolist():
        x = {n: tokens[n].values[PARTIAL[n].index(row), 0] for n in names if row in PARTIAL[n]}
        expected.append(slow(fusion, names, x))
    leaves = [*fusion.parameters(), *(part.values for part in tokens.values())]
    assert tiny.agrees(fused.values, torch.stack(expected), leaves)
    assert not list(built("a").gates.parameters())

import pytest
import torch

from plait.core.packed import Batch, Fused, Packed, Tokens, mean_over, merge, stack, together, tokens_of


def packed(rows: list[int], width: int = 2, seed: int = 0) -> Packed:
    g = torch.Generator().manual_seed(seed)
    return Packed(torch.randn(len(rows), width, generator=g), torch.tensor(rows, dtype=torch.long))


def test_dense_is_the_inverse_of_packing() -> None:
    part = packed([1, 3, 4])
    values, present = part.dense(6, fill=-1.0)
    assert present.nonzero().flatten().tolist() == [1, 3, 4]
    assert torch.equal(values[present], part.values)
    assert (values[~present] == -1).all()
    assert torch.equal(part.present(6), present)


def test_take_keeps_everything_aligned() -> None:
    part = packed([0, 2, 5]).with_(
        notes={"length": torch.tensor([7, 8, 9])}, blend=(torch.tensor([[0], [2], [5]]), torch.ones(3, 1))
    )
    taken = part.take(torch.tensor([True, False, True]))
    assert taken.rows.tolist() == [0, 5]
    assert taken.notes["length"].tolist() == [7, 9]
    assert taken.blend[0].flatten().tolist() == [0, 5]
    assert part.on(torch.tensor([5, 1, 0])).rows.tolist() == [0, 5]
    assert part.at(torch.tensor([5, 0, 5])).rows.tolist() == [5, 0, 5]


def test_at_refuses_rows_that_are_not_here() -> None:
    for part, rows in ((packed([0, 2]), [1]), (packed([0, 2]), [9]), (packed([]), [0])):
        with pytest.raises(KeyError):
            part.at(torch.tensor(rows))
    assert len(packed([]).at(torch.zeros(0, dtype=torch.long))) == 0


def test_sources_are_the_rows_themselves_unless_mixed() -> None:
    rows, weights = packed([1, 4]).sources()
    assert rows.tolist() == [[1], [4]]
    assert weights.tolist() == [[1.0], [1.0]]


def test_unit_and_detach() -> None:
    part = packed([0, 1]).with_(values=torch.randn(2, 5, requires_grad=True))
    assert torch.allclose(part.unit().values.norm(dim=1), torch.ones(2))
    assert not part.detach().values.requires_grad


def test_together_is_the_intersection() -> None:
    a, b, c = packed([0, 1, 2, 5]), packed([1, 2, 3, 5]), packed([2, 5, 6])
    parts, rows = together(a, b, c)
    assert rows.tolist() == [2, 5]
    assert all(torch.equal(part.rows, rows) for part in parts)
    assert torch.equal(parts[1].values, b.values[[1, 3]])
    assert together(a)[1].tolist() == [0, 1, 2, 5]


def test_together_does_not_confuse_equal_lengths() -> None:
    parts, rows = together(packed([0, 1]), packed([1, 2]), packed([1, 3]))
    assert rows.tolist() == [1]
    assert [part.rows.tolist() for part in parts] == [[1], [1], [1]]


def test_mean_over_equals_a_masked_mean() -> None:
    cells = {"a": packed([0, 2]), "b": packed([0, 1, 2], seed=1), "c": packed([2], seed=2)}
    values, present = stack(cells, 4)
    mean = mean_over(cells, 4)
    assert mean.rows.tolist() == [0, 1, 2]
    expected = (values * present.unsqueeze(-1)).sum(1) / present.sum(1, keepdim=True).clamp_min(1)
    assert torch.allclose(mean.values, expected[:3])
    assert mean.notes["count"].tolist() == [2, 1, 3]


def test_pooled_is_the_mean_over_what_is_visible_whatever_stands_elsewhere() -> None:
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]]).bool()
    hidden = torch.tensor([[0, 1, 0], [0, 0, 0]]).bool()
    values = torch.randn(2, 3, 4)
    part = tokens_of(
        values.masked_fill(~(mask & ~hidden).unsqueeze(-1), float("nan")), torch.arange(2), mask, hidden=hidden
    )
    assert torch.allclose(part.pooled().values[0], values[0, 0])
    assert torch.allclose(part.pooled().values[1], values[1].mean(0))


def test_merge_keeps_both_and_says_which_is_made() -> None:
    real = tokens_of(torch.ones(2, 3, 4), torch.tensor([0, 3]), torch.tensor([[1, 1, 1], [1, 0, 0]]).bool())
    made = tokens_of(torch.zeros(1, 1, 4), torch.tensor([1]), made=torch.tensor([True]))
    merged = merge(real, made)
    assert merged.rows.tolist() == [0, 1, 3]
    assert merged.made.tolist() == [False, True, False]
    assert merged.visible.sum(1).tolist() == [3, 1, 1]
    assert torch.equal(merged.real().values, real.values)
    assert merge(real, made.take(slice(0, 0))) is real


def test_fused_moves_with_what_it_holds() -> None:
    inner = tokens_of(torch.randn(2, 1, 4, requires_grad=True), torch.tensor([0, 2]))
    step = packed([0, 1, 2]).with_(values=torch.randn(3, 4, requires_grad=True))
    fused = Fused(torch.randn(3, 4), torch.tensor([0, 1, 2]), tokens={"a": inner}, steps={"early": step})
    taken = fused.take(torch.tensor([0, 1]))
    assert taken.tokens["a"].rows.tolist() == [0]
    assert taken.steps["early"].rows.tolist() == [0, 1]
    apart = fused.detach()
    assert not apart.tokens["a"].values.requires_grad
    assert not apart.steps["early"].values.requires_grad
    assert fused.to("cpu").steps["early"].rows.tolist() == [0, 1, 2]


def batch() -> Batch:
    return Batch(
        4, {"a": packed([0, 2, 3]), "b": packed([1, 2], seed=1)}, {"y": packed([0, 1, 3], 1)}, torch.arange(10, 14)
    )


def test_batch_take_renumbers() -> None:
    taken = batch().take(torch.tensor([3, 2, 0]))
    assert taken.size == 3
    assert taken.ids.tolist() == [13, 12, 10]
    assert torch.equal(taken.modalities["a"].values, batch().modalities["a"].values[[2, 1, 0]])
    assert taken.modalities["b"].rows.tolist() == [1]
    assert taken.targets["y"].rows.tolist() == [0, 2]
    assert taken.present.tolist() == [[True, False], [True, True], [True, False]]


def test_batch_keep_takes_cells_away() -> None:
    keep = torch.tensor([[1, 1], [1, 0], [0, 1], [1, 1]]).bool()
    kept = batch().keep(keep)
    assert kept.modalities["a"].rows.tolist() == [0, 3]
    assert kept.modalities["b"].rows.tolist() == [2]
    assert torch.equal(kept.present, batch().present & keep)


def test_layers_follow_their_cells() -> None:
    layers = (torch.arange(3.0).view(3, 1, 1), torch.arange(3.0).view(3, 1, 1) + 10)
    part = Tokens(torch.zeros(3, 1, 1), torch.arange(3), torch.ones(3, 1).bool(), layers=layers)
    assert [layer.flatten().tolist() for layer in part.take(torch.tensor([2])).layers] == [[2.0], [12.0]]


def test_having_goes_by_the_names_asked_for() -> None:
    assert torch.equal(batch().having("ba"), batch().present[:, [1, 0]])
    assert batch().having(["nobody's", "a"]).tolist() == [[False, True], [False, False], [False, True], [False, True]]
    assert batch().having([]).shape == (4, 0)

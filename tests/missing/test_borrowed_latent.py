import tiny
import torch

from plait.core.packed import Packed, tokens_of
from plait.core.part import Place
from plait.missing.borrowed_latent import BorrowedLatent


def lent(have: torch.Tensor, training: bool, seed: int = 0):
    """Modality m's token is the number m; what each sample has of each after borrowing, NaN if nothing."""
    part = BorrowedLatent().train(training)
    part.build(tiny.spec("abc"), Place("missing", "it"))
    tokens = {}
    for m, name in enumerate("abc"):
        rows = have[:, m].nonzero().squeeze(1)
        if len(rows):
            tokens[name] = tokens_of(torch.full((len(rows), 2, 1), float(m)), rows)
    filled = part(tokens, len(have), torch.Generator().manual_seed(seed)).tokens
    found = torch.full(have.shape, torch.nan)
    for m, name in enumerate("abc"):
        if name in filled:
            pooled = filled[name].pooled()
            found[pooled.rows, m] = pooled.values[:, 0]
            made = torch.zeros(len(have), dtype=torch.bool)
            if filled[name].made is not None:
                made[filled[name].rows] = filled[name].made
            assert torch.equal(made[pooled.rows], ~have[pooled.rows, m])
    return found


HAVE = torch.tensor([[1, 1, 1], [1, 1, 0], [0, 1, 0], [0, 0, 0], [0, 1, 1]], dtype=torch.bool)


def test_out_of_training_it_is_the_mean_of_what_is_there() -> None:
    expected = [[0, 1, 2], [0, 1, 0.5], [1, 1, 1], [torch.nan] * 3, [1.5, 1, 2]]
    assert torch.allclose(lent(HAVE, False), torch.tensor(expected), equal_nan=True)


def test_in_training_one_of_those_that_are_there_is_drawn_as_often_as_any_other() -> None:
    have = HAVE[[1, 4]].repeat(2000, 1)
    found = lent(have, True)
    assert (found[:, 1] == 1).all()
    for sample, absent, lenders in ((0, 2, (0, 1)), (1, 0, (1, 2))):
        drawn = found[sample::2, absent]
        assert set(drawn.tolist()) == set(map(float, lenders))
        assert abs((drawn == lenders[0]).float().mean() - 0.5) < 0.04


def test_nobody_borrows_who_lacks_nothing() -> None:
    whole = torch.ones(6, 3, dtype=torch.bool)
    net = tiny.network("abc", missing={"it": "borrowed_latent"}).train()
    rows = tiny.batch(6, "abc", missing=0.0)
    assert torch.equal(lent(whole, True), torch.tensor([[0.0, 1.0, 2.0]]).expand(6, -1))
    assert all(torch.equal(net(rows).filled[n].values, net(rows).tokens[n].values) for n in "abc")


def test_a_modality_that_nobody_has_is_borrowed_too() -> None:
    found = lent(torch.tensor([[1, 0, 0], [1, 1, 0]], dtype=torch.bool), False)
    assert found[:, 2].tolist() == [0.0, 0.5]


def test_a_cell_without_visible_tokens_lends_nothing() -> None:
    part = BorrowedLatent().eval()
    part.build(tiny.spec("ab"), Place("missing", "it"))
    blind = tokens_of(torch.ones(1, 2, 1), torch.tensor([0]), torch.zeros(1, 2, dtype=torch.bool))
    seeing = tokens_of(torch.full((1, 2, 1), 5.0), torch.tensor([1]))
    filled = part({"a": blind, "b": seeing}, 2, torch.Generator()).tokens
    assert filled["b"].rows.tolist() == [1]
    assert filled["a"].rows.tolist() == [0, 1]
    assert Packed(filled["a"].pooled().values, filled["a"].rows).at(torch.tensor([1])).values.item() == 5


def test_a_cell_that_is_seen_in_part_lends_the_mean_of_what_is_seen() -> None:
    part = BorrowedLatent().eval()
    part.build(tiny.spec("ab"), Place("missing", "it"))
    values = torch.tensor([[[3.0], [100.0]]], requires_grad=True)
    some = tokens_of(values, torch.tensor([0]), torch.tensor([[True, False]]))
    lent = part({"a": some}, 1, torch.Generator()).tokens["b"]
    assert lent.pooled().values.tolist() == [[3.0]]
    lent.values.sum().backward()
    assert values.grad.flatten().tolist() == [1.0, 0.0]


def test_what_it_lends_in_training_teaches_the_lender_alone() -> None:
    part = BorrowedLatent().train()
    part.build(tiny.spec("abc"), Place("missing", "it"))
    lenders = {n: torch.full((1, 1, 1), float(m), requires_grad=True) for m, n in enumerate("ab")}
    tokens = {n: tokens_of(x, torch.tensor([0])) for n, x in lenders.items()}
    lent = part(tokens, 1, torch.Generator().manual_seed(0)).tokens["c"].values
    lent.sum().backward()
    for n, x in lenders.items():
        gradient = 0.0 if x.grad is None else x.grad.item()
        assert gradient == float(lent.item() == x.item()), n

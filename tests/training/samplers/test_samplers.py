"""Which rows make a batch: shuffled and balanced."""

import pytest
import tiny
import torch

from plait.core.component import find
from plait.core.errors import RecipeError
from plait.core.packed import Batch, Packed
from plait.core.part import Place
from plait.core.random import generator

Shuffled, Balanced = find("sampler", "shuffled"), find("sampler", "balanced")


def rows(size: int, labels: list[int] | None = None) -> tiny.Rows:
    codes = torch.tensor(labels or [0] * size)
    return tiny.Rows(None, Batch(size, {}, {"class": Packed(codes, torch.arange(len(codes)))}, torch.arange(size)))


@pytest.mark.parametrize(("size", "batch"), [(10, 4), (9, 3), (1, 8), (257, 32), (33, 32)])
def test_shuffled_takes_every_row_once_in_even_batches(size: int, batch: int) -> None:
    sampler, index = Shuffled(), rows(size)
    draws = list(sampler.epoch(index, batch, None, generator(0)))
    assert len(draws) == sampler.length(index, batch)
    assert sorted(torch.cat([draw.rows for draw in draws]).tolist()) == list(range(size))
    sizes = {len(draw.rows) for draw in draws}
    assert max(sizes) <= batch
    assert max(sizes) - min(sizes) <= 1


def test_shuffled_depends_on_the_generator_alone() -> None:
    def epoch(*seed: object) -> list[int]:
        return torch.cat([draw.rows for draw in Shuffled().epoch(rows(50), 8, None, generator(*seed))]).tolist()

    assert epoch(0) == epoch(0)
    assert epoch(0) != epoch(1)
    assert list(Shuffled().epoch(rows(0), 8, None, generator(0))) == []


def built(**arguments):
    sampler = Balanced(**arguments)
    sampler.build(tiny.spec(targets=("number", "class")), Place("sampler", ""))
    return sampler


def shares(sampler, index: tiny.Rows, labels: list[int]) -> list[float]:
    drawn = torch.cat([d.rows for i in range(20) for d in sampler.epoch(index, 64, None, generator(i))])
    codes = torch.tensor(labels)[drawn]
    return [float((codes == c).float().mean()) for c in range(3)]


def test_balanced_gives_classes_even_shares_and_power_0_their_own() -> None:
    labels = [0] * 700 + [1] * 250 + [2] * 50
    index = rows(1000, labels)
    assert shares(built(), index, labels) == pytest.approx([1 / 3] * 3, abs=0.02)
    assert shares(built(power=0.0), index, labels) == pytest.approx([0.7, 0.25, 0.05], abs=0.02)
    root = torch.tensor([700.0, 250.0, 50.0]).sqrt()
    assert shares(built(power=0.5), index, labels) == pytest.approx((root / root.sum()).tolist(), abs=0.02)


def test_balanced_draws_unlabelled_rows_at_the_mean_chance() -> None:
    index = rows(1000, [0] * 300 + [1] * 100)
    drawn = torch.cat([d.rows for i in range(20) for d in built().epoch(index, 64, None, generator(i))])
    assert float((drawn >= 400).float().mean()) == pytest.approx(0.6, abs=0.02)


def test_balanced_without_any_label_is_uniform() -> None:
    index = tiny.Rows(
        None,
        Batch(100, {}, {"class": Packed(torch.zeros(0, dtype=torch.long), torch.zeros(0).long())}, torch.arange(100)),
    )
    draws = list(built().epoch(index, 30, None, generator(0)))
    assert sum(len(d.rows) for d in draws) == 100


def test_balanced_needs_classes() -> None:
    with pytest.raises(RecipeError, match=r"^sampler: no target has classes"):
        Balanced().build(tiny.spec(targets=("number",)), Place("sampler", ""))
    with pytest.raises(RecipeError, match=r"'klass' is no target with classes. Did you mean 'class'"):
        built(target="klass")

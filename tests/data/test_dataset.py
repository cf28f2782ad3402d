from __future__ import annotations

import numpy as np
import pytest
import torch

from plait.data.dataset import Dataset
from plait.data.store import Store

SIZE = 6


@pytest.fixture
def dataset() -> Dataset:
    flat = Store(SIZE, np.array([0, 1, 4, 5]), np.arange(8, dtype=np.float32).reshape(4, 2))
    ragged = Store(
        SIZE,
        np.array([1, 2, 5]),
        np.arange(1, 7, dtype=np.uint8),
        slots=np.array([0, 1, 0]),
        starts=np.array([0, 2, 6]),
    )
    targets = {"label": (np.array([0, 2, 3, 5]), np.array([7, 8, 9, 10]))}
    return Dataset(SIZE, list("abcdef"), {"flat": flat, "ragged": ragged}, targets)


def test_a_batch_holds_what_its_rows_have(dataset: Dataset) -> None:
    batch = dataset.batch(torch.tensor([5, 3, 1, 2]))
    assert (batch.size, batch.ids.tolist()) == (4, [5, 3, 1, 2])
    flat, ragged, label = batch.modalities["flat"], batch.modalities["ragged"], batch.targets["label"]
    assert (flat.rows.tolist(), flat.values.tolist()) == ([0, 2], [[6, 7], [2, 3]])
    assert ragged.rows.tolist() == [0, 2, 3]
    assert ragged.values.tolist() == [[1, 2, 0, 0], [1, 2, 0, 0], [3, 4, 5, 6]]
    assert ragged.notes["length"].tolist() == [2, 2, 4]
    assert (label.rows.tolist(), label.values.tolist()) == ([0, 1, 3], [10, 9, 8])


def test_names_have_and_ids(dataset: Dataset) -> None:
    assert len(dataset) == SIZE
    assert dataset.names == ("flat", "ragged")
    assert dataset.have.int().tolist() == [[1, 0], [1, 1], [0, 1], [0, 0], [1, 0], [1, 1]]
    assert dataset.ids == list("abcdef")
    assert torch.equal(dataset.batch(range(SIZE)).present, dataset.have)


def test_keep_equals_dropping_from_the_whole_batch(dataset: Dataset) -> None:
    rows = torch.tensor([5, 3, 1, 2, 0])
    for seed in range(10):
        keep = torch.rand(5, 2, generator=torch.Generator().manual_seed(seed)) < 0.5
        kept, whole = dataset.batch(rows, keep), dataset.batch(rows).keep(keep)
        assert torch.equal(kept.present, dataset.have[rows] & keep)
        for name in dataset.names:
            one, other = kept.modalities[name], whole.modalities[name]
            assert torch.equal(one.rows, other.rows)
            assert torch.equal(one.values, other.values[:, : one.values.shape[1]])
        assert torch.equal(kept.targets["label"].values, whole.targets["label"].values)


def test_take_is_the_same_rows_elsewhere(dataset: Dataset) -> None:
    part = dataset.take([4, 5, 1]).take([2, 1])
    assert (len(part), part.ids) == (2, ["b", "f"])
    assert torch.equal(part.have, dataset.have[[1, 5]])
    one, other = part.batch([1, 0]), dataset.batch([5, 1])
    assert one.ids.tolist() == other.ids.tolist() == [5, 1]
    for name in dataset.names:
        assert torch.equal(one.modalities[name].values, other.modalities[name].values)
    assert one.targets["label"].values.tolist() == [10]


def test_absent_modalities_and_targets_stay_in_the_batch(dataset: Dataset) -> None:
    batch = dataset.batch([3])
    assert list(batch.modalities) == ["flat", "ragged"]
    assert all(len(part) == 0 for _, part in batch)
    assert batch.modalities["flat"].values.shape == (0, 2)
    assert len(dataset.batch([1]).targets["label"]) == 0
    assert dataset.batch([]).size == 0


def test_without_modalities() -> None:
    dataset = Dataset(2, ["a", "b"], {}, {})
    assert dataset.have.shape == (2, 0)
    assert dataset.batch([1, 0]).present.shape == (2, 0)


def test_parts_of_different_tables_are_refused(dataset: Dataset) -> None:
    with pytest.raises(ValueError, match="7 rows"):
        Dataset(7, list("abcdefg"), dataset.stores, {})

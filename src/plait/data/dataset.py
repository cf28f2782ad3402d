"""Dataset: stored cells and targets, row by row, as batches of packed cells."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from plait.core.packed import Batch, Packed

from .store import Store


class Dataset:
    """N rows of a table, with what each has.

    size: rows of the table.  ids: the table's name for each of them.  stores: modality -> its cells.
    targets: name -> (rows int64 [P], values [P, ...]) of the labelled rows.
    """

    def __init__(
        self,
        size: int,
        ids: Sequence[str],
        stores: Mapping[str, Store],
        targets: Mapping[str, tuple[np.ndarray, np.ndarray]],
    ) -> None:
        if len(ids) != size or any(store.size != size for store in stores.values()):
            sizes = {name: store.size for name, store in stores.items()}
            raise ValueError(f"{size} rows, {len(ids)} ids, and stores of {sizes} rows")
        self.stores = dict(stores)
        self.targets = {name: Store(size, rows, values) for name, (rows, values) in targets.items()}
        self.rows = torch.arange(size)
        self._ids = ids

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def size(self) -> int:
        """N."""
        return len(self.rows)

    @property
    def names(self) -> tuple[str, ...]:
        """The modalities, in order."""
        return tuple(self.stores)

    @property
    def ids(self) -> list[str]:
        """The name of each row."""
        return [self._ids[row] for row in self.rows.tolist()]

    @property
    def have(self) -> Tensor:
        """[N, M] bool: which modalities each row has."""
        if not self.stores:
            return torch.zeros(len(self), 0, dtype=torch.bool)
        return torch.stack([store.present[self.rows] for store in self.stores.values()], 1)

    def target(self, name: str) -> Packed:
        """The labels of the rows that have one."""
        return self.targets[name].gather(self.rows)

    def take(self, rows: Tensor | np.ndarray | Sequence[int]) -> Dataset:
        """The data set of these rows, in this order; the cells are shared."""
        taken = Dataset.__new__(Dataset)
        taken.stores, taken.targets, taken._ids = self.stores, self.targets, self._ids
        taken.rows = self.rows[torch.as_tensor(rows, dtype=torch.long)]
        return taken

    def only(self, names: Iterable[str]) -> Dataset:
        """The data set with these modalities alone."""
        kept = self.take(range(len(self)))
        kept.stores = {name: self.stores[name] for name in names}
        return kept

    def batch(self, rows: Tensor | np.ndarray | Sequence[int], keep: Tensor | None = None) -> Batch:
        """The samples at `rows` [B], in this order.  Every modality and target is in it, if only with no cells.

        keep: [B, M] bool; cells where it is False are neither read nor in the batch.
        The batch's ids are the rows' places in the table.
        """
        at = self.rows[torch.as_tensor(rows, dtype=torch.long)]
        modalities: dict[str, Packed] = {}
        for column, (name, store) in enumerate(self.stores.items()):
            if keep is None:
                modalities[name] = store.gather(at)
            else:
                kept = keep[:, column].nonzero().squeeze(1)
                cells = store.gather(at[kept])
                modalities[name] = cells.with_(rows=kept[cells.rows])
        targets = {name: store.gather(at) for name, store in self.targets.items()}
        return Batch(len(at), modalities, targets, at)

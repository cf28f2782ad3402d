"""Small networks that experiments train, by Plait's own training and with nothing tuned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from plait.data.splits import split
from plait.data.table import Table
from plait.workflow.defaults import resolve
from plait.workflow.prepare import encode
from plait.workflow.train import Fitted, train


def trained(table: Table, recipe: Mapping[str, Any], seed: int) -> Fitted:
    """A recipe's slots over the default ones, trained on the table's own split.

    Of rows, `fitted.encoded.dataset.take(rows)` is what `fitted.model` reads; `fitted.splits["test"]` are to be judged.
    """
    chosen, rows = resolve(table.schema, dict(recipe)), split(table, seed=seed)
    threads = torch.get_num_threads()
    # However many are free, or what it finds would depend on what else is to do.
    torch.set_num_threads(1)
    try:
        return train(table, encode(table, chosen), chosen, rows, seed=seed, watched=False)
    finally:
        torch.set_num_threads(threads)

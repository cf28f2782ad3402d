"""Whether branches that learn only from rows whose evidence is in their modality decide better together."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from torch import Tensor

from plait.data.read import read
from plait.data.sets.factors import factors
from plait.data.table import Table

from . import Draw
from ._trained import trained

COLUMN = "evidence"
_PLAIN: dict[str, Any] = {"missing": {}, "width": 32, "training": {"epochs": 20, "refit": False}}
LATE = {**_PLAIN, "fusion": {"late_average": {}}, "objectives": {"singles": {}}}
"""A model of each modality; what they decide is averaged."""
EARLY = {**_PLAIN, "fusion": {"concatenation": {}}, "objectives": {"supervised": {}}}
SUBSETS = {"stages": [{"data": [{"evidence_subsets": {"column": COLUMN}}]}]}


def late_fusion(draw: Draw, seed: int) -> tuple[float, float]:
    """Test accuracy of late fusion: branches taught by their subsets, and by every row."""
    table = told(draw())
    return accuracy(table, LATE | SUBSETS, seed), accuracy(table, LATE, seed)


def late_to_early(draw: Draw, seed: int) -> tuple[float, float]:
    """By how much early fusion is more accurate than late: both taught by subsets, and by every row."""
    table = told(draw())
    subsets, every = (
        accuracy(table, EARLY | how, seed) - accuracy(table, LATE | how, seed) for how in (SUBSETS, dict[str, Any]())
    )
    return subsets, every


def foreign_weights() -> float:
    """How far weights move when cells outside the subsets become other rows'; and by subsets that have every row."""
    draw = partial(factors, rows=120, modalities=3, corrupted=0.5)
    table = told(draw())
    changed = _exchanged(table)
    whole = told(draw(corrupted=0.0))
    moved = _apart(weights(table, LATE | SUBSETS), weights(changed, LATE | SUBSETS))
    by_all = _apart(weights(whole, LATE | SUBSETS), weights(whole, LATE))
    return moved + by_all if _apart(weights(table, LATE), weights(changed, LATE)) else float("nan")


def told(table: Table) -> Table:
    """With a column that names the modalities whose cell is neither drowned nor another row's."""
    names, columns = list(table.schema.modalities), table.columns
    foreign = columns.column("mispaired").to_pylist()
    drowned = {name: columns.column(f"corrupted_{name}").to_pylist() for name in names}
    said = [[name for name in names if not drowned[name][row] and other != name] for row, other in enumerate(foreign)]
    return read(columns.append_column(COLUMN, pa.array(said)), table.schema.ignoring(COLUMN))


def accuracy(table: Table, recipe: dict[str, Any], seed: int) -> float:
    return trained(table, recipe, seed).metrics["test"]["accuracy"]


def weights(table: Table, recipe: dict[str, Any]) -> dict[str, Tensor]:
    """Of a short training."""
    short = recipe | {"training": {"epochs": 2, "refit": False}}
    return dict(trained(table, short, 0).model.network.state_dict())


def _exchanged(table: Table) -> Table:
    """Training rows outside a modality's subset get each other's cells of it."""
    columns, said = table.columns, table.labels(COLUMN)
    train = np.array(columns.column("split").to_pylist()) == "train"
    for name in table.schema.modalities:
        outside = np.flatnonzero([one and name not in (names or ()) for one, names in zip(train, said, strict=True)])
        order = np.arange(len(table))
        order[outside] = np.roll(outside, 1)
        columns = columns.set_column(columns.column_names.index(name), name, columns.column(name).take(pa.array(order)))
    return read(columns, table.schema)


def _apart(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """The largest difference of two networks' tensors."""
    return max(float((one[name].double() - other[name].double()).abs().max()) for name in one if one[name].numel())

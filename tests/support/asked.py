"""A run of a second on made data whose truth is known, and what the questions of `plait explain` are asked of."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from plait.workflow.evaluate import single_models
from plait.workflow.explain.subject import Subject
from plait.workflow.fit import fit
from plait.workflow.model import Model
from plait.workflow.run import own_rows

RECIPE: dict[str, Any] = {
    "width": 12,
    "embedding": 6,
    "fusion": {"mean": {}},
    "missing": {},
    "projection": {"linear": {}},
    "objectives": {"supervised": {}},
    "training": {
        "epochs": 12,
        "batch": 32,
        "optimizer": {"adamw": {"lr": 0.03, "weight_decay": 0.0}},
        "warmup": 0.0,
        "monitor": "last",
        "refit": False,
    },
}


def columns(size: int = 360, seed: int = 0) -> dict[str, list[Any]]:
    """b has the cells that a has of the class after; c is noise, and half absent.

    amount: a number that a and b tell too.  tags: the label, and one that nothing tells.  kind: three
    groups, one of them small.
    """
    rng = np.random.default_rng(seed)
    code = rng.integers(0, 3, size)
    centre = 1.6 * np.eye(3, 4)
    cells = {n: centre[(code + k) % 3] + 0.6 * rng.normal(size=(size, 4)) for n, k in (("a", 0), ("b", 1))}
    noise = rng.normal(size=(size, 3))
    label = [("x", "y", "z")[c] for c in code]
    return {
        **{n: values.tolist() for n, values in cells.items()},
        "c": [v if i % 4 < 2 else None for i, v in enumerate(noise.tolist())],
        "kind": ["few" if i % 30 == 0 else ("one", "other")[i % 2] for i in range(size)],
        "part": [("train", "train", "validation", "test", "test", "test")[i // 4 % 6] for i in range(size)],
        "label": label,
        "amount": (code + 0.1 * rng.normal(size=size)).tolist(),
        "tags": [[tag, *["coin"] * heads] for tag, heads in zip(label, rng.integers(0, 2, size), strict=True)],
    }


def run(folder: Path, target: str = "label", **slots: Any) -> Path:
    """A finished run; -> its folder.  slots: of the recipe, replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / "items.parquet"
    pq.write_table(pa.table(columns()), source)
    ignore = [other for other in ("label", "amount", "tags", "kind") if other != target]
    fit(source, target, recipe={**RECIPE, **slots}, out=folder / "run", split="part", ignore=ignore)
    return folder / "run"


def subject(folder: Path, **more: Any) -> Subject:
    """As `explain` makes it of a run's own rows."""
    model = Model.load(folder)
    table, begun = own_rows(model)
    learned = np.concatenate([begun.splits["train"], begun.splits["validation"]])
    encoded = model.encode(table)
    return Subject(model, table, encoded, begun.splits["test"], learned, single_models(model, (table, encoded)), **more)


def changed(asked: Subject) -> Subject:
    """The same question of a copy of the network, which may be damaged; nothing is remembered."""
    model = dataclasses.replace(asked.model, network=copy.deepcopy(asked.model.network))
    return dataclasses.replace(asked, model=model, _decided={})

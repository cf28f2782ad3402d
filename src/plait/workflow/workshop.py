"""What the edits and teachers of a stage may use, and the rows that a stage trains on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plait.core.component import configure
from plait.core.part import Edit
from plait.core.random import generator
from plait.core.recipe import Stage
from plait.data.cache import cache_root
from plait.data.splits import split
from plait.data.table import Table
from plait.training.checkpoint import WEIGHTS

from .defaults import resolve
from .fingerprint import fingerprint, modules_of
from .model import Model
from .prepare import encode


@dataclass(frozen=True)
class Workshop:
    """seed: the run's."""

    seed: int
    cache: Path | None = None

    def fit(self, recipe: Mapping[str, Any], table: Table, seed: int | None = None) -> Model:
        """A model fitted on the table's rows, some of them for validation.

        It is kept in the cache folder: a search's trials share their teachers, and a run that goes on has them.
        """
        from .train import train

        seed = self.seed if seed is None else seed
        chosen = resolve(table.schema, recipe)
        key = fingerprint(modules_of(chosen), [chosen.dump(), table.fingerprint(), seed])
        folder = (cache_root() if self.cache is None else self.cache) / "fitted" / key[:2] / key
        if not (folder / WEIGHTS).exists():
            encoded = encode(table, chosen, cache=self.cache)
            rows = split(table, fractions=(0.85, 0.15, 0.0), seed=self.seed)
            train(table, encoded, chosen, rows, seed=seed, cache=self.cache, watched=False).model.save(folder)
        return Model.load(folder, self.cache)

    def embed(self, model: Model, table: Table) -> Any:
        """{modality: (rows, unit embeddings)} of the table."""
        return model.embeddings(model.encode(table).dataset)


def edited(table: Table, stage: Stage, tools: Workshop) -> Table:
    """A stage's training rows as its edits leave them."""
    for i, named in enumerate(stage.data):
        for name, arguments in named.items():
            edit: Edit = configure("edits", name, arguments, f"stages.data.{i}.{name}")
            key = json.dumps([edit.fingerprint(), i])
            table = edit(table, tools, generator(tools.seed, "edit", key))
    return table

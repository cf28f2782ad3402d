"""Multimodal learning on one's own table: any modalities, missing cells, honest answers.

    table = plait.read("items.csv")
    model = plait.fit(table, target="category")
    model.predict(rows)

Nothing heavy is imported before it is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    import numpy as np

    from plait import measures as measures
    from plait.catalogue.compare import compare as compare
    from plait.core.errors import PlaitError as PlaitError
    from plait.core.recipe import Recipe as Recipe
    from plait.data.fetch import fetch as fetch
    from plait.data.read import read as read
    from plait.data.schema import Schema as Schema
    from plait.data.table import Table as Table
    from plait.retrieval.index import Index as Index
    from plait.workflow.estimators import MultimodalClassifier as MultimodalClassifier
    from plait.workflow.estimators import MultimodalRegressor as MultimodalRegressor
    from plait.workflow.evaluate import evaluate as evaluate
    from plait.workflow.explain.explain import explain as explain
    from plait.workflow.indexing import index as index
    from plait.workflow.model import Model as Model
    from plait.workflow.search import search as search

    __version__: str

_HOME = {
    "Index": "plait.retrieval.index",
    "Model": "plait.workflow.model",
    "MultimodalClassifier": "plait.workflow.estimators",
    "MultimodalRegressor": "plait.workflow.estimators",
    "PlaitError": "plait.core.errors",
    "Recipe": "plait.core.recipe",
    "Schema": "plait.data.schema",
    "Table": "plait.data.table",
    "compare": "plait.catalogue.compare",
    "evaluate": "plait.workflow.evaluate",
    "explain": "plait.workflow.explain.explain",
    "fetch": "plait.data.fetch",
    "index": "plait.workflow.indexing",
    "read": "plait.data.read",
    "search": "plait.workflow.search",
}
"""The module that each public name comes from when it is first asked for."""

__all__ = [
    "Index",
    "Model",
    "MultimodalClassifier",
    "MultimodalRegressor",
    "PlaitError",
    "Recipe",
    "Schema",
    "Table",
    "__version__",
    "compare",
    "evaluate",
    "explain",
    "fetch",
    "fit",
    "index",
    "load",
    "measures",
    "read",
    "search",
]


def fit(
    source: Any,
    target: str | Sequence[str] | None = None,
    *,
    recipe: str | Path | Mapping[str, Any] | Recipe | None = None,
    settings: Sequence[str] = (),
    out: str | Path | None = None,
    seed: int = 0,
    schema: Schema | str | Path | None = None,
    kinds: Mapping[str, str] | None = None,
    ignore: Iterable[str] = (),
    split: str | None = None,
    group: str | None = None,
    strict: bool = False,
    splits: Mapping[str, np.ndarray] | None = None,
    cache: Path | None = None,
) -> Model:
    """A model fitted on a table.

    source: whatever `read` takes.  target: a column, "time,event" for survival, several, or None for alignment alone;
    rows without a label are used either way.  recipe: a file, a name or plain data; settings: `slot.key=value`.
    out: a run folder; without one nothing is kept.  schema, kinds, ignore, split, group, strict: as for `read`.
    splits: {"train", "validation", "test": rows}; drawn where None.
    Raises a PlaitError that says what to mend.
    """
    from plait.workflow.fit import fit as run

    return run(
        source,
        target,
        recipe=recipe,
        settings=settings,
        out=out,
        seed=seed,
        schema=schema,
        kinds=kinds,
        ignore=ignore,
        split=split,
        group=group,
        strict=strict,
        splits=splits,
        cache=cache,
    ).model


def load(folder: str | Path) -> Model:
    """A saved model, or the model of a finished run.  RunError if the folder holds none."""
    from plait.workflow.model import Model

    return Model.load(folder)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("plait")
    elif name == "measures":
        value = importlib.import_module("plait.measures")
    elif name in _HOME:
        value = getattr(importlib.import_module(_HOME[name]), name)
    else:
        raise AttributeError(f"module 'plait' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

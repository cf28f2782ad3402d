"""Training a recipe on cells that are already stored: once, and again with the validation rows if it says so."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from plait.core.assemble import encoder_for
from plait.core.errors import DataError, RecipeError
from plait.core.network import Network
from plait.core.recipe import Recipe, Stage
from plait.data.dataset import Dataset
from plait.data.schema import Schema
from plait.data.table import Table
from plait.measures import scores
from plait.training import loop
from plait.training.runs import restored

from .aside import aside, worth_it
from .model import Model
from .prepare import Encoded, encode, spec_of, trained_on
from .run import versions
from .workshop import Workshop, edited

Watch = loop.Watch
REFIT = "refit"
"""The second training's folder within the run's: its checkpoint and its `metrics.jsonl`."""
REFIT_ROWS = 5_000
"""Training and validation rows up to which `training.refit: auto` trains again: a share of more adds little."""


@dataclass
class Fitted:
    """A model and the account of how it was made.  metrics: {"test", "validation": {measure: value}}."""

    model: Model
    table: Table
    splits: dict[str, np.ndarray]
    encoded: Encoded
    metrics: dict[str, dict[str, float]]
    seconds: dict[str, float]
    samples: dict[str, int]
    history: list[dict[str, Any]]
    warnings: list[str] = field(default_factory=list)

    def account(self) -> dict[str, Any]:
        """As `plait fit --json` prints it."""
        return {
            "run": None if self.model.folder is None else str(self.model.folder),
            "metrics": self.metrics,
            "seconds": self.seconds,
            "samples": self.samples,
            "warnings": self.warnings,
        }


def judge() -> loop.Judge:
    """Plait's own measures, for the loop."""
    return loop.Judge(
        scores.score, lambda kind: scores.of(kind).main, lambda kind, measure: scores.of(kind).higher(measure)
    )


def train(
    table: Table,
    encoded: Encoded,
    recipe: Recipe,
    rows: Mapping[str, np.ndarray],
    *,
    seed: int = 0,
    folder: Path | None = None,
    cache: Path | None = None,
    watch: Watch = lambda line: None,
    watched: bool = True,
) -> Fitted:
    """Train a recipe on cells that are already stored, and once more with the validation rows if it says so.

    watched: as `plait.training.loop.run` has it.
    """
    encoded = trained_on(encoded, rows["train"])
    left_out = [name for name in table.schema.modalities if name not in encoded.dataset.names]
    warnings = [f"{name!r} is left out: no training row has a usable cell of it." for name in left_out]
    _check_targets(table, encoded.dataset, rows["train"])
    # Their decoders go with them.
    heads = {name: head for name, head in recipe.heads.items() if name not in left_out}
    recipe = recipe.model_copy(update={"heads": heads})
    spec = spec_of(recipe, table.schema, encoded.dataset.stores)
    parts = {part: encoded.dataset.take(where) for part, where in rows.items()}

    def run(folder: Path | None, train: np.ndarray, validation: Dataset | None, **how: Any) -> loop.Trained:
        def data(stage: Stage) -> loop.Data:
            tools = Workshop(seed, cache)
            if not stage.data:
                learned = encoded.dataset.take(train)
                return loop.Data(learned, validation, lambda teacher: teacher.learn(table.take(train), tools))
            changed = edited(table.take(train), stage, tools)
            # By the run's own encoders; a changed cell has another content, so the cache keeps it apart.
            names = encoded.dataset.names
            learned = encode(changed, recipe, names, encoders=encoded.encoders, cache=cache).dataset
            return loop.Data(learned, validation, lambda teacher: teacher.learn(changed, tools))

        # Its own encoders: those that stored the cells serve many trainings, and must not carry weights between them.
        encoders = {name: encoder_for(recipe, name, modality.kind) for name, modality in spec.modalities.items()}
        return loop.run(recipe, spec, encoders, data, judge(), seed=seed, folder=folder, watched=watched, **how)

    def again(epochs: tuple[int, ...], watch: Watch = lambda line: None) -> dict[str, Tensor]:
        where = None if folder is None else folder / REFIT
        return run(where, both, None, choices=loop.Choices(epochs, {}), watch=watch).network.state_dict()

    def model_of(network: Network, learned: np.ndarray, refit: bool) -> Model:
        priors = _priors(encoded.dataset.take(learned), table.schema)
        info = {"seed": seed, "versions": versions(), "best": first.best, "refit": refit, "figures": first.figures}
        return Model(network, recipe, table.schema, priors, info, cache)

    began = time.perf_counter()
    both = np.union1d(rows["train"], rows["validation"])
    refits = len(parts["validation"]) > 0 and _refits(recipe, len(both))
    epochs = loop.planned(recipe)
    at_once = [] if epochs is None or not refits or not worth_it(recipe, len(both)) else [partial(again, epochs)]
    with aside(at_once, here=True) if at_once else nullcontext() as second:
        first = run(folder, rows["train"], parts["validation"], watch=watch)
        if first.history and not first.steps and not table.schema.targets:
            raise RecipeError(
                "Nothing was learned: without a target the recipe has no objective that finds anything to learn from. "
                "Name one with --target COLUMN, or take a recipe that learns without."
            )
        model = model_of(first.network, rows["train"], False)
        validation = metrics_of(model, parts["validation"])
        if refits:
            (learned,) = [again(first.choices.epochs, watch)] if second is None else second
            network = restored(recipe, spec, learned | first.choices.tensors, seed)
            model = model_of(network.to(next(first.network.parameters()).device), both, True)
    seconds = {**encoded.seconds, "train": time.perf_counter() - began, "total": 0.0}
    metrics = {"test": metrics_of(model, parts["test"]), "validation": validation}
    samples = {part: len(where) for part, where in rows.items()}
    samples |= {f"train/{name}": int(parts["train"].have[:, i].sum()) for i, name in enumerate(spec.names)}
    return Fitted(
        model, table, dict(rows), encoded, metrics, seconds, samples, first.history, [*table.notes, *warnings]
    )


def _refits(recipe: Recipe, rows: int) -> bool:
    refit = recipe.training.refit
    return rows <= REFIT_ROWS if refit == "auto" else refit


def _check_targets(table: Table, dataset: Dataset, train: np.ndarray) -> None:
    for name, target in table.schema.targets.items():
        labels = dataset.take(train).target(name)
        if not len(labels):
            raise DataError(f"No training row has a label in {name!r}. Check the column, or fit without a target.")
        if target.kind == "class" and len(torch.unique(labels.values)) < 2:
            raise DataError(
                f"All training rows with a label in {name!r} are of one class: there is nothing to learn. "
                "Choose another target, or fit without one."
            )


def _priors(train: Dataset, schema: Schema) -> dict[str, list[float]]:
    out = {}
    for name, target in schema.targets.items():
        values = train.target(name).values
        if target.kind == "class":
            assert target.classes is not None
            out[name] = (torch.bincount(values, minlength=len(target.classes)) / len(values)).tolist()
        elif target.kind == "multi_label":
            out[name] = torch.nanmean(values.float(), 0).nan_to_num(0.0).tolist()
        else:
            # A survival model's risk is relative: nobody's is 0.
            out[name] = [float(values.float().mean())] if target.kind == "number" else [0.0]
    return out


def metrics_of(model: Model, dataset: Dataset) -> dict[str, float]:
    """{measure: value} on labelled rows; with the target's name before it if there are several."""
    out: dict[str, float] = {}
    if len(dataset) == 0:
        return out
    predicted = model.parameters(dataset)
    for name, target in model.targets.items():
        truth = dataset.target(name)
        if len(truth):
            where = truth.rows.numpy()
            found = scores.score(target.kind, predicted[name][where], truth.values.numpy())
            prefix = "" if len(model.targets) == 1 else f"{name}/"
            out |= {f"{prefix}{measure}": value for measure, value in found.items()}
    return out

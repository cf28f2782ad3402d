"""One training and what it says on held-out rows: the unit of which checks and comparisons are made.

What a trial found is kept below the cache folder, under a key of all that it depends on: the code that it reaches, the
recipe, the table's content, the rows and the seed.  So a check that was stopped goes on where it was, and trials that
two checks share are done once.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch

from plait.core.assemble import encoder_for
from plait.core.cost import multiply_adds, parameters
from plait.core.errors import RecipeError, nearest
from plait.core.network import Network
from plait.core.recipe import Recipe
from plait.data.cache import cache_root, writing
from plait.data.dataset import Dataset
from plait.data.duplicates import equal_groups
from plait.data.table import Table
from plait.measures import retrieval, scores

from .aside import aside
from .fingerprint import code_of
from .model import Model
from .prepare import Encoded, encode, spec_of, trained_on
from .train import train

Array = np.ndarray[Any, np.dtype[Any]]
Load = Callable[[], Table]

_RETRIEVAL = re.compile(r"retrieval/(?P<one>[^/]+)->(?P<other>[^/]+)/recall@(?P<k>\d+)")


@dataclass(frozen=True)
class Place:
    """Where a trial happens: rows of a table.

    load: gives the table, in whatever process.  content: its fingerprint.  unlabelled: rows whose labels
    nobody may see while training.
    """

    load: Load
    content: str
    train: Array
    validation: Array
    test: Array
    unlabelled: Array = field(default_factory=lambda: np.zeros(0, np.int64))

    def key(self) -> list[Any]:
        """What a result depends on of it, as plain data."""
        rows = [hashlib.blake2b(r.tobytes(), digest_size=8).hexdigest() for r in self.rows]
        return [self.content, *rows]

    @property
    def rows(self) -> tuple[Array, ...]:
        return self.train, self.validation, self.test, self.unlabelled


@dataclass(frozen=True)
class Trial:
    """A recipe trained at a place.  modalities: those that it sees; None: all.

    measure: `test/MEASURE` of the first target, or `retrieval/ONE->OTHER/recall@K`.  final: as the recipe says, while
    a search leaves out what trains again with the validation rows.  shuffled: the training labels are permuted.
    """

    place: Place
    recipe: Recipe
    measure: str
    seed: int
    modalities: tuple[str, ...] | None = None
    final: bool = False
    shuffled: bool = False

    def key(self) -> str:
        """32 hex digits of all that its outcome depends on."""
        asked = [self.measure, self.seed, self.modalities, self.final, self.shuffled]
        said = json.dumps([code_of(self.recipe), self.place.key(), self.recipe.dump(), asked], sort_keys=True)
        return hashlib.blake2b(said.encode(), digest_size=16).hexdigest()


@dataclass(frozen=True)
class Outcome:
    """What a trial found on the place's test rows.

    value: the measure.  rows: [n] its values per row, NaN where a row has none; None if it is no mean over rows.
    predicted: [n, ...] what the first target's head predicts; None where embeddings are judged.
    best: the epoch that validation rows picked, and of how many, in the last stage; None where the last one is taken.
    finite: whether all losses were.
    """

    value: float
    rows: Array | None
    predicted: Array | None
    best: tuple[int, int] | None
    finite: bool
    seconds: float


def run(trial: Trial) -> Outcome:
    """The trial's outcome, from the cache if it is there.  Raises what `train` raises."""
    path = _path(trial)
    if (kept := _read(path)) is not None:
        return kept
    found = _train(trial)
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {name: value for name in ("rows", "predicted") if (value := getattr(found, name)) is not None}
    told = json.dumps([found.value, found.best, found.finite, found.seconds])
    with writing(path) as part, part.open("wb") as file:
        np.savez_compressed(file, told=np.array(told), **arrays)
    return found


def run_all(jobs: Sequence[Sequence[Trial]]) -> Iterator[list[Outcome]]:
    """The outcomes of each job's trials, in order; as many jobs at a time as there are threads."""
    waiting = [i for i, job in enumerate(jobs) if not all(_path(trial).exists() for trial in job)]
    at_once = len(waiting) > 1 and not torch.cuda.is_available()
    with aside([partial(_each, jobs[i]) for i in waiting]) if at_once else nullcontext() as found:
        for i, job in enumerate(jobs):
            yield _each(job) if found is None or i not in waiting else next(found)


def _each(job: Sequence[Trial]) -> list[Outcome]:
    return [run(trial) for trial in job]


def higher(measure: str, kind: str) -> bool:
    """Whether more of a measure of a kind of target is better."""
    return measure not in COUNTS and scores.of(kind).higher(measure.removeprefix("test/"))


def count(table: Table, recipe: Recipe, measure: str) -> int:
    """Multiply-adds of one forward pass of a recipe over a table's rows, or its parameters."""
    encoded = trained_on(encode(table, recipe), np.arange(len(table)))
    found = _counted(table, recipe, encoded, np.arange(len(table)))
    return found[COUNTS.index(measure)]


def counts(trial: Trial) -> tuple[int, float]:
    """Parameters of a trial's network, and the multiply-adds with which it predicts a test row, on average."""
    table, _, encoded = prepared(trial)
    rows = trial.place.test[:COUNTED]
    every, own = _counted(table, trial.recipe, trained_on(_seen(trial, encoded), trial.place.train), rows)
    return own, every / max(1, len(rows))


def _counted(table: Table, recipe: Recipe, encoded: Encoded, rows: Array) -> tuple[int, int]:
    """As `COUNTS` name them: of one forward pass over these rows, and of the network."""
    network = _untrained(table, recipe, encoded)
    batch = encoded.dataset.batch(rows)
    network.eval()
    return multiply_adds(lambda: _decide(network, batch)), parameters(network)


COUNTED = 256
"""Rows on which multiply-adds are counted."""
COUNTS = ("cost/multiply_adds", "cost/parameters")


def _decide(network: Network, batch: Any) -> Any:
    return [prediction.values for prediction in network(batch).predictions.values()]


def _untrained(table: Table, recipe: Recipe, encoded: Encoded) -> Network:
    from plait.core.assemble import assemble
    from plait.training.stages import watchers

    spec = spec_of(recipe, table.schema, encoded.dataset.stores)
    encoders = {name: encoder_for(recipe, name, modality.kind) for name, modality in spec.modalities.items()}
    return assemble(recipe, spec, encoders, 0, watchers(recipe))


def _path(trial: Trial) -> Path:
    key = trial.key()
    return cache_root() / "trials" / key[:2] / f"{key}.npz"


def _read(path: Path) -> Outcome | None:
    if not path.exists():
        return None
    try:
        with np.load(path) as kept:
            arrays = {name: kept.get(name) for name in ("rows", "predicted")}
            value, best, finite, seconds = json.loads(str(kept["told"]))
    except (OSError, ValueError, KeyError, EOFError, RuntimeError, BadZipFile, zlib.error):
        # A damaged file is made again.
        path.unlink(missing_ok=True)
        return None
    return Outcome(value, arrays["rows"], arrays["predicted"], None if best is None else tuple(best), finite, seconds)


def _train(trial: Trial) -> Outcome:
    threads = torch.get_num_threads()
    # However many are free, or what it finds would depend on what else was left to do.
    torch.set_num_threads(1)
    try:
        return outcome(trial)
    finally:
        torch.set_num_threads(threads)


def outcome(trial: Trial) -> Outcome:
    """What a trial finds, with the threads that there are and without a look at the cache."""
    began = time.perf_counter()
    table, seen, encoded = prepared(trial)
    recipe, place = trial.recipe, trial.place
    if not trial.final:
        once = recipe.training.model_copy(update={"refit": False})
        recipe = recipe.model_copy(update={"training": once})
    encoded = _seen(trial, encoded)
    rows = {"train": place.train, "validation": place.validation, "test": place.test[:0]}
    fitted = train(seen, encoded, recipe, rows, seed=trial.seed, watched=False)
    truth = {name: table.targets(name) for name in table.schema.targets}
    judged = Dataset(len(table), table.ids, fitted.encoded.dataset.stores, truth).take(place.test)
    value, per_row, predicted = _measured(fitted.model, table, judged, place.test, trial.measure)
    losses = [loss for line in fitted.history for loss in line["train"].values()]
    best, last = fitted.model.info["best"], fitted.history[-1] if fitted.history else {}
    picked = (int(best["epoch"]), int(last["epoch"])) if best else None
    finite = bool(np.isfinite(losses).all()) and bool(np.isfinite(value))
    return Outcome(value, per_row, predicted, picked, finite, time.perf_counter() - began)


def _seen(trial: Trial, encoded: Encoded) -> Encoded:
    """The modalities that a trial may see."""
    if trial.modalities is None:
        return encoded
    encoders = {name: encoded.encoders[name] for name in trial.modalities}
    return Encoded(encoded.dataset.only(trial.modalities), encoders)


def _as_learned(table: Table, trial: Trial) -> Table:
    """The table as training may see it: some labels hidden, or permuted among the rows that it learns from."""
    if not len(trial.place.unlabelled) and not trial.shuffled:
        return table
    name, target = next(iter(table.schema.targets.items()))
    if target.kind != "class" or target.classes is None:
        raise RecipeError(f"Labels of the target {name!r} cannot be hidden: it is of kind {target.kind}, not class.")
    said: list[str | None] = [None] * len(table)
    for row, code in zip(*table.targets(name), strict=True):
        said[row] = target.classes[code]
    for row in trial.place.unlabelled.tolist():
        said[row] = None
    if trial.shuffled:
        learned = np.union1d(trial.place.train, trial.place.validation).tolist()
        order = np.random.default_rng(trial.seed).permutation(learned).tolist()
        for row, label in zip(learned, [said[other] for other in order], strict=True):
            said[row] = label
    return table.with_column(target.columns[0], said)


def prepared(trial: Trial) -> tuple[Table, Table, Encoded]:
    """-> the table, the same as training may see it, and its stored cells; kept for the next trial of the same."""
    key = json.dumps([trial.place.key(), trial.shuffled and trial.seed, trial.recipe.encoders], sort_keys=True)
    if key not in _LAST:
        _LAST.clear()
        table = trial.place.load()
        seen = _as_learned(table, trial)
        _LAST[key] = (table, seen, encode(seen, trial.recipe))
    return _LAST[key]


_LAST: dict[str, tuple[Table, Table, Encoded]] = {}


def _measured(
    model: Model, table: Table, dataset: Dataset, rows: Array, measure: str
) -> tuple[float, Array | None, Array | None]:
    """-> the measure on these rows, its value per row, what the first target's head predicts."""
    if (asked := _RETRIEVAL.fullmatch(measure)) is not None:
        per_row = _found(model, table, dataset, rows, asked["one"], asked["other"], int(asked["k"]))
        return float(np.nanmean(per_row)), per_row, None
    name, target = next(iter(model.targets.items()))
    predicted = model.parameters(dataset)[name]
    truth = dataset.target(name)
    at, labels = truth.rows.numpy(), truth.values.numpy()
    value, means = scores.value_of(target.kind, measure.removeprefix("test/"), predicted[at], labels)
    if means is None:
        return value, None, predicted
    per_row = np.full(len(rows), np.nan)
    per_row[at] = means
    return value, per_row, predicted


def _found(model: Model, table: Table, dataset: Dataset, rows: Array, one: str, other: str, k: int) -> Array:
    """[n] whether the rows' own `other` is among the first k for their `one`, among these rows; NaN without both.

    A row with an equal cell of either is as good an answer.
    """
    embedded = model.embeddings(dataset)
    for name in (one, other):
        if name not in embedded:
            raise RecipeError(f"There are no embeddings of {name!r} to search with.{nearest(name, embedded)}")
    both = np.intersect1d(embedded[one][0], embedded[other][0])
    seen = table.take(rows)
    equal = np.stack([equal_groups(seen, [name])[both] for name in (one, other)], 1)
    queries, gallery = (embedded[name][1][np.searchsorted(embedded[name][0], both)] for name in (one, other))
    ranks = retrieval.rank(queries, gallery, equal, equal)
    per_row = np.full(len(rows), np.nan)
    per_row[both[ranks.query]] = ranks.recall(k)
    return per_row

"""What a model is worth: on test rows, from each modality alone, in every missing pattern, across modalities."""

from __future__ import annotations

import functools
import itertools
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from plait.core.assemble import encoder_for
from plait.core.errors import DataError, MissingExtra, RecipeError, RunError
from plait.core.plain import plain
from plait.data.copies import left_out, witnesses
from plait.data.dataset import Dataset
from plait.data.duplicates import equal_groups
from plait.data.health import doubts
from plait.data.schema import JOINT
from plait.data.table import Table
from plait.measures import calibration, presence, retrieval, scores
from plait.training.checkpoint import WEIGHTS

from .aside import aside, worth_it
from .model import Embeddings, Model
from .prepare import Encoded, Progress, silent
from .run import EVALUATION, asked_about, own_rows, read_splits, write_json
from .train import Watch, train

SINGLES = "singles"
WITHOUT = "without"
GALLERY = 5_000
"""Rows among which retrieval is judged at most: its cost grows with their square."""
PATTERN_DRAWS = 300
"""Resamples for the intervals of each missing pattern: there are up to 63 patterns."""


@dataclass
class Evaluation:
    """Figures on `rows` rows, each with a 95 % bootstrap interval under "intervals".

    test: {measure: value}; with several targets, "target/measure".  single: {modality: a model trained on it alone, on
    the rows that have it, and under "fused" the whole model on the same rows}.  without: {modality: the model with that
    one hidden, on the rows that have it, and under "with" with all they have}.  patterns: a list, each the rows that
    have all modalities of "present", with the others hidden.  retrieval: {"image->caption": recalls}.
    calibration: of the first class target.  notes: what the reader should know.  labelled: {target: rows that have its
    label}.  own: whether these are the test rows of the table that the model was fitted on.
    """

    rows: int
    own: bool = False
    labelled: dict[str, int] = field(default_factory=dict)
    test: dict[str, float] = field(default_factory=dict)
    intervals: dict[str, Any] = field(default_factory=dict)
    single: dict[str, Any] = field(default_factory=dict)
    without: dict[str, Any] = field(default_factory=dict)
    patterns: list[dict[str, Any]] = field(default_factory=list)
    retrieval: dict[str, Any] = field(default_factory=dict)
    calibration: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def account(self) -> dict[str, Any]:
        """As `plait evaluate --json` prints it."""
        out: dict[str, Any] = plain(vars(self))
        return out


def evaluate(
    model: Model,
    source: Any = None,
    *,
    singles: bool = True,
    seed: int = 0,
    progress: Progress = silent,
    watch: Watch = lambda line: None,
) -> Evaluation:
    """Evaluate on the run's own test rows, whose report is then written anew, or on the rows of another table.

    source: another table; or the one that the model was fitted on, wherever it lies now, whose test rows are taken.
    singles: also against models trained on one modality alone, which are fitted once and kept in the run folder; those
    that are there are compared with in any case.
    RunError if the run's data is needed and not there, or has changed.
    """
    table, splits = asked_about(model, source)
    own = splits is not None
    test = np.arange(len(table)) if splits is None else splits["test"]
    if not len(test):
        raise DataError("There are no test rows. Give some: plait evaluate RUN DATA.")
    encoded = model.encode(table, progress)
    alone: dict[str, Model] = {}
    notes = []
    there = [model.folder is not None and (model.folder / SINGLES / name / WEIGHTS).exists() for name in model.names]
    if (singles or all(there)) and model.targets and len(model.names) > 1:
        try:
            alone = single_models(model, (table, encoded) if own else None, progress, watch)
        except (RunError, RecipeError) as error:
            notes.append(f"No single-modality models: {error}")
    found = assess(model, table, encoded, test, alone, seed, own)
    found.notes += notes + doubt_notes(table, splits or {"test": test})
    found.notes += [
        f"No row has a label in {name!r} that the model knows: nothing is said about it."
        for name, rows in found.labelled.items()
        if not rows
    ]
    if source is not None and own:
        found.notes.append(f"The model was fitted on this table: these are its {len(test)} test rows.")
    if not own:
        if table.quarantine:
            found.notes.append(f"{len(table.quarantine)} cells cannot be used: plait inspect says why.")
        found.notes += overlap(model, table)
    elif model.folder is not None:
        from .report import write_from

        write_json(model.folder / EVALUATION, found.account())
        try:
            write_from(model.folder, model, table, encoded.dataset)
        except MissingExtra as error:
            found.notes.append(f"The report was not written anew. {error}")
    return found


def assess(
    model: Model,
    table: Table,
    encoded: Encoded,
    test: np.ndarray,
    alone: Mapping[str, Model],
    seed: int = 0,
    own: bool = True,
) -> Evaluation:
    """The figures on the rows `test` of cells that are already stored.  alone: single-modality models."""
    dataset = encoded.dataset.take(test)
    groups, few = witnesses(table.take(test))
    companies = [p for p in presence.subsets(model.names, seed) if _having(dataset, p).any()]
    everything = tuple(model.names)
    rest = {name: tuple(n for n in everything if n != name) for name in everything if len(everything) > 1}
    decisions = model.decisions(dataset, list(dict.fromkeys([everything, *rest.values(), *companies])))
    every_row = np.ones(len(dataset), bool)
    labelled = {name: len(dataset.target(name)) for name in model.targets}
    found = Evaluation(len(test), own, labelled)
    found.notes += left_out(few)
    found.test, found.intervals, _ = _figures(model, decisions[everything], dataset, every_row, groups, seed)

    @functools.cache
    def whole(on: str) -> tuple[dict[str, float], dict[str, list[float]], int]:
        return _figures(model, decisions[everything], dataset, _having(dataset, (on,)), groups, seed)

    def compared(first: Mapping[str, np.ndarray], on: str, name: str, change: str) -> dict[str, Any]:
        """Figures of `first` on the rows that have a modality, of the whole model there, and how far that is up."""
        have = _having(dataset, (on,))
        own, own_intervals, rows = _figures(model, first, dataset, have, groups, seed)
        other, other_intervals, _ = whole(on)
        return {
            **own,
            "rows": rows,
            "intervals": own_intervals,
            name: {**other, "intervals": other_intervals},
            change: _differences(model, decisions[everything], first, dataset, have, groups, seed),
        }

    for name, other in alone.items():
        found.single[name] = compared(other.parameters(dataset), name, "fused", "gain")
    for name, others in rest.items() if model.targets else ():
        if _having(dataset, (name,)).any():
            found.without[name] = compared(decisions[others], name, "with", "loss")
    for company in companies if model.targets else ():
        have = _having(dataset, company)
        figures, intervals, rows = _figures(model, decisions[company], dataset, have, groups, seed, PATTERN_DRAWS)
        if rows:
            found.patterns.append({"present": list(company), "rows": rows, **figures, "intervals": intervals})
    found.retrieval, drawn = _retrieval(model, table, dataset, test, groups, seed)
    if drawn:
        found.notes.append(f"Retrieval between {', '.join(drawn)}: among {GALLERY:,} rows, drawn by chance.")
    for name, target in model.targets.items():
        truth = dataset.target(name)
        if target.kind == "class" and len(truth) and not found.calibration:
            predicted = decisions[everything][name][truth.rows.numpy()]
            found.calibration = dict(calibration.calibration(predicted, truth.values.numpy(), seed=seed))
    return found


def single_models(
    model: Model,
    fitted: tuple[Table, Encoded] | None = None,
    progress: Progress = silent,
    watch: Watch = lambda line: None,
) -> dict[str, Model]:
    """{modality: a model trained on it alone, on the same rows and recipe}; kept in the run folder.

    fitted: the run's table and its stored cells, if they are at hand.  RunError if they are needed and cannot be had.
    """
    places = {f"{SINGLES}/{name}": (name,) for name in model.names}
    found = trained_on_some(model, places, fitted, progress, watch, "single modalities")
    return dict(zip(model.names, found, strict=True))


def models_without(
    model: Model, fitted: tuple[Table, Encoded] | None = None, progress: Progress = silent
) -> dict[str, Model]:
    """{modality: a model trained on all others}; as `single_models`, and of two modalities the same."""
    rest = {name: tuple(n for n in model.names if n != name) for name in model.names}
    places = {f"{WITHOUT}/{n}" if len(names) > 1 else f"{SINGLES}/{names[0]}": names for n, names in rest.items()}
    return dict(zip(rest, trained_on_some(model, places, fitted, progress), strict=True))


def trained_on_some(
    model: Model,
    places: Mapping[str, tuple[str, ...]],
    fitted: tuple[Table, Encoded] | None = None,
    progress: Progress = silent,
    watch: Watch = lambda line: None,
    said: str = "models of some modalities",
) -> list[Model]:
    """Models trained on some of the modalities, on the same rows and recipe; those that are there already are taken.

    places: {where in the run folder: the modalities}.
    """
    folder = model.folder
    if folder is None:
        raise RunError("the model was not saved as a run. Fit it with an --out folder.")
    kept = {folder / place: names for place, names in places.items()}
    asked = {path: names for path, names in kept.items() if not (path / WEIGHTS).exists()}
    if asked:
        table, encoded = fitted or _run_cells(model, progress)
        rows = read_splits(folder)
        jobs = []
        for path, names in asked.items():
            how = {"seed": model.info["seed"], "cache": model.cache}
            cells = untrained(model, table, encoded, names)
            jobs.append(partial(_train_into, path, table, cells, model.recipe, rows, **how))
        learned = len(rows["train"]) + len(rows["validation"])
        one_by_one = nullcontext(job(watch=watch) for job in jobs)
        with aside(jobs) if worth_it(model.recipe, learned, len(jobs)) else one_by_one as done:
            progress(said, 0, len(jobs))
            for i, _ in enumerate(done, 1):
                progress(said, i, len(jobs))
    return [Model.load(path, model.cache) for path in kept]


def untrained(model: Model, table: Table, encoded: Encoded, names: tuple[str, ...]) -> Encoded:
    """The cells of some modalities, with encoders of the model's recipe that have learned nothing."""
    encoders = {name: encoder_for(model.recipe, name, table.schema.modalities[name].kind) for name in names}
    return Encoded(encoded.dataset.only(names), encoders)


def _train_into(path: Path, *what: Any, **how: Any) -> None:
    """As `train`, and keep the model in a folder."""
    train(*what, **how).model.save(path)


def _run_cells(model: Model, progress: Progress) -> tuple[Table, Encoded]:
    table, _ = own_rows(model)
    return table, model.encode(table, progress)


def overlap(model: Model, table: Table) -> list[str]:
    """Whether rows of another table stand among those that the model was trained on; nothing to say if they do not."""
    try:
        own, begun = own_rows(model)
    except (RunError, DataError):
        return ["Whether these rows overlap with the training rows is not known: the run's own data is not at hand."]
    splits = begun.splits
    learned = np.union1d(splits["train"], splits["validation"]) if model.info["refit"] else splits["train"]
    known = _contents(own.take(learned))
    same = sum(content in known for content in _contents(table).elements())
    if not same:
        return []
    return [f"{same} of {len(table)} rows have exactly the cells of a training row: figures on them flatter."]


def doubt_notes(table: Table, splits: Mapping[str, np.ndarray]) -> list[str]:
    """What is said where figures on the test rows say little, or flatter.  splits: of other rows, `test` alone."""
    return [f"{finding.message[0].upper()}{finding.message[1:]}." for finding in doubts(table, splits)]


def _contents(table: Table) -> Counter[bytes]:
    """How often each row's content occurs: all its cells' hashes together."""
    content: dict[int, bytes] = {}
    for name in table.schema.modalities:
        rows, keys = table.keys(name)
        for row, key in zip(rows.tolist(), keys, strict=True):
            content[row] = content.get(row, b"") + name.encode() + key.tobytes()
    return Counter(content.values())


def _having(dataset: Dataset, company: tuple[str, ...]) -> np.ndarray:
    """[N] bool: rows that have all of these modalities."""
    columns = [dataset.names.index(name) for name in company]
    return dataset.have[:, columns].all(1).numpy()


def _labelled(dataset: Dataset, target: str, among: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """-> rows that are labelled and `among`, and their labels."""
    truth = dataset.target(target)
    rows = truth.rows.numpy()
    kept = among[rows]
    return rows[kept], truth.values.numpy()[kept]


def _figures(
    model: Model,
    predicted: Mapping[str, np.ndarray],
    dataset: Dataset,
    among: np.ndarray,
    groups: np.ndarray | None,
    seed: int,
    draws: int = 1000,
) -> tuple[dict[str, float], dict[str, list[float]], int]:
    """-> {measure: value}, {measure: interval}, labelled rows."""
    values: dict[str, float] = {}
    intervals: dict[str, list[float]] = {}
    most = 0
    for name, target in model.targets.items():
        rows, truth = _labelled(dataset, name, among)
        if not len(rows):
            continue
        most = max(most, len(rows))
        prefix = "" if len(model.targets) == 1 else f"{name}/"
        own = None if groups is None else groups[rows]
        values |= {prefix + k: v for k, v in scores.score(target.kind, predicted[name][rows], truth).items()}
        bounds = scores.intervals(target.kind, predicted[name][rows], truth, groups=own, seed=seed, draws=draws)
        intervals |= {prefix + k: list(v) for k, v in bounds.items()}
    return values, intervals, most


def _differences(
    model: Model,
    first: Mapping[str, np.ndarray],
    second: Mapping[str, np.ndarray],
    dataset: Dataset,
    among: np.ndarray,
    groups: np.ndarray | None,
    seed: int,
) -> dict[str, list[float]]:
    """{measure: interval of first minus second}, on the same rows."""
    out: dict[str, list[float]] = {}
    for name, target in model.targets.items():
        rows, truth = _labelled(dataset, name, among)
        if len(rows):
            own = None if groups is None else groups[rows]
            prefix = "" if len(model.targets) == 1 else f"{name}/"
            found = scores.differences(target.kind, first[name][rows], second[name][rows], truth, groups=own, seed=seed)
            out |= {prefix + k: list(v) for k, v in found.items()}
    return out


def _retrieval(
    model: Model, table: Table, dataset: Dataset, test: np.ndarray, groups: np.ndarray | None, seed: int
) -> tuple[dict[str, Any], list[str]]:
    """Every ordered pair of modalities, on the rows that have both; -> figures, pairs for which rows were drawn."""
    found = model.embeddings(dataset)
    out: dict[str, Any] = {}
    drawn = []
    for search in searches(found, table.take(test), seed):
        if search.drawn:
            drawn.append(search.name)
        own = None if groups is None else groups[search.rows]
        out[search.name] = retrieval.retrieval(search.ranks(found), groups=own, seed=seed)
    return out, drawn


@dataclass(frozen=True, eq=False)
class Search:
    """Of one modality by another, among the rows [n] that have both.

    equal: [n, 2] numbers; a row with an equal cell of either modality is as good an answer as the query's own.
    drawn: whether there were more rows.
    """

    one: str
    other: str
    rows: np.ndarray
    equal: np.ndarray
    drawn: bool

    @property
    def name(self) -> str:
        return f"{self.one}->{self.other}"

    def ranks(self, found: Embeddings) -> retrieval.Ranks:
        """found: embeddings of the rows that are searched."""
        queries, gallery = (vectors_at(found[name], self.rows) for name in (self.one, self.other))
        return retrieval.rank(queries, gallery, self.equal, self.equal)


def searches(found: Embeddings, seen: Table, seed: int = 0) -> Iterator[Search]:
    """Every ordered pair of modalities that two rows or more have both of.  seen: the rows that were embedded."""
    same = {name: equal_groups(seen, [name]) for name in found if name != JOINT}
    for one, other in itertools.permutations(same, 2):
        every = np.intersect1d(found[one][0], found[other][0])
        if len(every) < 2:
            continue
        rows = every
        if len(every) > GALLERY:
            # The same rows in both directions.
            rows = np.sort(np.random.default_rng(seed).choice(every, GALLERY, replace=False))
        yield Search(one, other, rows, np.stack([same[one][rows], same[other][rows]], 1), len(rows) < len(every))


def vectors_at(embedded: tuple[np.ndarray, np.ndarray], rows: np.ndarray) -> np.ndarray:
    """[n, E] embeddings of rows [n] that all have one.  embedded: a modality's rows and vectors."""
    where, vectors = embedded
    return vectors[np.searchsorted(where, rows)]

"""Fitting: from a table to a model, in a run folder that can be gone on from at any moment."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from plait.core.errors import DataError, MissingExtra, RecipeError, RunError, SchemaError, nearest
from plait.core.plain import plain
from plait.core.rank import rank
from plait.core.recipe import Recipe
from plait.data.copies import together
from plait.data.read import read
from plait.data.schema import Schema
from plait.data.splits import PARTS
from plait.data.splits import split as split_rows
from plait.data.table import Table
from plait.training import loop
from plait.training.checkpoint import WEIGHTS
from plait.training.runs import CONFIG, read_config

from .defaults import resolve
from .evaluate import doubt_notes
from .model import Begun
from .prepare import Progress, encode, silent
from .run import EVALUATION, FIT, again, begin, forget, locked, read_splits, versions, write_json, write_splits
from .train import REFIT, Fitted, Watch, train


def fit(
    source: Any,
    target: str | Sequence[str] | None = None,
    *,
    recipe: str | Path | Mapping[str, Any] | Recipe | None = None,
    settings: Iterable[str] = (),
    out: str | Path | None = None,
    seed: int = 0,
    schema: Schema | str | Path | None = None,
    kinds: Mapping[str, str] | None = None,
    ignore: Iterable[str] = (),
    split: str | None = None,
    group: str | None = None,
    strict: bool = False,
    resume: bool = False,
    splits: Mapping[str, np.ndarray] | None = None,
    cache: Path | None = None,
    progress: Progress = silent,
    watch: Watch = lambda line: None,
) -> Fitted:
    """Read, encode, train; see `plait.fit` for the model alone.

    target: a column, "time,event" for survival, several, or None for alignment alone.  out: the run folder; without
    one nothing is written.  resume: go on with the run in `out`.  splits: rows of "train", "validation" and "test";
    where None, what the schema's split column says, or drawn so that no group and no copies are torn.
    """
    began = time.perf_counter()
    folder, settings, ignore = None if out is None else Path(out), list(settings), list(ignore)
    with ExitStack() as stack:
        if folder is not None and rank() == 0:
            stack.enter_context(locked(folder))
        table = learnable(
            source, schema, target=target, kinds=kinds or {}, ignore=ignore, split=split, group=group, strict=strict
        )
        chosen = resolve(table.schema, recipe, settings)
        rows = _given(splits) if splits is not None else split_rows(table, groups=together(table), seed=seed)
        if folder is not None:
            asked = {
                "target": target,
                "recipe": recipe,
                "settings": settings,
                "schema": schema,
                "kinds": kinds,
                "ignore": ignore,
                "split": split,
                "group": group,
                "strict": strict,
                "splits": splits,
            }
            config = {"source": _named(source), "seed": seed, "arguments": _sayable(asked), "versions": versions()}
            rows = _begin(folder, table, {**config, "recipe": chosen.dump()}, rows, resume)
        progress("read", 1, 1)
        try:
            encoded = encode(table, chosen, cache=cache, progress=progress)
            fitted = train(table, encoded, chosen, rows, seed=seed, folder=folder, cache=cache, watch=_sound(watch))
        except (DataError, RecipeError, SchemaError, MissingExtra):
            # Nothing is learned yet, and going on would meet the same: the next try may have the folder.
            if folder is not None and not resume and not (folder / loop.CHECKPOINT).exists():
                forget(folder)
            raise
        fitted.warnings += doubt_notes(table, rows)
        fitted.seconds["total"] = time.perf_counter() - began
        if folder is None:
            fitted.model.begun = Begun(table.fingerprint(), len(table), fitted.splits)
        elif rank() == 0:
            _finish(fitted, folder, began, progress)
    return fitted


def _sound(watch: Watch) -> Watch:
    """RecipeError after an epoch whose losses are not all finite: nothing can be learned from there on."""

    def told(line: dict[str, Any]) -> None:
        watch(line)
        lost = next((name for name, loss in line["train"].items() if not math.isfinite(loss)), None)
        if lost is not None:
            raise RecipeError(
                f"Training broke down in epoch {line['epoch'] + 1}: the loss {lost} is not finite. Lower the learning "
                "rate (--set training.optimizer.adamw.lr=1e-4), or leave out the part of the recipe that it came with; "
                "then fit into another folder."
            )

    return told


def learnable(source: Any, schema: Schema | str | Path | None, **how: Any) -> Table:
    """A table read as `read` does it.  DataError if there is nothing in it to learn from."""
    table = read(source, schema, **how)
    if len(table) == 0:
        raise DataError("The table has no rows.")
    if not table.schema.modalities:
        raise DataError("No column can be a modality. Name one with --kind column=text (or image, audio, ...).")
    return table


def _finish(fitted: Fitted, folder: Path, began: float, progress: Progress) -> None:
    """The whole run folder.  The weights come last: a run that has them is finished."""
    from . import evaluate, indexing, report

    model, test = fitted.model, fitted.splits["test"]
    model.folder = folder
    model.info = {key: value for key, value in read_config(folder).items() if key != "recipe"} | model.info
    if len(test):
        progress("evaluate", 0, 1)
        found = evaluate.assess(model, fitted.table, fitted.encoded, test, {}, model.info["seed"])
        write_json(folder / EVALUATION, found.account())
        progress("evaluate", 1, 1)
    fitted.seconds["total"] = time.perf_counter() - began
    steps: dict[str, Callable[[], Any]] = {
        "No index to search": lambda: indexing.save(
            folder, model, fitted.table, fitted.encoded.dataset, fitted.splits, model.info.get("source")
        ),
        "No report": lambda: report.write(folder, fitted),
    }
    for what, step in steps.items():
        try:
            step()
        except MissingExtra as error:
            fitted.warnings.append(f"{what} was written. {error}")
    fitted.seconds["total"] = time.perf_counter() - began
    write_json(folder / FIT, fitted.account())
    model.save(folder)
    for path in (folder, folder / REFIT):
        (path / loop.CHECKPOINT).unlink(missing_ok=True)


def _given(splits: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """All parts; those that are not given have no rows."""
    for part in splits:
        if part not in PARTS:
            raise DataError(f"There is no part {part!r} of a split.{nearest(part, PARTS)}")
    return {part: np.asarray(splits.get(part, ()), np.int64) for part in PARTS}


def _sayable(asked: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that were given, as a file can say them; "in_memory" names those that it cannot."""
    given = {key: str(value) if isinstance(value, Path) else value for key, value in asked.items()}
    memory = [key for key in ("recipe", "schema", "splits") if not isinstance(given[key], str | None)]
    out = {key: value for key, value in plain(given).items() if key not in memory and value}
    return {**out, "in_memory": memory} if memory else out


def _named(source: Any) -> str | None:
    """The source's path, which must still be right when the run is taken up from another folder."""
    return str(Path(source).absolute()) if isinstance(source, (str, Path)) else None


def _begin(
    folder: Path, table: Table, config: Mapping[str, Any], rows: dict[str, np.ndarray], resume: bool
) -> dict[str, np.ndarray]:
    """Write what the run is made from, or check it; -> the rows of each split."""
    if resume:
        if (folder / WEIGHTS).exists():
            raise RunError(f"The run in {folder} is finished. Use it, or fit anew with another --out.")
        again(folder, table)
        return read_splits(folder)
    if rank() == 0:
        # The splits first: a folder with a configuration must have them.
        if not (folder / CONFIG).exists():
            write_splits(folder, table, rows)
        begin(folder, config, table.schema, table)
    return rows


def resume(
    folder: str | Path,
    source: Any = None,
    *,
    cache: Path | None = None,
    progress: Progress = silent,
    watch: Watch = lambda line: None,
) -> Fitted:
    """Go on with an interrupted run, to the weights that it would have had.

    source: the data, if it was not read from a path.  RunError if the folder holds no run, a finished one, or one that
    was begun with other data.
    """
    folder = Path(folder)
    config = read_config(folder)
    source = config.get("source") if source is None else source
    if source is None:
        raise RunError(f"The run in {folder} was fitted on data in memory: give it again.")
    return fit(
        source,
        schema=folder / "schema.yaml",
        recipe=Recipe.parse(config["recipe"], str(folder / CONFIG)),
        out=folder,
        seed=config["seed"],
        resume=True,
        cache=cache,
        progress=progress,
        watch=watch,
    )

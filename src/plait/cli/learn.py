"""fit, tune."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from . import options
from .screen import Screen


def fit(
    data: Annotated[
        str | None,
        typer.Argument(metavar="DATA", help="A table (CSV, Parquet, JSONL ...), a folder, or .tar shards."),
    ] = None,
    target: options.Target = None,
    out: Annotated[Path | None, typer.Option(metavar="RUN", help="The run folder to make.")] = None,
    resume: Annotated[
        Path | None, typer.Option("--resume", metavar="RUN", help="Go on with this run, with its own settings.")
    ] = None,
    schema: options.SchemaFile = None,
    kind: options.Kinds = None,
    ignore: options.Ignore = None,
    split: options.Split = None,
    group: options.Group = None,
    seed: options.Seed = 0,
    recipe: options.RecipeName = None,
    settings: options.Settings = None,
    strict: options.Strict = False,
    as_json: options.Json = False,
) -> None:
    """Train a model on a table, in a run folder."""
    chosen: dict[str, Any] = {
        "--target": target,
        "--out": out,
        "--schema": schema,
        "--kind": kind,
        "--ignore": ignore,
        "--split": split,
        "--group": group,
        "--seed": seed,
        "--recipe": recipe,
        "--set": settings,
        "--strict": strict,
    }
    given = [option for option, value in chosen.items() if value]
    if resume is not None and given:
        raise typer.BadParameter(
            f"the run goes on with its own settings; leave out {', '.join(given)}", param_hint="--resume"
        )
    if resume is None and (data is None or out is None):
        missing = "DATA" if data is None else "--out"
        raise typer.BadParameter("missing; say plait fit DATA --target COLUMN --out RUN", param_hint=missing)
    kinds = options.pairs(kind, "--kind")

    from plait.core.plain import plain
    from plait.workflow import fit as workflow
    from plait.workflow.inspect import overview
    from plait.workflow.run import EVALUATION, read_json

    from . import show

    folder = resume or out
    assert folder is not None
    with Screen(as_json) as screen:
        try:
            if resume is not None:
                fitted = workflow.resume(resume, data, progress=screen.progress, watch=screen.watch)
            else:
                fitted = workflow.fit(
                    data,
                    target,
                    recipe=recipe,
                    settings=settings or (),
                    out=out,
                    seed=seed,
                    schema=schema,
                    kinds=kinds,
                    ignore=ignore or (),
                    split=split,
                    group=group,
                    strict=strict,
                    progress=screen.progress,
                    watch=screen.watch,
                )
        except KeyboardInterrupt:
            screen.note(f"Go on with: plait fit --resume {folder}")
            raise
        account = plain({**fitted.account(), **overview(fitted.table), "recipe": fitted.model.recipe.dump()})
        if (folder / EVALUATION).exists():
            account["evaluation"] = read_json(folder / EVALUATION)
    screen.show(account, *show.fitted(account), show.where(folder))


def tune(
    data: options.Data,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The recipe file to write, for fit --recipe.")],
    target: options.Target = None,
    trials: Annotated[int, typer.Option(min=1, metavar="N", help="Settings to try; the first is the recipe's.")] = 16,
    folds: Annotated[int, typer.Option(min=2, metavar="N", help="Folds that judge each.")] = 3,
    schema: options.SchemaFile = None,
    kind: options.Kinds = None,
    ignore: options.Ignore = None,
    split: options.Split = None,
    group: options.Group = None,
    seed: options.Seed = 0,
    recipe: options.RecipeName = None,
    settings: options.Settings = None,
    strict: options.Strict = False,
    as_json: options.Json = False,
) -> None:
    """Search a recipe's settings for a table, without looking at the rows that fit would test on."""
    kinds = options.pairs(kind, "--kind")

    from plait.core.plain import plain
    from plait.workflow.tune import tune as search

    from . import show

    with Screen(as_json) as screen:
        found = search(
            data,
            target,
            trials=trials,
            k=folds,
            recipe=recipe,
            settings=settings or (),
            out=out,
            seed=seed,
            schema=schema,
            kinds=kinds,
            ignore=ignore or (),
            split=split,
            group=group,
            strict=strict,
            progress=screen.progress,
        )
        account = plain({**found.account(), "out": str(out)})
    screen.show(account, *show.tuned(account))

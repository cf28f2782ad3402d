"""compare, explain."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import options
from .screen import Screen


def compare(
    data: options.Data,
    target: options.Target = None,
    recipes: Annotated[
        str | None, typer.Option(metavar="A,B,...", help="Recipes by name or file, beside the baselines.")
    ] = None,
    family: Annotated[str | None, typer.Option(metavar="F", help="All entries of a family of the catalogue.")] = None,
    all_quick: Annotated[
        bool, typer.Option("--all-quick", help="All entries that take at most 3 times as long as the default.")
    ] = False,
    control: Annotated[str, typer.Option(metavar="NAME", help="What all others are tested against.")] = "late fusion",
    measure: Annotated[str | None, typer.Option(metavar="NAME", help="Instead of the target's main one.")] = None,
    folds: Annotated[int, typer.Option(min=2, metavar="N", help="Folds of the rows.")] = 5,
    repeats: Annotated[int, typer.Option(min=1, metavar="R", help="How often the rows are cut into folds.")] = 1,
    budget: Annotated[
        float | None, typer.Option(metavar="MINUTES", help="Roughly; drops repeats of all recipes.")
    ] = None,
    trials: Annotated[int, typer.Option(min=1, metavar="N", help="Settings that each recipe tries in each fold.")] = 16,
    time: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Later rows judge what was learned from earlier ones.")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="FOLDER", help="For compare.json and forest.svg.")] = None,
    schema: options.SchemaFile = None,
    kind: options.Kinds = None,
    ignore: options.Ignore = None,
    split: options.Split = None,
    group: options.Group = None,
    seed: options.Seed = 0,
    settings: options.Settings = None,
    strict: options.Strict = False,
    as_json: options.Json = False,
) -> None:
    """Is fusion worth it on this table, and is any published method better than the tuned default?

    Minutes to hours; what was trained is kept, so the same command goes on where it was stopped.
    """
    if sum(map(bool, (recipes, family, all_quick))) > 1:
        raise typer.BadParameter("--recipes, --family, --all-quick: say one of them", param_hint="--recipes")
    kinds = options.pairs(kind, "--kind")

    from plait.catalogue.compare import compare as run
    from plait.catalogue.entry import FAMILIES
    from plait.core.errors import RecipeError, nearest
    from plait.core.plain import plain

    from . import show

    with Screen(as_json) as screen:
        if family is not None and family not in FAMILIES:
            raise RecipeError(f"There is no family {family!r}.{nearest(family, FAMILIES)}")
        found = run(
            data,
            target,
            recipes=[name.strip() for name in (recipes or "").split(",") if name.strip()],
            family=family,
            quick=all_quick,
            control=control,
            measure=measure,
            folds=folds,
            repeats=repeats,
            trials=trials,
            budget=budget,
            time=time,
            settings=settings or (),
            seed=seed,
            schema=schema,
            kinds=kinds,
            ignore=ignore or (),
            split=split,
            group=group,
            strict=strict,
            progress=screen.progress,
        )
        if out is not None:
            found.save(out)
        account = plain(found.account())
    screen.show(account, *show.compared(account, out))


def explain(
    run: options.Run,
    data: Annotated[str | None, typer.Argument(metavar="DATA", help="Other rows than the run's own test rows.")] = None,
    sections: Annotated[
        str | None,
        typer.Option(metavar="A,B,...", help="Of worth, interactions, space, dependence, balance, trust, robustness."),
    ] = None,
    deep: Annotated[
        bool, typer.Option("--deep", help="Also damaged cells, and models trained anew: minutes to hours.")
    ] = False,
    by: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Groups that are to be treated alike: are they?")
    ] = None,
    seed: options.Seed = 0,
    as_json: options.Json = False,
) -> None:
    """What a model leans on, what its data can tell, and where both end; into the run's report."""
    from plait.core.plain import plain
    from plait.workflow.explain.explain import explain as ask
    from plait.workflow.model import Model

    from . import show

    with Screen(as_json) as screen:
        asked = None if sections is None else [name.strip() for name in sections.split(",") if name.strip()]
        found = ask(Model.load(run), data, sections=asked, deep=deep, by=by, seed=seed, progress=screen.progress)
        account = plain(found.account())
    screen.show(account, *show.explained(account), show.where(run) if found.own else None)

"""catalogue, catalogue show, claim."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from . import options
from .screen import Screen

app = typer.Typer(invoke_without_command=True, help="Published systems; each runs as `plait fit --recipe NAME`.")


@app.callback()
def catalogue(
    context: typer.Context,
    family: Annotated[str | None, typer.Option(metavar="F", help="Of this family alone.")] = None,
    stale: Annotated[bool, typer.Option("--stale", help="Those whose verdict no longer matches the code.")] = False,
    as_json: options.Json = False,
) -> None:
    """What the catalogue has."""
    if context.invoked_subcommand is not None:
        return
    from plait.catalogue.entry import FAMILIES
    from plait.catalogue.evidence import overview
    from plait.core.errors import RecipeError, nearest

    from . import show

    with Screen(as_json) as screen:
        if family is not None and family not in FAMILIES:
            raise RecipeError(f"There is no family {family!r}.{nearest(family, FAMILIES)}")
        found = [entry for entry in overview() if family in (None, entry["family"]) and (entry["stale"] or not stale)]
    screen.show(found, *show.entries(found))


@app.command("show")
def show_entry(
    name: Annotated[str, typer.Argument(metavar="NAME", help="An entry of the catalogue.")],
    as_json: options.Json = False,
) -> None:
    """One system: what it does, what was claimed, and what was seen."""
    from plait.catalogue import entry, evidence

    from . import show

    with Screen(as_json) as screen:
        account = {"name": name, **entry.load(name).model_dump(mode="json"), "evidence": evidence.read(name)}
    screen.show(account, *show.entry(account))


def claim(
    name: Annotated[list[str] | None, typer.Argument(metavar="NAME...", help="Entries of the catalogue.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All entries.")] = False,
    replicate: Annotated[
        bool, typer.Option(help="Look again, with fresh seeds, for whatever holds or is contradicted.")
    ] = True,
    again: Annotated[bool, typer.Option("--again", help="Another attempt, with other draws and folds.")] = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="Check only what is new: claims whose words, recipe, data or code changed.")
    ] = False,
    only_confirm: Annotated[
        bool,
        typer.Option("--confirm", help="After a change of code: is what was recorded still what trainings say?"),
    ] = False,
    draws: Annotated[
        int | None,
        typer.Option(
            "--rehearse",
            metavar="DRAWS",
            help="Only look at planted claims, on so many draws that no check uses, untuned; nothing is recorded.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="For the evidence; beside the entries if not said."),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Check what published systems claim, and write down what was seen.

    Minutes to an hour for each; what was done is kept, so the same command goes on where it was stopped.
    """
    if every == bool(name):
        raise typer.BadParameter("name entries, or say --all", param_hint="NAME")
    if only_confirm and (again or keep):
        raise typer.BadParameter("it repeats no attempt and makes no other", param_hint="--confirm")
    if again and keep:
        raise typer.BadParameter("another attempt keeps nothing", param_hint="--keep")
    if draws is not None and (only_confirm or again or keep or out is not None):
        raise typer.BadParameter("it is no attempt, and nothing is recorded of it", param_hint="--rehearse")

    from plait.catalogue import entry, evidence, rehearsal, runner
    from plait.core.errors import PlaitError

    from . import show

    with Screen(as_json) as screen:
        names = entry.names() if every else list(dict.fromkeys(name or ()))
        for asked in names:
            entry.load(asked)
        folder = out or evidence.EVIDENCE
        ask: Callable[..., dict[str, Any]]
        if draws is not None:
            ask, shown = partial(rehearsal.rehearse, draws=draws), show.rehearsed
        elif only_confirm:
            ask, shown = partial(runner.confirm, folder=folder), show.confirmed
        else:
            ask, shown = partial(runner.claim, folder=folder, replicate=replicate, again=again, keep=keep), show.claims
        found, failed = [], []
        for asked in names:
            screen.begin(asked)
            try:
                found.append(ask(asked, progress=screen.progress))
            except PlaitError as error:
                # The others may have what this one lacks.
                if len(names) == 1:
                    raise
                failed.append(asked)
                screen.note(f"{asked}: {error}")
    tables = shown(found)
    screen.show(found if every or len(names) > 1 else found[0], *tables)
    if failed:
        raise typer.Exit(1)

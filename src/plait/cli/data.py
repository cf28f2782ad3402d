"""inspect, encode, fetch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import options
from .screen import Screen


def inspect(
    data: options.Data,
    target: options.Target = None,
    schema: options.SchemaFile = None,
    schema_out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the schema there, to edit and give to fit.")
    ] = None,
    kind: options.Kinds = None,
    ignore: options.Ignore = None,
    split: options.Split = None,
    group: options.Group = None,
    id: Annotated[str | None, typer.Option("--id", metavar="COLUMN", help="Names the rows.")] = None,
    strict: options.Strict = False,
    decode: Annotated[bool, typer.Option(help="Decode every cell, so that bad ones are found.")] = True,
    seed: options.Seed = 0,
    as_json: options.Json = False,
) -> None:
    """What is in a table: kinds, missing patterns, duplicates, bad cells, warnings."""
    from plait.workflow.inspect import inspect as look

    from . import show

    kinds = options.pairs(kind, "--kind")
    with Screen(as_json) as screen:
        found = look(
            data,
            target=target,
            schema=schema,
            kinds=kinds,
            ignore=ignore or (),
            split=split,
            group=group,
            id=id,
            strict=strict,
            decode=decode,
            seed=seed,
            progress=screen.progress,
        )
        if schema_out is not None:
            found.table.schema.save(schema_out)
    screen.show(found.account(), *show.inspection(found.account(), schema_out))


def encode(
    data: options.Data,
    target: options.Target = None,
    schema: options.SchemaFile = None,
    kind: options.Kinds = None,
    ignore: options.Ignore = None,
    split: options.Split = None,
    group: options.Group = None,
    recipe: options.RecipeName = None,
    settings: options.Settings = None,
    strict: options.Strict = False,
    ray: Annotated[
        str | None,
        typer.Option(
            "--ray",
            metavar="local|auto|HOST:PORT",
            help="Have a Ray cluster do it: a new one on this machine, the one it belongs to, or the one there.",
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Of the cluster; as many as fit by default.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Decode and encode every cell of a table into the cache folder, where fit finds it."""
    if workers is not None and ray is None:
        raise typer.BadParameter("workers are those of a cluster; say which with --ray", param_hint="--workers")
    kinds = options.pairs(kind, "--kind")

    from plait.core.plain import plain
    from plait.workflow.encode import encode as fill

    from . import show

    with Screen(as_json) as screen:
        filled = fill(
            data,
            target,
            recipe=recipe,
            settings=settings or (),
            schema=schema,
            kinds=kinds,
            ignore=ignore or (),
            split=split,
            group=group,
            strict=strict,
            ray=ray,
            workers=workers,
            progress=screen.progress,
        )
        account = plain(filled.account())
    screen.show(account, *show.filled(account))


def fetch(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Such as stamps; a wrong name lists them all.")],
    into: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The folder to make; in the cache folder by default.")
    ] = None,
    deb: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The Debian package file, instead of asking apt.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Get a data set through a package manager."""
    from plait.data.fetch import fetch as get
    from plait.data.fetch import source

    from . import show

    with Screen(as_json) as screen:
        folder = get(name, into, deb=deb)
        facts = {"folder": str(folder), **source(folder)}
    screen.show(facts, *show.facts(facts))

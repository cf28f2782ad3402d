"""Arguments and options that several commands have."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

Data = Annotated[
    str, typer.Argument(metavar="DATA", help="A table (CSV, Parquet, JSONL ...), a folder, or .tar shards.")
]
Run = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, everything else on stderr.")]
Seed = Annotated[int, typer.Option("--seed", metavar="N", help="Of everything random.")]

Target = Annotated[
    list[str] | None,
    typer.Option("--target", metavar="COLUMN", help="A column, or 'time,event' for survival; may be repeated."),
]
SchemaFile = Annotated[
    Path | None, typer.Option("--schema", metavar="FILE", help="A schema as `inspect --schema-out` writes it.")
]
Kinds = Annotated[
    list[str] | None, typer.Option("--kind", metavar="COLUMN=KIND", help="What a column is; may be repeated.")
]
Ignore = Annotated[list[str] | None, typer.Option("--ignore", metavar="COLUMN", help="Leave it out; may be repeated.")]
Split = Annotated[str | None, typer.Option("--split", metavar="COLUMN", help="Says train, validation or test.")]
Group = Annotated[
    str | None, typer.Option("--group", metavar="COLUMN", help="Rows with equal values stay on one side of a split.")
]
Strict = Annotated[bool, typer.Option("--strict", help="Stop at the first bad cell instead of setting it aside.")]

RecipeName = Annotated[str | None, typer.Option("--recipe", metavar="NAME|FILE", help="Instead of the default.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SLOT.KEY=VALUE", help="Change one value of the recipe; may be repeated."),
]


def pairs(said: Iterable[str] | None, option: str) -> dict[str, str]:
    """['a=b', ...] -> {'a': 'b', ...}."""
    found = {}
    for text in said or ():
        name, equals, value = text.rpartition("=") if option == "--kind" else text.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"{text!r} is not of the form NAME=VALUE", param_hint=option)
        found[name] = value
    return found

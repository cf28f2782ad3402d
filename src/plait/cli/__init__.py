"""The command line.  It reads arguments, calls `plait.workflow` and shows what comes back; heavy imports are inside.

Exit status: 0; 2 for a mistake that the user can mend, with one message on stderr; 130 when interrupted; any other
exception keeps its traceback.
"""

from __future__ import annotations

import atexit
import os
import sys
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from plait.core.errors import PlaitError
from plait.core.rank import one_of_several

from . import catalogue, data, judge, learn, parts, use


class _Group(TyperGroup):
    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except PlaitError as error:
            typer.echo(f"Error: {error}", err=True)
            raise typer.Exit(2) from None
        except KeyboardInterrupt:
            typer.echo("Interrupted.", err=True)
            raise typer.Exit(130) from None


app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        import plait

        typer.echo(f"plait {plait.__version__}")
        raise typer.Exit


@app.callback()
def plait(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version.")
    ] = False,
) -> None:
    """Multimodal learning on your own table: any modalities, missing cells, honest answers."""


for _command in (
    data.inspect,
    data.encode,
    learn.fit,
    use.evaluate,
    use.predict,
    use.embed,
    use.index,
    use.search,
    learn.tune,
    judge.compare,
    judge.explain,
    data.fetch,
    parts.components,
    catalogue.claim,
):
    app.command()(_command)
app.add_typer(catalogue.app, name="catalogue")


def main() -> None:
    """`plait` and `python -m plait`."""
    try:
        app(prog_name="plait")
    except SystemExit as end:
        if one_of_several():
            leave(end.code if isinstance(end.code, int) else int(end.code is not None))
        raise


def leave(status: int) -> NoReturn:
    """Ends this process, one of several that share batches, without finalising the interpreter.

    A thread of gloo's lets go of the last collective's Python objects after that is over.  If it asks for the
    interpreter's lock once finalising has begun, CPython ends it, and the whole process aborts with status 134:
    https://github.com/pytorch/pytorch/issues/190489
    """
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)

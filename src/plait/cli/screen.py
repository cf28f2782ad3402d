"""What a command says, and where: results on stdout, everything else on stderr."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import typer

from plait.core.rank import rank

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.progress import Progress, TaskID


SECONDS = 20.0
"""Between two lines of progress that are written where no terminal is."""


class Screen:
    """`with Screen(as_json) as screen:` shows progress on a terminal; then, outside or inside, `show` the result.

    With as_json nothing but the result reaches stdout, whoever prints.
    """

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        self._stack = contextlib.ExitStack()
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._said = time.monotonic()

    def __enter__(self) -> Self:
        self._out = sys.stdout
        if self.as_json:
            self._stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            self._bars = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
                redirect_stdout=False,
            )
            self._stack.enter_context(self._bars)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def progress(self, what: str, done: int, total: int) -> None:
        """As `workflow` tells it.  Where nobody watches, a line now and then."""
        if self._bars is None:
            self._now_and_then(f"{what}: {done} of {total}")
            return
        if what not in self._tasks:
            self._tasks[what] = self._bars.add_task(what, total=total)
        self._bars.update(self._tasks[what], completed=done, total=total)

    def watch(self, line: Mapping[str, Any]) -> None:
        """A finished epoch."""
        figures = ", ".join(f"{name} {value:.3g}" for name, value in list(line["validation"].items())[:2])
        said = f"epoch {line['epoch'] + 1}: {figures or 'on training and validation rows'}"
        if self._bars is None:
            self._now_and_then(said)
            return
        if "train" not in self._tasks:
            self._tasks["train"] = self._bars.add_task("train", total=None)
        self._bars.update(self._tasks["train"], description=said, completed=line["epoch"] + 1)

    def begin(self, what: str) -> None:
        """The next of several things that are done one after the other."""
        self.note(what)
        for task in self._tasks.values():
            if self._bars is not None:
                self._bars.remove_task(task)
        self._tasks.clear()

    def _now_and_then(self, text: str) -> None:
        if time.monotonic() - self._said >= SECONDS:
            self._said = time.monotonic()
            self.note(text)

    def note(self, text: str) -> None:
        """Something the user should know, that is no result."""
        typer.echo(text, err=True)

    def show(self, account: Mapping[str, Any] | Sequence[Any], *tables: RenderableType | None) -> None:
        """The result: the account as JSON, or the tables for people; of several processes, the first one tells it."""
        if rank():
            return
        if self.as_json:
            print(json.dumps(account, ensure_ascii=False, allow_nan=False), file=self._out, flush=True)
            return
        from rich.console import Console

        console = Console(
            file=self._out, width=None if self._out.isatty() else 120, markup=False, highlight=False, emoji=False
        )
        for i, table in enumerate(table for table in tables if table is not None):
            console.print(*([""] if i else []), table, sep="\n")

"""components."""

from __future__ import annotations

import inspect
from typing import Annotated, Any

import typer

from . import options
from .screen import Screen


def components(
    slot: Annotated[str | None, typer.Argument(metavar="SLOT", help="A slot of a recipe, such as fusion.")] = None,
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="A component of it: say its arguments.")] = None,
    as_json: options.Json = False,
) -> None:
    """What can stand in a recipe."""
    from plait.core.component import SLOTS, arguments_of, available, find
    from plait.core.errors import RecipeError, nearest

    from . import show

    with Screen(as_json) as screen:
        if slot is not None and slot not in SLOTS:
            raise RecipeError(f"There is no slot {slot!r}.{nearest(slot, SLOTS)}")
        if slot is None or name is None:
            found = {one: available(one) for one in ([slot] if slot else SLOTS)}
            account: dict[str, Any] = {"components": found}
            tables = show.slots(found)
        else:
            component = find(slot, name)
            arguments = {
                argument: {"type": kind} | ({} if default is inspect.Parameter.empty else {"default": default})
                for argument, (kind, default) in arguments_of(component).items()
            }
            module = inspect.getmodule(component)
            own = component.__doc__ and inspect.cleandoc(component.__doc__)
            doc = [text for text in (inspect.getdoc(module), own) if text]
            account = {"slot": slot, "name": name, "doc": "\n\n".join(doc), "arguments": arguments}
            tables = show.component(account)
    screen.show(account, *tables)

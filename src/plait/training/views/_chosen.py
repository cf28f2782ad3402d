"""What the views share."""

from __future__ import annotations

from collections.abc import Sequence

from plait.core.errors import RecipeError
from plait.core.packed import Tokens
from plait.core.part import Place, Spec


def chosen(spec: Spec, place: Place, names: Sequence[str] | None) -> tuple[str, ...]:
    """The modalities that a view changes; None: all.  RecipeError if one is unknown."""
    spec.check(place, *(names or ()))
    return spec.names if names is None else tuple(names)


def check_measured(part: Tokens, place: Place, name: str, what: str) -> None:
    """RecipeError if pieces are codes and not measurements.  what: cannot be done with codes."""
    if not part.values.is_floating_point():
        raise RecipeError(
            f"{place}: the pieces of {name!r} are codes, {what}. Leave it out: name the others in modalities."
        )

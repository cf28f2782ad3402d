"""What the views share."""

from __future__ import annotations

from collections.abc import Sequence

from plait.core.errors import RecipeError, nearest
from plait.core.part import Place, Spec


def chosen(spec: Spec, place: Place, names: Sequence[str] | None) -> tuple[str, ...]:
    """The modalities that a view changes; None: all.  RecipeError if one is unknown."""
    for name in names or ():
        if name not in spec.names:
            raise RecipeError(f"{place}: there is no modality {name!r}.{nearest(name, spec.names)}")
    return spec.names if names is None else tuple(names)

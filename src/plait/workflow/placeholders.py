"""Modalities that a recipe does not call by name, so that it runs on tables of any names.

    $1, $2, ...          the first, second, ... modality of the table, in its order
    $image, $text, ...   the first modality of that kind, or of all if none is; as an item of a list all of that kind

What asks for a modality that the table lacks is left out if it is an item of a list, or an entry of a mapping by its
key.  A list of which nothing is left, and a pair in a list of pairs, goes with what it belongs to.  Elsewhere a recipe
cannot do without the modality.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Mapping
from typing import Any

from plait.core.errors import RecipeError
from plait.core.named import attribute
from plait.data.schema import KINDS, Schema

_PLACE = re.compile(rf"\$([1-9]\d*|{'|'.join(KINDS)})\b")
_IN_PATH = re.compile(rf"(?<=\.){_PLACE.pattern}")
"""In a glob of parameters, where a column may have another name."""

_OTHERWISE = "Take another recipe, or say with --kind what else a column is."


class _LackingError(RecipeError):
    """The table has fewer modalities than are asked for."""


def fill(recipe: Any, schema: Schema) -> Any:
    """Plain data with the table's names in it.  RecipeError if it cannot do with the modalities that there are."""
    return _filled(recipe, schema, listed=False)


def _filled(value: Any, schema: Schema, listed: bool) -> Any:
    """listed: whether it is an item of a list."""
    if isinstance(value, str):
        value = _IN_PATH.sub(lambda found: glob.escape(attribute(_name(found[1], schema))), value)
        return _PLACE.sub(lambda found: _name(found[1], schema), value)
    if isinstance(value, list):
        return _items(value, schema, listed)
    if not isinstance(value, Mapping):
        return value
    out = {}
    for key, inner in value.items():
        try:
            name = _filled(key, schema, listed=False)
        except _LackingError:
            continue
        out[name] = _filled(inner, schema, listed=False)
    return out


def _items(items: list[Any], schema: Schema, listed: bool) -> list[Any]:
    out: list[Any] = []
    lacking = None
    for item in items:
        kind = _PLACE.fullmatch(item) if isinstance(item, str) and not listed else None
        try:
            if kind and not kind[1].isdigit():
                out += _of_kind(kind[1], schema)
            else:
                out.append(_filled(item, schema, listed=True))
        except _LackingError as error:
            if listed:
                raise
            lacking = lacking or error
    if items and not out:
        raise lacking or _LackingError(f"The recipe needs a modality for {items}, and the table has none. {_OTHERWISE}")
    return out


def _of_kind(kind: str, schema: Schema) -> list[str]:
    return [name for name, modality in schema.modalities.items() if modality.kind == kind]


def _name(place: str, schema: Schema) -> str:
    """place: a number or a kind."""
    names = list(schema.modalities)
    number = int(place) if place.isdigit() else 1
    if number > len(names):
        raise _LackingError(
            f"The recipe needs {number} modalities, and the table has {len(names)}: {', '.join(names)}. {_OTHERWISE}"
        )
    return next(iter(_of_kind(place, schema)), names[number - 1])

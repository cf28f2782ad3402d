"""From a recipe to a network that is not built yet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .component import configure
from .errors import RecipeError, nearest
from .network import Network, Singles
from .part import Encoder, Head, Part, Spec, Target
from .recipe import Recipe


def encoder_for(recipe: Recipe, name: str, kind: str) -> Encoder:
    """The encoder of a modality: the recipe's for its name, else for its kind.

    RecipeError if there is neither, or if it does not take cells of that kind.
    """
    for key in (name, kind):
        if key in recipe.encoders:
            ((component, arguments),) = recipe.encoders[key].items()
            encoder: Encoder = configure("encoders", component, arguments, f"encoders.{key}.{component}")
            if encoder.kinds and kind not in encoder.kinds:
                raise RecipeError(
                    f"encoders.{key}.{component}: it takes {' or '.join(encoder.kinds)}, but {name!r} is {kind}. "
                    "Choose another encoder, or set the kind in the schema."
                )
            encoder.kind = kind
            return encoder
    raise RecipeError(
        f"encoders: there is none for the modality {name!r} of kind {kind!r}.{nearest(name, recipe.encoders)} "
        f"Add encoders: {{{name}: ...}}, or leave the column out with --ignore {name}."
    )


def head_for(recipe: Recipe, name: str, target: Target) -> Head:
    """The head of a target: the recipe's for its name, else for its kind, else the one called like the kind."""
    key = name if name in recipe.heads else target.kind
    ((component, arguments),) = recipe.heads.get(key, {target.kind: {}}).items()
    head: Head = configure("heads", component, arguments, f"heads.{key}.{component}")
    if head.kinds and target.kind not in head.kinds:
        raise RecipeError(
            f"heads.{key}.{component}: it predicts {' or '.join(head.kinds)}, but {name!r} is {target.kind}."
        )
    return head


def chain(slot: str, named: Mapping[str, Mapping[str, Any]], reserved: Iterable[str] = ()) -> dict[str, Any]:
    """Every component of a slot, by its name in the recipe; `use` names the component where the two differ."""
    out = {}
    for name, arguments in named.items():
        own = {key: value for key, value in arguments.items() if key not in (*reserved, "use")}
        out[name] = configure(slot, arguments.get("use", name), own, f"{slot}.{name}")
    return out


def single(slot: str, named: Mapping[str, Mapping[str, Any]]) -> Any:
    """The one component of a slot."""
    ((name, arguments),) = named.items()
    return configure(slot, name, arguments)


def singles_mode(parts: Iterable[Part]) -> Singles | None:
    """What the parts need of single-modality heads, the most demanding need first."""
    needs = {part.needs.singles for part in parts}
    return "trained" if "trained" in needs else "probe" if "probe" in needs else None


def assemble(
    recipe: Recipe, spec: Spec, encoders: Mapping[str, Encoder], seed: int, watchers: Iterable[Part] = ()
) -> Network:
    """The network of a recipe, built for `spec`.

    encoders: as `encoder_for` gives them, since cells are stored by their wishes before the spec is known.
    watchers: objectives and balance components, whose needs decide whether there are single-modality heads.
    """
    kinds = {modality.kind for modality in spec.modalities.values()} | {t.kind for t in spec.targets.values()}
    for name in recipe.heads:
        if name not in spec.targets and name not in spec.modalities and name not in kinds:
            known = {*spec.targets, *spec.modalities, *kinds}
            raise RecipeError(f"heads: {name!r} is neither a target nor a modality.{nearest(name, known)}")
    heads = {name: head_for(recipe, name, target) for name, target in spec.targets.items()}
    for name, modality in spec.modalities.items():
        decoder = recipe.heads.get(name, recipe.heads.get(modality.kind))
        if name not in heads and decoder is not None:
            heads[name] = single("heads", decoder)
    fusion = single("fusion", recipe.fusion)
    missing = chain("missing", recipe.missing)
    adapters = chain("adapters", recipe.adapters)
    parts = [fusion, *missing.values(), *adapters.values(), *heads.values(), *watchers]
    if any(part.needs.decoders for part in parts) and not any(name in spec.modalities for name in heads):
        raise RecipeError(
            "heads: a part of the recipe learns from decoded pieces, and no modality has a decoder. "
            f"Add heads: {{{spec.names[0]}: {{piece_decoder: {{}}}}}}."
        )
    fusion.context = any(part.needs.context for part in parts)
    network = Network(
        encoders,
        fusion,
        heads,
        projection=None if recipe.projection is None else single("projection", recipe.projection),
        missing=missing,
        adapters=adapters,
        singles=singles_mode(parts),
        seed=seed,
    )
    return network.build(spec)

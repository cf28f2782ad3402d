"""Recipes: which component stands in which slot, as validated YAML."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from .component import Count, NonNegative, Positive, Rate, complaint, find
from .errors import RecipeError, nearest
from .mapping import read_mapping

Arguments = dict[str, Any]
Named = dict[str, Arguments]


def _chosen(name: str) -> Named:
    return {name: {}}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


def _component(value: Any) -> Any:
    """`name` and `{name: }` mean `{name: {}}`."""
    if isinstance(value, str):
        return {value: {}}
    if isinstance(value, Mapping):
        return {key: {} if arguments is None else arguments for key, arguments in value.items()}
    return value


class _AdamW(_Strict):
    lr: Positive = 1e-3
    weight_decay: NonNegative = 0.0
    betas: tuple[Rate, Rate] = (0.9, 0.999)
    eps: Positive = 1e-8


class _SGD(_Strict):
    lr: Positive = 1e-3
    weight_decay: NonNegative = 0.0
    momentum: Rate = 0.0
    nesterov: bool = False


_OPTIMIZERS: Mapping[str, type[_Strict]] = {"adamw": _AdamW, "sgd": _SGD}


class Training(_Strict):
    """How the loop runs.

    batch: samples in a batch.  epochs: at most.  early_stopping: epochs without a better validation score; null: never.
    optimizer: adamw or sgd with their arguments.  warmup: share of the steps.  clip: largest norm of the gradient.
    ema: momentum of the averaged weights that are evaluated and saved; null: the weights themselves.
    precision: no, bf16 or fp16; auto takes what the device has.
    monitor: what validation picks the best epoch by; auto: the first target's own measure, or the loss; last: the last
    epoch is taken, and nothing is picked.
    refit: train once more on training and validation rows together, keeping to what validation chose; auto: where they
    are at most 5,000.  Validation figures are then those of the first training.
    checkpoint: optimiser steps between checkpoints inside an epoch; null: only at its end.
    """

    epochs: int = Field(default=60, ge=0)
    batch: Count = 128
    optimizer: Named = Field(default_factory=lambda: {"adamw": {"lr": 1e-3, "weight_decay": 0.05}})
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup: Rate = 0.05
    clip: Positive | None = 1.0
    early_stopping: Count | None = 10
    ema: Rate | None = None
    precision: Literal["auto", "no", "bf16", "fp16"] = "auto"
    monitor: str = "auto"
    refit: bool | Literal["auto"] = False
    checkpoint: Count | None = None

    @field_validator("optimizer", mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return _component(value)

    @field_validator("optimizer")
    @classmethod
    def _known(cls, value: Named) -> Named:
        if len(value) != 1:
            raise ValueError(f"one optimizer is needed, found {', '.join(value) or 'none'}")
        ((name, arguments),) = value.items()
        if name not in _OPTIMIZERS:
            raise ValueError(f"there is no optimizer {name!r}.{nearest(name, _OPTIMIZERS)}")
        known = _OPTIMIZERS[name].model_fields
        for argument in arguments:
            if argument not in known:
                raise ValueError(f"{name} takes no argument {argument!r}.{nearest(argument, known)}")
        try:
            checked = _OPTIMIZERS[name].model_validate(arguments)
        except ValidationError as error:
            raise ValueError(complaint(error, name)) from error
        return {name: checked.model_dump(exclude_unset=True)}


class Stage(_Strict):
    """A part of the training that differs from the rest; what it does not name stays as the recipe says.

    data: edits of the training table, in order.  train: globs of the parameters that learn; the rest is frozen and
    in eval mode.  start: "previous" stage's weights (default), "fresh" ones, or a run folder's.
    """

    name: str | None = None
    data: list[Named] = Field(default_factory=list)
    train: list[str] | None = None
    start: str = "previous"
    views: dict[str, list[Named]] | None = None
    sampler: Named | None = None
    teachers: Named | None = None
    objectives: Named | None = None
    balance: Named | None = None
    weights: dict[str, NonNegative] | None = None
    training: dict[str, Any] = Field(default_factory=dict)

    @field_validator("sampler", "teachers", "objectives", "balance", mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return _component(value)


class Recipe(_Strict):
    """A whole recipe.  See `plait components` for what can stand in each slot.

    width: D of all tokens.  encoders: by modality, or by kind for all modalities of that kind.
    heads: by target (or for decoders, by modality), or by kind for all of that kind.
    weights: factors of terms by glob, such as {"singles/*": 0.3}.
    In `adapters`, `missing`, `objectives`, `balance` and `teachers`, `use` lets a component stand under another name,
    and in `objectives` `weight` is the factor of all its terms.
    """

    width: Count = 128
    encoders: dict[str, Named] = Field(default_factory=dict)
    adapters: Named = Field(default_factory=dict)
    missing: Named = Field(default_factory=dict)
    projection: Named | None = Field(default_factory=lambda: _chosen("linear"))
    embedding: Count = 128
    fusion: Named = Field(default_factory=lambda: _chosen("self_attention"))
    heads: dict[str, Named] = Field(default_factory=dict)
    objectives: Named = Field(default_factory=lambda: _chosen("supervised"))
    balance: Named = Field(default_factory=dict)
    views: dict[str, list[Named]] = Field(default_factory=dict)
    sampler: Named = Field(default_factory=lambda: _chosen("shuffled"))
    teachers: Named = Field(default_factory=dict)
    weights: dict[str, NonNegative] = Field(default_factory=dict)
    training: Training = Field(default_factory=lambda: Training())
    stages: list[Stage] = Field(default_factory=list)

    @field_validator(
        "adapters", "missing", "projection", "fusion", "objectives", "balance", "sampler", "teachers", mode="before"
    )
    @classmethod
    def _short(cls, value: Any) -> Any:
        return _component(value)

    @field_validator("encoders", "heads", mode="before")
    @classmethod
    def _short_each(cls, value: Any) -> Any:
        return {key: _component(v) for key, v in value.items()} if isinstance(value, Mapping) else value

    @field_validator("projection", "fusion", "sampler")
    @classmethod
    def _one(cls, value: Named | None) -> Named | None:
        if value is not None and len(value) != 1:
            raise ValueError(f"one component is needed, found {', '.join(value) or 'none'}")
        return value

    @field_validator("encoders", "heads")
    @classmethod
    def _one_each(cls, value: dict[str, Named]) -> dict[str, Named]:
        for key, named in value.items():
            if len(named) != 1:
                raise ValueError(f"{key}: one component is needed, found {', '.join(named) or 'none'}")
        return value

    @classmethod
    def parse(cls, data: Mapping[str, Any], source: str = "recipe") -> Recipe:
        """Check a recipe, and that its components exist.  RecipeError names the place and the nearest right name."""
        try:
            recipe = cls.model_validate(dict(data))
        except ValidationError as error:
            raise RecipeError(f"{source}: {complaint(error, '', cls)}") from error
        for slot, place, name, arguments in recipe.components():
            find(slot, arguments.get("use", name) if slot in _NAMED else name, f"{source}: {place}")
        return recipe

    @classmethod
    def load(cls, path: str | Path) -> Recipe:
        """Read a recipe file.  RecipeError if it is not YAML, or not a recipe."""
        return cls.parse(read_mapping(path, "recipe", RecipeError), str(path))

    def dump(self) -> dict[str, Any]:
        """Plain data; `parse` of it gives an equal recipe."""
        return self.model_dump(mode="json", exclude_defaults=False)

    def components(self) -> Iterable[tuple[str, str, str, Arguments]]:
        """(slot, place, name, arguments) of every component named here, stages left out."""
        for slot in ("encoders", "heads"):
            for key, named in getattr(self, slot).items():
                for name, arguments in named.items():
                    yield slot, f"{slot}.{key}.{name}", name, arguments
        for slot in ("adapters", "missing", "projection", "fusion", "objectives", "balance", "sampler", "teachers"):
            for name, arguments in (getattr(self, slot) or {}).items():
                yield slot, f"{slot}.{name}", name, arguments
        for key, chain in self.views.items():
            for named in chain:
                for name, arguments in named.items():
                    yield "views", f"views.{key}.{name}", name, arguments


_NAMED = ("adapters", "missing", "objectives", "balance", "teachers")


_BY_KEY = ("encoders", "heads", "training")
_ONE = ("fusion", "projection", "sampler")


def overlay(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the slots that `over` names replaced as a whole; encoders, heads and training settings one by one."""
    out = copy.deepcopy(dict(base))
    for slot, value in over.items():
        if slot in _BY_KEY and isinstance(value, Mapping):
            out[slot] = {**out.get(slot, {}), **copy.deepcopy(dict(value))}
        else:
            out[slot] = copy.deepcopy(value)
    return out


def _change(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with single values changed.

    Where one component stands (fusion, sampler, projection, one encoder), another name replaces it; null takes a
    component out.
    """
    out = copy.deepcopy(dict(base))
    for slot, value in over.items():
        if slot in _ONE:
            out[slot] = _replace_or_merge(out.get(slot), _component(value))
        elif slot in ("encoders", "heads") and isinstance(value, Mapping):
            named = out.setdefault(slot, {})
            for key, inner in value.items():
                named[key] = _replace_or_merge(named.get(key), _component(inner))
        elif slot == "training" and isinstance(value, Mapping) and "optimizer" in value:
            own = out.get(slot) or {}
            out[slot] = _merge(own, value) | {"optimizer": _replace_or_merge(own.get("optimizer"), value["optimizer"])}
        else:
            out[slot] = _merge(out.get(slot), value)
    return out


def _replace_or_merge(old: Any, new: Any) -> Any:
    old = _component(old)
    if isinstance(old, Mapping) and isinstance(new, Mapping) and set(old) == set(new):
        return _merge(old, new)
    return copy.deepcopy(new)


def _merge(old: Any, new: Any) -> Any:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        out = dict(old)
        for key, value in new.items():
            if value is None and isinstance(old.get(key), Mapping):
                out.pop(key)
            else:
                out[key] = _merge(old.get(key), value)
        return out
    return copy.deepcopy(new)


def set_value(data: dict[str, Any], setting: str) -> dict[str, Any]:
    """`data` with one `slot.key=value` applied; the value is read as YAML.

    `fusion=mean` chooses a component, `training.epochs=2` and `fusion.self_attention.layers=4` set a value.
    RecipeError if the setting has no `=`.
    """
    path, equals, text = setting.partition("=")
    if not equals or not path:
        raise RecipeError(f"--set {setting}: expected slot.key=value, such as training.epochs=2.")
    try:
        # YAML 1.1 reads 1e-3 as text; every user means the number.
        value: Any = float(text) if re.fullmatch(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+", text) else yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"--set {setting}: the value is not valid YAML: {error}") from error
    for key in reversed(path.split(".")):
        value = {key: value}
    return _change(data, value)

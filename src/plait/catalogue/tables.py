"""The tables that claims are checked on."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from plait.core.errors import DataError, nearest
from plait.data.fetch import fetch, names
from plait.data.read import read
from plait.data.schema import Schema
from plait.data.table import Table

from .entry import Data

SCARCITY = ("train", "labels")
"""Knobs of a collected set that are about each training and not the table: rows that it gets, and labels among them."""


def named(data: Data) -> tuple[str, dict[str, Any]]:
    """-> the set's name, and its knobs."""
    return (data, {}) if isinstance(data, str) else next(iter(data.items()))


def table(data: Data, **knobs: Any) -> Table:
    """A data set by its name, or {name: knobs}; `knobs` go before what it says, such as rows and seed.

    A collected set has the knob `modalities`, those to keep, and `SCARCITY`.  DataError if there is no such thing.
    """
    name, said = named(data)
    asked = {**said, **knobs}
    make = maker(name)
    if make is not None:
        made: Table = make(**asked)
        return made
    for knob in asked:
        if knob not in (known := ("modalities", *SCARCITY)):
            raise DataError(f"The data set {name} has no knob {knob!r}.{nearest(knob, known)}")
    folder = fetch(name)
    schema = Schema.load(folder / "schema.yaml")
    kept = asked.get("modalities", schema.modalities)
    for modality in kept:
        if modality not in schema.modalities:
            raise DataError(f"{name} has no modality {modality!r}.{nearest(modality, schema.modalities)}")
    left = {modality: columns for modality, columns in schema.modalities.items() if modality in kept}
    return read(folder, schema.model_copy(update={"modalities": left}))


def maker(name: str) -> Callable[..., Table] | None:
    """The function of a set's own name that makes tables of it, if it is a made one."""
    if name not in names():
        return None
    made: Callable[..., Table] | None = getattr(importlib.import_module(f"plait.data.sets.{name}"), name, None)
    return made

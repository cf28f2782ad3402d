"""Spaces of two modalities that experiments train, by contrast alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from plait.data.table import Table

from ._readers import Array
from ._trained import trained

TRAINING = {
    "epochs": 20,
    "optimizer": {"adamw": {"lr": 0.01, "weight_decay": 0.0}},
    "monitor": "last",
    "refit": False,
}


def spaces(table: Table, objectives: Mapping[str, Any], seed: int) -> dict[str, dict[str, tuple[Array, Array]]]:
    """{split: {modality: (rows of the table that have it [P], their unit embeddings [P, E])}}."""
    recipe = {"width": 32, "embedding": 32, "missing": {}, "fusion": "mean", "objectives": objectives}
    fitted = trained(table, {**recipe, "training": TRAINING}, seed)
    found: dict[str, dict[str, tuple[Array, Array]]] = {}
    for part, rows in fitted.splits.items():
        embedded = fitted.model.embeddings(fitted.encoded.dataset.take(rows))
        found[part] = {name: (rows[own], vectors) for name, (own, vectors) in embedded.items()}
    return found

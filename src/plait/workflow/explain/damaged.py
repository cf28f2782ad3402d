"""Test rows whose raw cells were damaged: decoded, damaged, encoded as the model wants them, and kept nowhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from plait.core.errors import CellError
from plait.core.part import Encoder
from plait.data import kinds
from plait.data.dataset import Dataset
from plait.data.store import Store, details
from plait.data.table import Table
from plait.robustness.corruptions import audio, image, series, text, vector

from .subject import Subject

Array = np.ndarray[Any, np.dtype[Any]]
Damage = Callable[[Any, int, int], Any]
"""A decoded cell, the strength 1 .. 5, the seed -> the same cell damaged; None where nothing is left of it."""

STRENGTHS = (1, 2, 3, 4, 5)
BATCH = 64
"""Cells that are decoded and encoded together."""
SPREAD = 2_000
"""Rows from which the spread of columns is taken, at most."""


def damages(subject: Subject, modality: str) -> dict[str, Damage]:
    """The corruptions that there are for a modality's kind; none for some kinds."""
    spec = subject.table.schema.modalities[modality]
    if spec.kind in ("tabular", "vector"):
        return _of_columns(subject, modality)
    known: Mapping[str, dict[str, Damage]] = {
        "image": {"noise": image.noise, "blur": image.blur, "occlusion": image.occlusion},
        "audio": {"noise": audio.noise, "clipping": audio.clipping},
        "text": {"typos": _of_text(text.typos), "word drop": _of_text(text.word_drop)},
        "series": {"jitter": series.jitter, "dropout": series.dropout},
    }
    return known.get(spec.kind, {})


def damaged(subject: Subject, modality: str) -> dict[str, dict[int, Store]]:
    """{corruption: {strength: the modality's cells, of the labelled test rows that have it, as the table counts rows}}.

    A cell's damage belongs to its content and the subject's seed.
    """
    place = subject.names.index(modality)
    rows = np.sort(subject.test[subject.labelled[subject.have[subject.labelled, place]]])
    chosen = damages(subject, modality)
    encoder = subject.model.network.encoders[modality]
    assert isinstance(encoder, Encoder)
    made: dict[tuple[str, int], list[tuple[int, Array]]] = {(c, s): [] for c in chosen for s in STRENGTHS}
    for start in range(0, len(rows), BATCH):
        part = list(decoded(subject.table, modality, encoder, rows[start : start + BATCH]))
        for (corruption, strength), cells in made.items():
            changed = [(row, chosen[corruption](cell, strength, subject.seed)) for row, cell in part]
            left = [(row, cell) for row, cell in changed if cell is not None]
            with torch.no_grad():
                features = encoder.precompute([cell for _, cell in left]) if left else []
            cells += [(row, feature) for (row, _), feature in zip(left, features, strict=True)]
        subject.progress(f"damaged cells of {modality}", min(start + BATCH, len(rows)), len(rows))
    like = subject.encoded.dataset.stores[modality]
    found: dict[str, dict[int, Store]] = {corruption: {} for corruption in chosen}
    for (corruption, strength), cells in made.items():
        found[corruption][strength] = _stored(like, cells)
    return found


def replaced(dataset: Dataset, stores: Mapping[str, Store]) -> Dataset:
    """The data set with other cells of some modalities."""
    changed = dataset.take(range(len(dataset)))
    changed.stores = {**changed.stores, **stores}
    return changed


def decoded(table: Table, modality: str, encoder: Encoder, rows: Sequence[int] | Array) -> Iterator[tuple[int, Any]]:
    """(row, its cell as the encoder wants it) of those rows that have a usable one."""
    spec = table.schema.modalities[modality]
    decode, options = kinds.decoder(spec.kind).decode, details(spec) | encoder.wants()
    for row, raw in zip(rows, table.cells(modality, rows), strict=True):
        if raw is not None and not isinstance(raw, CellError) and (cell := decode(raw, **options)) is not None:
            yield int(row), cell


def _of_text(damage: Callable[[str, int, int], str]) -> Damage:
    decode = kinds.decoder("text").decode

    def changed(cell: Array, strength: int, seed: int) -> Array | None:
        return decode(damage(cell.tobytes().decode(), strength, seed))

    return changed


def _of_columns(subject: Subject, modality: str) -> dict[str, Damage]:
    """Noise in shares of each column's spread, and columns left out: missing in a table, at their mean in a vector.

    Both from rows that were learned from, where they are at hand.  Codes of categories get no noise.
    """
    spec, encoder = subject.table.schema.modalities[modality], subject.model.network.encoders[modality]
    assert isinstance(encoder, Encoder)
    there = subject.encoded.dataset.stores[modality].present.numpy()
    learned = subject.learned[there[subject.learned]]
    rows = learned if len(learned) else subject.test[there[subject.test]]
    rows = rows[np.linspace(0, len(rows) - 1, min(SPREAD, len(rows))).astype(np.int64)]
    cells = np.stack([cell for _, cell in decoded(subject.table, modality, encoder, rows)]).astype(np.float64)
    known = ~np.isnan(cells)
    count = np.maximum(known.sum(0), 1)
    mean = np.where(known, cells, 0).sum(0) / count
    spread = np.sqrt((np.where(known, cells - mean, 0) ** 2).sum(0) / count)
    if spec.kind == "tabular":
        spread[[column in spec.categories for column in spec.columns]] = 0
    fill: Array | float = mean if spec.kind == "vector" else np.nan
    return {
        "noise": lambda cell, strength, seed: vector.noise(cell, strength, seed, scale=spread),
        "column drop": lambda cell, strength, seed: vector.column_drop(cell, strength, seed, fill=fill),
    }


def _stored(like: Store, cells: Sequence[tuple[int, Array]]) -> Store:
    rows = np.array([row for row, _ in cells], np.int64)
    features = [feature for _, feature in cells]
    if not features:
        starts = np.zeros(1, np.int64) if like.ragged else None
        return Store(like.size, rows, np.zeros((0, *like.shape), like.dtype), starts=starts)
    if not like.ragged:
        return Store(like.size, rows, np.stack(features))
    lengths = [len(feature) for feature in features]
    return Store(like.size, rows, np.concatenate(features), starts=np.cumsum([0, *lengths]))

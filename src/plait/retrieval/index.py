"""Search over rows whose cells lie in one space: any modality finds any other.

A row is as good as its best matching cell, so an absent cell neither helps nor hurts, and the best rows of a search
are among the best cells of each modality.  Cosines of different modalities do not compare: each occupies a cone of
its own (Liang et al., "Mind the gap", arXiv:2203.02053), and a caption is always nearer to a caption than to an image.
So a match counts in standard deviations above the query's mean over that modality, (q.x - q.mean) / sqrt(q' Cov q);
within one modality the order is that of the cosine.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from plait.core.errors import PlaitError, RunError, nearest
from plait.core.extras import need
from plait.data.cache import writing

Array = NDArray[Any]

EXACT_UP_TO = 100_000
"""Cells of one modality up to which the search is exact; above, a HNSW graph (arXiv:1603.09320) finds nearly all."""

_LINKS, _BUILD, _VISIT = 32, 200, 128


@dataclass(frozen=True)
class Hit:
    """A found row.  score: of the matching modality, in standard deviations.  modalities: {its cells: cosine}."""

    row: int
    id: str | int
    score: float
    matched: str
    modalities: dict[str, float]


@dataclass(frozen=True, eq=False)
class _Part:
    """One modality's cells.  rows: [P] ascending.  mean: [E].  covariance: [E, E]."""

    rows: Array
    mean: Array
    covariance: Array
    faiss: Any

    def nearest(self, query: Array, count: int) -> Array:
        """Places of the nearest cells, best first."""
        if hasattr(self.faiss, "hnsw"):
            self.faiss.hnsw.efSearch = max(_VISIT, 2 * count)
        places = self.faiss.search(query[None], min(count, len(self.rows)))[1][0]
        return places[places >= 0]

    def standard(self, query: Array, cosine: float) -> float:
        variance = max(0.0, float(query @ self.covariance @ query))
        return float(cosine - query @ self.mean) / float(np.sqrt(variance + 1e-8))


class Index:
    """Cells by modality, and the ids of all rows of their table; see `build` and `load`."""

    def __init__(self, parts: Mapping[str, _Part], ids: Sequence[str | int]) -> None:
        self._parts, self.ids = dict(parts), list(ids)

    @property
    def modalities(self) -> tuple[str, ...]:
        return tuple(self._parts)

    def __len__(self) -> int:
        """Rows of the table, also those with no cell."""
        return len(self.ids)

    @classmethod
    def build(
        cls,
        embeddings: Mapping[str, tuple[Array, Array]],
        ids: Sequence[str | int],
        exact_up_to: int = EXACT_UP_TO,
    ) -> Index:
        """embeddings: {modality: (rows [P] ascending, vectors [P, E] of any length)}.  ids: of all rows.

        ValueError if rows or shapes do not fit.  MissingExtra without faiss.
        """
        faiss = need("faiss", "search")
        parts = {}
        for name, (rows, vectors) in embeddings.items():
            rows, vectors = np.asarray(rows, np.int64), np.asarray(vectors, np.float32)
            if vectors.ndim != 2 or len(rows) != len(vectors):
                raise ValueError(f"{name}: expected rows [P] and vectors [P, E], found {rows.shape}, {vectors.shape}")
            if len(rows) and (rows[0] < 0 or rows[-1] >= len(ids) or (np.diff(rows) <= 0).any()):
                raise ValueError(f"{name}: rows must ascend within 0 .. {len(ids) - 1}")
            if not np.isfinite(vectors).all():
                raise ValueError(f"{name}: vectors must be finite")
            if not len(rows):
                continue
            unit = _unit(vectors)
            width = unit.shape[1]
            if len(unit) <= exact_up_to:
                graph = faiss.IndexFlatIP(width)
            else:
                graph = faiss.IndexHNSWFlat(width, _LINKS, faiss.METRIC_INNER_PRODUCT)
                graph.hnsw.efConstruction = _BUILD
            graph.add(unit)
            mean = unit.mean(0, dtype=np.float64)
            covariance = (unit.T @ unit).astype(np.float64) / len(unit) - np.outer(mean, mean)
            parts[name] = _Part(rows, mean, covariance, graph)
        if len({part.mean.shape for part in parts.values()}) > 1:
            raise ValueError("all modalities must be embedded in one space, found different widths")
        return cls(parts, ids)

    def search(
        self,
        query: Mapping[str, Array],
        k: int = 10,
        among: Iterable[str] | None = None,
        weights: Mapping[str, float] | None = None,
    ) -> list[Hit]:
        """The k best rows, best first; equal ones by row.

        query: {modality: vector [E]}; several ask for their mean direction, weighed by `weights` (1 where not named).
        among: modalities to search in; None: all.  PlaitError if one is not in the index, or the query has no
        direction.
        """
        vector = compose(query, weights)
        chosen = self._chosen(among)
        score: dict[int, tuple[float, str]] = {}
        for name, part in chosen.items():
            if len(vector) != len(part.mean):
                raise PlaitError(f"The query has {len(vector)} dimensions, the index {len(part.mean)}.")
            for place in part.nearest(vector, k):
                value = part.standard(vector, self._cosine(part, int(place), vector))
                row = int(part.rows[place])
                if row not in score or value > score[row][0]:
                    score[row] = (value, name)
        best = sorted(score.items(), key=lambda item: (-item[1][0], item[0]))[:k]
        return [Hit(row, self.ids[row], value, name, self._cosines(row, vector, chosen)) for row, (value, name) in best]

    def _chosen(self, among: Iterable[str] | None) -> dict[str, _Part]:
        if among is None:
            return self._parts
        for name in (names := list(among)):
            if name not in self._parts:
                raise PlaitError(f"No row of the index has the modality {name!r}.{nearest(name, self._parts)}")
        return {name: self._parts[name] for name in names}

    def _cosines(self, row: int, vector: Array, parts: Mapping[str, _Part]) -> dict[str, float]:
        found = {}
        for name, part in parts.items():
            place = int(np.searchsorted(part.rows, row))
            if place < len(part.rows) and part.rows[place] == row:
                found[name] = self._cosine(part, place, vector)
        return found

    @staticmethod
    def _cosine(part: _Part, place: int, vector: Array) -> float:
        return float(part.faiss.reconstruct(place) @ vector)

    def save(self, path: str | Path) -> None:
        """One safetensors file, written whole or not at all.  DataError if the disk is full."""
        faiss = need("faiss", "search")
        tensors: dict[str, Array] = {}
        for i, part in enumerate(self._parts.values()):
            tensors[f"{i}.rows"], tensors[f"{i}.mean"], tensors[f"{i}.covariance"] = (
                part.rows,
                part.mean,
                part.covariance,
            )
            tensors[f"{i}.faiss"] = faiss.serialize_index(part.faiss)
        head = {"modalities": list(self._parts), "ids": self.ids}
        tensors["head"] = np.frombuffer(json.dumps(head).encode(), np.uint8)
        with writing(Path(path)) as part_file:
            part_file.write_bytes(save(tensors))

    @classmethod
    def load(cls, path: str | Path) -> Index:
        """What `save` wrote.  RunError if there is none, or the file is damaged."""
        faiss = need("faiss", "search")
        try:
            tensors = load_file(path)
            head = json.loads(tensors["head"].tobytes())
        except FileNotFoundError as error:
            raise RunError(f"There is no index {path}.") from error
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise RunError(f"{path} is not an index, or is damaged ({error}).  Embed the table again.") from error
        parts = {
            name: _Part(
                tensors[f"{i}.rows"],
                tensors[f"{i}.mean"],
                tensors[f"{i}.covariance"],
                faiss.deserialize_index(tensors[f"{i}.faiss"]),
            )
            for i, name in enumerate(head["modalities"])
        }
        return cls(parts, head["ids"])


def compose(query: Mapping[str, Array], weights: Mapping[str, float] | None = None) -> Array:
    """{modality: vector [E]} -> the unit vector [E] of their weighted mean direction; float32.

    PlaitError if there is nothing to ask for, or the parts cancel out.
    """
    if not query:
        raise PlaitError("The query is empty: give a text, an image or another cell to search with.")
    weights = weights or {}
    for name in weights:
        if name not in query:
            raise PlaitError(f"A weight is given for {name!r}, which is not in the query.{nearest(name, query)}")
    total = sum(weights.get(name, 1.0) * _unit(np.asarray(v, np.float64)[None])[0] for name, v in query.items())
    if not np.linalg.norm(total) > 1e-6:
        raise PlaitError("The query has no direction: its vectors are zero, not finite, or cancel each other.")
    return _unit(np.asarray(total)[None])[0].astype(np.float32)


def _unit(vectors: Array) -> Array:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)

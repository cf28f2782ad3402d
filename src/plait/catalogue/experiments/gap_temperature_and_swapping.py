"""The modality gap of a contrastive space: with a learned temperature, a rising one, and entries that are exchanged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from plait.measures.retrieval import rank
from plait.measures.space.modality_gap import centroid_distance, modality_gap
from plait.objectives.info_nce import info_nce
from plait.objectives.swapped_info_nce import exchanged

from . import Draw
from ._contrastive import spaces
from ._readers import Array

LEARNED: Mapping[str, Any] = {"info_nce": {}}
RISING: Mapping[str, Any] = {"info_nce": {"temperature": [0.07, 0.35]}}
"""From where the learned one begins, to five times that."""
SWAPPED: Mapping[str, Any] = {"swapped_info_nce": {"share": 0.5}}
K = 5


def gap_of_rising(draw: Draw, seed: int) -> tuple[float, float]:
    """Distance of the modalities' means: the temperature rises, or is learned."""
    return _gap(draw, RISING, seed), _gap(draw, LEARNED, seed)


def recall_of_rising(draw: Draw, seed: int) -> tuple[float, float]:
    """Recall at 5, mean of both directions."""
    return _recall(draw, RISING, seed), _recall(draw, LEARNED, seed)


def gap_of_swapped(draw: Draw, seed: int) -> tuple[float, float]:
    """Distance of the modalities' means: with a learned temperature, entries are exchanged in training, or not."""
    return _gap(draw, SWAPPED, seed), _gap(draw, LEARNED, seed)


def recall_of_swapped(draw: Draw, seed: int) -> tuple[float, float]:
    """Recall at 5, mean of both directions."""
    return _recall(draw, SWAPPED, seed), _recall(draw, LEARNED, seed)


def identities() -> float:
    """Gap of equal clouds, its change when both are turned, and that of the loss when all changes places."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 60, 5)) + np.arange(2)[:, None, None]
    turn = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    found = [modality_gap(*pair, draws=2).distance for pair in ((a, a), (a, b), (a @ turn, b @ turn))]
    x, y = (F.normalize(torch.from_numpy(v), dim=1) for v in (a, b))
    scale = torch.tensor(5.0)
    swapped = info_nce(*exchanged(x, y, torch.zeros_like(x)), scale)
    moved = float((swapped - info_nce(x, y, scale)).abs().sum())
    return found[0] + centroid_distance(a, a) + abs(found[1] - found[2]) + moved


def _gap(draw: Draw, objectives: Mapping[str, Any], seed: int) -> float:
    return modality_gap(*_judged(draw, objectives, seed), draws=2).distance


def _recall(draw: Draw, objectives: Mapping[str, Any], seed: int) -> float:
    a, b = _judged(draw, objectives, seed)
    own = np.arange(len(a))
    return float(np.mean([rank(x, y, own, own).recall(K).mean() for x, y in ((a, b), (b, a))]))


def _judged(draw: Draw, objectives: Mapping[str, Any], seed: int) -> tuple[Array, Array]:
    """Embeddings [N, E] of the test rows, all of which have both."""
    found = spaces(draw(), objectives, seed)["test"]
    return found["a"][1], found["b"][1]

"""A head that learns from one modality's embeddings serves the other's, in a contrastive space and after remedies."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression

from plait.measures.space.gap_correction import collapse, corrupt, gap_correction, mean_direction

from . import Draw
from ._contrastive import spaces
from ._readers import codes

SPACE: Mapping[str, Any] = {"info_nce": {"temperature": 0.02}}
"""Near the temperature that CLIP ends with."""
NOISE = math.sqrt(0.016)
"""Deviation of each entry of a unit vector in teaching the head, as in the authors' code."""
COPIES = 5
"""Of each training row, with noise of its own; together they count as much as one."""
Steps = tuple[bool, bool]
"""Whether means are removed, and whether there is noise in teaching."""
BOTH, COLLAPSE, CORRUPT, NEITHER = (True, True), (True, False), (False, True), (False, False)


def both_and_neither(draw: Draw, seed: int) -> tuple[float, float]:
    """Accuracy on the modality that taught nothing: with both steps, and in the space as it is."""
    return _served(draw, seed, BOTH, NEITHER)


def both_and_collapse(draw: Draw, seed: int) -> tuple[float, float]:
    """With both steps, and with the means removed alone."""
    return _served(draw, seed, BOTH, COLLAPSE)


def both_and_corrupt(draw: Draw, seed: int) -> tuple[float, float]:
    """With both steps, and with noise alone."""
    return _served(draw, seed, BOTH, CORRUPT)


def collapse_and_neither(draw: Draw, seed: int) -> tuple[float, float]:
    """With the means removed alone, and in the space as it is."""
    return _served(draw, seed, COLLAPSE, NEITHER)


def corrupt_and_neither(draw: Draw, seed: int) -> tuple[float, float]:
    """With noise alone, and in the space as it is."""
    return _served(draw, seed, CORRUPT, NEITHER)


def identities() -> float:
    """Means of training rows after collapse, and what is changed of unit vectors by no mean and no noise."""
    rng = np.random.default_rng(0)
    a = rng.normal(size=(50, 6)) + 2
    unit = a / np.linalg.norm(a, axis=1, keepdims=True)
    moved = collapse(a, mean_direction(a)).mean(0)
    same = gap_correction(unit, np.zeros(6), noise=0.0) - unit
    return float(np.abs(moved).sum() + np.abs(same).sum())


class Served:
    """A contrastive space of a and b; a's training rows teach the head, b's test rows are served."""

    def __init__(self, draw: Draw, seed: int) -> None:
        table = draw()
        self.seed, self.y = seed, codes(table, "y")
        found = spaces(table, SPACE, seed)
        self.learn, self.judge = found["train"]["a"], found["test"]["b"]
        self.means = {name: mean_direction(found["train"][name][1]) for name in "ab"}

    def right(self, collapsed: bool, corrupted: bool) -> float:
        """Share of b's test rows whose class the head gives."""
        (rows, a), (judged, b) = self.learn, self.judge
        if collapsed:
            a, b = collapse(a, self.means["a"]), collapse(b, self.means["b"])
        copies = COPIES if corrupted else 1
        a = corrupt(np.tile(a, (copies, 1)), noise=NOISE if corrupted else 0.0, seed=self.seed)
        a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
        weight = np.full(len(a), 1 / copies)
        head = LogisticRegression(max_iter=1000).fit(a, np.tile(self.y[rows], copies), weight)
        return float((head.predict(b) == self.y[judged]).mean())


def _served(draw: Draw, seed: int, method: Steps, baseline: Steps) -> tuple[float, float]:
    served = Served(draw, seed)
    return served.right(*method), served.right(*baseline)

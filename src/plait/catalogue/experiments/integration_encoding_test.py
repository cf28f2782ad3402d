"""Whether recorded sites that need both modalities together are told from those that a sum of them explains."""

from __future__ import annotations

import numpy as np

from plait.measures.space.encoding_model import EncodingModel, encoding_model

from . import Draw
from ._readers import Array, bit, cells

LEVEL = 0.05
SITES = 10
"""Of each kind."""
STATIC = 1.0
"""Deviation of a site's own noise; what it answers to has deviation 1."""
KINDS = ("a", "b", "sum", "product")


def product_against_sum(draw: Draw, seed: int) -> tuple[float, float]:
    """Share of flagged sites among those that answer to the product of two bits, and among those that answer to
    their sum."""
    found = _test(draw, seed)
    return float(found["product"].mean()), float(found["sum"].mean())


def spared(draw: Draw, seed: int) -> tuple[float, float]:
    """Share of sites that answer to one modality or a sum and are not flagged, and what it is at the nominal rate."""
    found = _test(draw, seed)
    return float(1 - np.mean([found[kind] for kind in KINDS[:3]])), 1 - LEVEL


def infinite_penalty() -> float:
    """The largest distance of r2 from 0 where every prediction is the mean of the rows learned from."""
    rng = np.random.default_rng(0)
    a, b, sites = rng.normal(size=(60, 3)), rng.normal(size=(60, 2)), rng.normal(size=(60, 4))
    found: EncodingModel = encoding_model({"a": a, "b": b}, a[:, :2] * b, sites, penalties=[np.inf])
    return float(max(np.abs(r2).max() for r2 in found.r2.values()))


def sites(first: Array, second: Array, seed: int) -> dict[str, Array]:
    """{kind: [N, SITES]} of bits [N], -1 or 1, and noise of their own."""
    rng = np.random.default_rng(seed)
    answers = {"a": first, "b": second, "sum": (first + second) / np.sqrt(2), "product": first * second}
    return {kind: answers[kind][:, None] + STATIC * rng.normal(size=(len(first), SITES)) for kind in KINDS}


def _test(draw: Draw, seed: int) -> dict[str, Array]:
    """{kind: which of its sites are flagged}.  The joint representation is both modalities and their products."""
    table = draw()
    a, b = cells(table, "a"), cells(table, "b")
    recorded = sites(2 * bit(table, "a_0") - 1, 2 * bit(table, "b_0") - 1, seed)
    joint = np.concatenate([a, b, (a[:, :, None] * b[:, None]).reshape(len(a), -1)], 1)
    found = encoding_model(
        {"a": a, "b": b}, joint, np.concatenate([recorded[kind] for kind in KINDS], 1), alpha=LEVEL, seed=seed
    )
    return dict(zip(KINDS, np.split(found.flagged, len(KINDS)), strict=True))

"""Whether a model on one encoder fails on the pairs that this encoder confuses, and a second encoder mends that."""

from __future__ import annotations

import numpy as np

from plait.measures.space import blind_pairs as measure

from . import Draw
from ._readers import Array, cells, codes, odd, probabilities

NEAR, FAR = 0.9, 0.5
"""Quantiles of the cosines of either encoder from which on, and up to which, rows are near and far."""
PAIRS = 5000
"""Random ones."""


def gain_of_mixing(draw: Draw, seed: int) -> tuple[float, float]:
    """How many more pairs a model on both encoders tells apart than one on the first: of blind and of random ones."""
    y, first, both, *chosen = _judged(draw, seed)
    blind, anywhere = (_share(both, y, pairs) - _share(first, y, pairs) for pairs in chosen)
    return blind, anywhere


def first_alone(draw: Draw, seed: int) -> tuple[float, float]:
    """Share of pairs that a model on the first encoder tells apart: of blind ones, and of random ones."""
    y, first, _, blind, anywhere = _judged(draw, seed)
    return _share(first, y, blind), _share(first, y, anywhere)


def equal_encoders() -> float:
    """Blind pairs of two equal encoders, and those of stricter thresholds that looser ones do not have."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 80, 3))
    none = len(measure.blind_pairs(a, a, near=0.6, far=0.5, draws=2).pairs)
    loose, strict = (
        {tuple(pair) for pair in measure.blind_pairs(a, b, near=near, far=far, draws=2).pairs.tolist()}
        for near, far in ((0.7, 0.3), (0.9, 0.0))
    )
    return float(none + len(strict - loose)) if strict else float("nan")


def told_apart(chances: Array, y: Array, pairs: Array) -> Array:
    """[P] whether giving each of two rows its own class is likelier than changing them; .5 where it is just as likely.

    chances: [N, C]; pairs [P, 2], of rows of different classes.
    """
    i, j = pairs.T
    log = np.log(np.maximum(chances, 1e-300))
    ahead = log[i, y[i]] + log[j, y[j]] - log[i, y[j]] - log[j, y[i]]
    return np.where(np.abs(ahead) < 1e-12, 0.5, ahead > 0)


def _judged(draw: Draw, seed: int) -> tuple[Array, Array, Array, Array, Array]:
    """Of the rows that judge: classes, chances by models on a and on both, blind pairs, random ones."""
    table = draw()
    a, b, y, judge = cells(table, "a"), cells(table, "b"), codes(table, "y"), odd(len(table))
    near, far = (float(measure.pair_quantiles(x[judge], [q], seed=seed)[0]) for x, q in ((a, NEAR), (b, FAR)))
    blind = measure.blind_pairs(a[judge], b[judge], near=near, far=far, seed=seed, draws=2).pairs
    anywhere = measure.random_pairs(int(judge.sum()), PAIRS, seed=seed)
    chances = [probabilities(x, y, ~judge)[judge] for x in (a, np.concatenate([a, b], 1))]
    return y[judge], chances[0], chances[1], blind, anywhere


def _share(chances: Array, y: Array, pairs: Array) -> float:
    """Of pairs of different classes; chance where there are none."""
    pairs = pairs[y[pairs[:, 0]] != y[pairs[:, 1]]]
    return float(told_apart(chances, y, pairs).mean()) if len(pairs) else 0.5

"""Whether what is attributed to modalities follows how much they say, and finds the one that a failure is due to."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.special import expit
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression

from plait.measures.trust.modality_attribution import (
    ModalityAttribution,
    ValueAndGradient,
    modality_attribution,
)

from . import Draw
from ._readers import Array, bit, cells, codes

DRAWS = 2
"""Resamples for intervals, which nobody reads here."""


def order_of_modalities(draw: Draw, seed: int) -> tuple[float, float]:
    """Rank correlation of shares with the order of the modalities, which are made to say less and less: of the
    attribution's shares, and of random ones."""
    found, _, _ = _attributed(draw)
    shares = [estimate.value for estimate in found.share.values()]
    order = -np.arange(len(shares))
    random = np.random.default_rng(seed).random(len(shares))
    return float(spearmanr(shares, order)[0]), float(spearmanr(random, order)[0])


def purity_of_failures(draw: Draw, seed: int) -> tuple[float, float]:
    """Purity of wrong rows with one drowned cell, by which modality most is attributed to: as they are, and with the
    groups dealt anew."""
    found, wrong, drowned = _attributed(draw)
    chosen = wrong & (drowned.sum(1) == 1)
    size = np.stack([np.abs(a) for a in found.attribution.values()], 1)[chosen]
    groups, cause = size.argmax(1), drowned[chosen].argmax(1)
    rng = np.random.default_rng(seed)
    return purity(groups, cause), float(np.mean([purity(rng.permutation(groups), cause) for _ in range(20)]))


def completeness() -> float:
    """How far attributions are from adding up to what F changes by, an unused modality from 0, and shares from 1."""
    rng = np.random.default_rng(0)
    tokens = {name: rng.normal(size=(40, 3)) for name in "abc"}
    weights = {"a": rng.normal(size=3), "b": rng.normal(size=3), "c": np.zeros(3)}
    absent = {name: np.full(3, 0.2) for name in "abc"}
    found = modality_attribution(_sigmoid(weights, 0.3), tokens, absent, draws=DRAWS)
    shares = sum(estimate.value for estimate in found.share.values())
    return float(np.abs(found.residual).max() + np.abs(found.attribution["c"]).max() + abs(shares - 1))


def purity(groups: Array, cause: Array) -> float:
    """Share of rows whose cause is the most frequent one of their group; 1 of no rows."""
    most = sum(np.bincount(cause[groups == group]).max() for group in np.unique(groups))
    return float(most / len(cause)) if len(cause) else 1.0


def _sigmoid(weights: Mapping[str, Array], intercept: float) -> ValueAndGradient:
    def of(tokens: Mapping[str, Array]) -> tuple[Array, dict[str, Array]]:
        p = expit(sum(tokens[name] @ w for name, w in weights.items()) + intercept)
        return p, {name: (p * (1 - p))[:, None] * w for name, w in weights.items()}

    return of


def _attributed(draw: Draw) -> tuple[ModalityAttribution, Array, Array]:
    """Of test rows: what is attributed of the chance of class 1, which are wrong [N], which cells are drowned [N, M].

    The model is a logistic regression on all cells.  An absent modality is its mean in the rows learned from.
    """
    table = draw()
    y, parts = codes(table, "y"), np.array(table.column("split").to_pylist())
    given = {name: cells(table, name) for name in table.schema.modalities}
    learn, judge = parts == "train", parts == "test"
    model = LogisticRegression(max_iter=500).fit(np.concatenate(list(given.values()), 1)[learn], y[learn])
    ends = np.cumsum([x.shape[1] for x in given.values()])[:-1]
    weights = dict(zip(given, np.split(model.coef_[0], ends), strict=True))
    absent = {name: x[learn].mean(0) for name, x in given.items()}
    tokens = {name: x[judge] for name, x in given.items()}
    of = _sigmoid(weights, float(model.intercept_[0]))
    drowned = np.stack([bit(table, f"corrupted_{name}") for name in given], 1)[judge] > 0
    return modality_attribution(of, tokens, absent, draws=DRAWS), (of(tokens)[0] > 0.5) != y[judge], drowned

"""Whether encoders that agree more are the better ones: where modalities share what is asked, and where they do not."""

from __future__ import annotations

import numpy as np
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression

from plait.measures.space.representation_alignment import representation_alignment

from . import Draw
from ._readers import Array, cells, codes

LEARNED = (16, 24, 36, 54, 80, 120, 180, 270)
"""Rows that the encoders have learned from: what makes the later ones better."""
JUDGED = 300
NEIGHBOURS = 10


def trained_and_untrained(draw: Draw, seed: int) -> tuple[float, float]:
    """Rank correlation of alignment with accuracy, of encoders that learned from more and more rows and of random ones.

    An encoder is the layer of class scores of a logistic regression on one modality; of the untrained ones a linear
    classifier is trained on top.
    """
    table = draw()
    a, b, y = cells(table, "a"), cells(table, "b"), codes(table, "y")
    rng, judge = np.random.default_rng(seed), np.arange(len(y)) >= len(y) - JUDGED
    trained, untrained = [], []
    others = np.flatnonzero(~judge)
    for count in LEARNED:
        learn = rng.choice(others, min(count, len(others)), replace=False)
        scores = [_scores(x, y, learn) for x in (a, b)]
        trained.append(_pair(scores, [s[judge].argmax(1) for s in scores], y, judge))
        random = [x @ rng.normal(size=(x.shape[1], scores[0].shape[1])) for x in (a, b)]
        said = [_scores(x, y, others)[judge].argmax(1) for x in random]
        untrained.append(_pair(random, said, y, judge))
    return rank_correlation(np.array(trained)), rank_correlation(np.array(untrained))


def unmoved() -> float:
    """How far linear CKA is from 1 when rows are rotated and scaled, and mutual neighbours are for equal rows."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 4))
    turned = 3 * x @ np.linalg.qr(rng.normal(size=(4, 4)))[0]
    found = representation_alignment(x, turned, k=5, blocks=2)
    return float(abs(found.linear_cka - 1) + abs(representation_alignment(x, x, k=5, blocks=2).mutual_knn - 1))


def rank_correlation(pairs: Array) -> float:
    """Spearman's, of [K, 2]; 0 where either column does not vary."""
    return float(spearmanr(pairs[:, 0], pairs[:, 1])[0]) if np.ptp(pairs, 0).all() else 0.0


def _pair(spaces: list[Array], said: list[Array], y: Array, judge: Array) -> tuple[float, float]:
    """Alignment of both encoders, and how often they are right on average."""
    found = representation_alignment(spaces[0][judge], spaces[1][judge], k=NEIGHBOURS, blocks=2)
    return found.mutual_knn, float(np.mean([s == y[judge] for s in said]))


def _scores(x: Array, y: Array, learn: Array) -> Array:
    """[N, C]; a class that no learned row has, has score 0."""
    model = LogisticRegression(max_iter=500).fit(x[learn], y[learn])
    out = np.zeros((len(y), int(y.max()) + 1))
    scores = model.predict_log_proba(x)
    out[:, model.classes_] = scores - scores.mean(1, keepdims=True)
    return out

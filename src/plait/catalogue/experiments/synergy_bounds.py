"""Bounds of synergy from labels of single modalities and pairs without labels, against the synergy that is there."""

from __future__ import annotations

import numpy as np
from scipy.stats import spearmanr
from sklearn.cluster import KMeans

from plait.data.table import Table
from plait.measures.information.interaction_bounds import interaction_bounds, known_bounds
from plait.measures.information.partial_information import PartialInformation, decompose, partial_information

from . import Draw
from ._readers import Array, cells, codes

VALUES = 8
"""Clusters that the cells of a modality are sorted into."""
KINDS = ((2, 0), (1, 1), (0, 2))
"""Bits unique to either modality, and parities, of the ranked tables: all leave two bits open to either one."""


def distance(draw: Draw, seed: int) -> tuple[float, float]:
    """Bits between the synergy that all labels show and the bounds' interval, 0 inside; and between that synergy and
    all that either modality leaves open of the target, the most that labels of one modality allow."""
    one, two, y = _values(draw(), seed)
    full = partial_information(one, two, y, draws=0)
    low, high = interaction_bounds(*_parts(one, two, y), seed=seed, draws=40).interval or (np.nan, np.nan)
    truth = full.synergistic
    return float(max(0.0, low - truth, truth - high)), abs(_left_open(full, y) - truth)


def order_of_tables(draw: Draw, seed: int) -> tuple[float, float]:
    """Rank correlation over three tables with the synergy that all labels show: of the upper bound, and of what is
    left open."""
    found = []
    for unique, parities in KINDS:
        one, two, y = _values(draw(unique=unique, synergy=parities), seed)
        full = partial_information(one, two, y, draws=0)
        upper = interaction_bounds(*_parts(one, two, y), draws=0).upper
        found.append((full.synergistic, upper, _left_open(full, y)))
    truth, upper, left = np.array(found).T
    return rank_correlation(upper, truth), rank_correlation(left, truth)


def random_tables() -> float:
    """How far the synergy of random distributions lies outside their bounds at most, and that of a parity above its
    upper one."""
    rng = np.random.default_rng(0)
    tables = [rng.dirichlet(np.full(18, 0.5)).reshape(3, 3, 2) for _ in range(20)]
    parity = np.zeros((2, 2, 2))
    parity[[0, 0, 1, 1], [0, 1, 0, 1], [0, 1, 1, 0]] = 0.25
    outside = []
    for p in [*tables, parity]:
        found, truth = known_bounds(p.sum(1), p.sum(0), p.sum(2)), decompose(p).synergistic
        outside.append(max(0.0, found.lower - truth, found.disagreement - truth, truth - found.upper))
    return float(max(outside))


def rank_correlation(found: Array, truth: Array) -> float:
    """Spearman's of [K], to a tenth of a bit; 0 where one of them does not vary."""
    found, truth = np.round(found, 1), np.round(truth, 1)
    return float(spearmanr(found, truth)[0]) if np.ptp(found) and np.ptp(truth) else 0.0


def _values(table: Table, seed: int) -> tuple[Array, Array, Array]:
    """-> [N] of either modality, and classes; clusters know no labels."""
    one, two = (KMeans(VALUES, n_init=4, random_state=seed % 2**31).fit_predict(cells(table, n)) for n in ("a", "b"))
    return one, two, codes(table, "y")


def _parts(one: Array, two: Array, y: Array) -> tuple[tuple[Array, Array], tuple[Array, Array], tuple[Array, Array]]:
    """Each third of the rows shows two of the three."""
    third = np.arange(len(y)) % 3
    first, second, pairs = (third == k for k in range(3))
    return (one[first], y[first]), (two[second], y[second]), (one[pairs], two[pairs])


def _left_open(full: PartialInformation, y: Array) -> float:
    """H(Y) less what the better modality says."""
    p = np.bincount(y) / len(y)
    p = p[p > 0]
    return float(-p @ np.log2(p)) - max(full.first(), full.second())

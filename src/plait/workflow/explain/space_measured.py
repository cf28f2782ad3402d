"""How pairs of modalities lie in the shared space, and what searches find once their means are taken away."""

from __future__ import annotations

import itertools
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from plait.measures.bootstrap import Interval, mean_interval
from plait.measures.space.alignment_uniformity import AlignmentUniformity, alignment_uniformity
from plait.measures.space.effective_rank import EffectiveRank, effective_rank
from plait.measures.space.gap_correction import gap_correction, mean_direction
from plait.measures.space.modality_gap import ModalityGap, modality_gap
from plait.measures.space.representation_alignment import RepresentationAlignment, representation_alignment

from ..evaluate import searches, vectors_at
from ..model import Embeddings
from .subject import Array, Subject

LEAST = 30
"""Rows, and groups of them for neighbours, below which nothing is said of a pair."""
FOLDS = 5
MOST = 1_000
"""Rows on which a pair is measured at most: the cost of neighbours grows with their square."""
K = 10


@dataclass(frozen=True, eq=False)
class Pair:
    """Of two modalities.  neighbours: None where too few groups are."""

    names: tuple[str, str]
    gap: ModalityGap
    spread: AlignmentUniformity
    neighbours: RepresentationAlignment | None

    @property
    def apart(self) -> bool:
        """Whether it was shown that they keep to regions of their own."""
        return self.gap.intervals["separability"][0] > 0.5

    @property
    def distant(self) -> bool:
        """Whether it was shown that their middles lie apart."""
        return self.gap.intervals["distance"][0] > 0

    @property
    def alike(self) -> bool:
        """Whether it was shown that they share more neighbours than by chance."""
        found = self.neighbours
        return found is not None and found.intervals["mutual_knn"][0] > found.chance["mutual_knn"]


@dataclass(frozen=True, eq=False)
class Moved:
    """A search before and after the means were taken away, as recall of the queries.  chance: of a random order."""

    name: str
    before: Array
    after: Array
    chance: float
    groups: Array
    change: Interval


def one_point(vectors: Array) -> bool:
    """Whether all lie there."""
    return bool(np.ptp(vectors, axis=0).max() < 1e-5)


def pairs_of(subject: Subject, found: Embeddings) -> tuple[list[Pair], dict[tuple[str, str], int]]:
    """-> pairs that enough rows have, and how many rows the others have."""
    pairs, few = [], {}
    rng = np.random.default_rng(subject.seed)
    couples = list(itertools.combinations(found, 2))
    for i, names in enumerate(couples):
        subject.progress("pairs", i, len(couples))
        rows = np.intersect1d(found[names[0]][0], found[names[1]][0])
        if len(rows) < LEAST or len(np.unique(subject.groups[rows])) < FOLDS:
            few[names] = len(rows)
            continue
        if len(rows) > MOST:
            rows = np.sort(rng.choice(rows, MOST, replace=False))
        a, b = (vectors_at(found[name], rows) for name in names)
        groups, seed = subject.groups[rows], subject.seed
        pairs.append(
            Pair(
                names,
                modality_gap(a, b, groups=groups, folds=FOLDS, seed=seed),
                alignment_uniformity(a, b, groups=groups, seed=seed),
                _neighbours(a, b, groups, seed),
            )
        )
    return pairs, few


def _neighbours(a: Array, b: Array, groups: Array, seed: int) -> RepresentationAlignment | None:
    """Of one row of each group: copies would be each other's nearest in any space."""
    rows = np.sort(np.unique(groups, return_index=True)[1])
    if len(rows) < LEAST:
        return None
    try:
        return representation_alignment(a[rows], b[rows], k=K, seed=seed)
    except ValueError:
        # Nearly all rows lie in one point, and without a block of them all do.
        return None


def ranks_of(subject: Subject, found: Embeddings) -> dict[str, EffectiveRank]:
    """Of as many rows of each, since the number grows with them."""
    enough = {name: part for name, part in found.items() if len(part[0]) >= LEAST}
    least = min([MOST, *(len(rows) for rows, _ in enough.values())])
    rng = np.random.default_rng(subject.seed)
    out = {}
    for name, (rows, vectors) in enough.items():
        at = np.sort(rng.choice(len(rows), least, replace=False))
        groups = subject.groups[rows[at]]
        # Nothing is said where nearly all rows lie in one point: without a block of them, all may.
        with suppress(ValueError):
            out[name] = effective_rank(vectors[at], centre=True, groups=groups, seed=subject.seed)
    return out


def moved_to_one_middle(subject: Subject, found: Embeddings) -> list[Moved]:
    """Searches with every modality's mean over the rows that were learned from taken away."""
    learned = subject.learned_embeddings
    means = {
        name: mean_direction(learned[name][1])
        for name in found
        if len(learned[name][0]) >= LEAST and not one_point(learned[name][1])
    }
    before = {name: found[name] for name in means}
    after = {name: (rows, gap_correction(vectors, means[name])) for name, (rows, vectors) in before.items()}
    out = []
    for search in searches(before, subject.table.take(subject.test), subject.seed):
        if len(search.rows) < LEAST:
            continue
        first, second = search.ranks(before), search.ranks(after)
        was, now = first.recall(K), second.recall(K)
        groups = subject.groups[search.rows[first.query]]
        change = mean_interval(now - was, groups=groups, seed=subject.seed, exact=False)
        out.append(Moved(search.name, was, now, float(first.chance(K).mean()), groups, change))
    return out

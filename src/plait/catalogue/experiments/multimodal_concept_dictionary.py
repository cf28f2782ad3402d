"""Concepts of a non-negative dictionary against principal components: do samples and words agree on them?"""

from __future__ import annotations

import numpy as np
from sklearn.decomposition import PCA

from plait.data.table import Table
from plait.measures.space.concept_dictionary import concept_dictionary
from plait.measures.space.concept_grounding import ConceptGrounding, closest_words, concept_grounding, overlap

from . import Draw
from ._readers import Array, bit, cells, odd

WORDS = 1
"""Of each concept."""
SAMPLES = 20
"""The most activating ones of each concept."""


def agreement(draw: Draw, seed: int) -> tuple[float, float]:
    """How much oftener a concept's most activating samples are described by its words than all are: of atoms, and of
    principal components."""
    atoms, components = _grounded(draw, seed)
    return atoms.agreement, components.agreement


def common_words(draw: Draw, seed: int) -> tuple[float, float]:
    """Share of words that concepts have in common: of atoms, and of principal components."""
    atoms, components = _grounded(draw, seed)
    return atoms.overlap, components.overlap


def ends_of_overlap() -> float:
    """How far overlap is from 1 for equal sets of words, and from 0 for disjoint ones."""
    return abs(overlap([{"x", "y"}, {"y", "x"}]) - 1) + overlap([{"x", "y"}, {"z"}])


def more_atoms() -> float:
    """By how much the objective rises with further atoms, and how far activations are below 0."""
    rng = np.random.default_rng(0)
    tokens = rng.random((60, 3)) @ rng.normal(size=(3, 8)) + 0.1 * rng.normal(size=(60, 8))
    found, rises, below = None, 0.0, 0.0
    for concepts in (2, 4, 6):
        new = concept_dictionary(tokens, concepts, start=found, steps=30)
        rises += 0.0 if found is None else max(0.0, new.objective - found.objective)
        below, found = max(below, -float(new.activations.min())), new
    return rises + below


def words_of(table: Table) -> tuple[list[str], Array]:
    """-> the words, one for each side of each bit that modalities share; [N, V] whether they describe a row."""
    known = [name for name in table.schema.ignored if name.startswith("shared_")]
    sides = np.stack([bit(table, name) for name in known], 1) > 0
    return [f"{name}={side}" for side in (0, 1) for name in known], np.concatenate([~sides, sides], 1)


def _grounded(draw: Draw, seed: int) -> tuple[ConceptGrounding, ConceptGrounding]:
    """Tokens are both modalities' cells, side by side.  A word's direction is what its rows have above all rows.

    Half as many components as atoms, each read both ways: with signs, one component can say what two atoms say.
    """
    table = draw()
    tokens, judge = np.concatenate([cells(table, "a"), cells(table, "b")], 1), odd(len(table))
    words, said = words_of(table)
    centred = tokens - tokens[~judge].mean(0)
    directions = np.stack([centred[~judge & rows].mean(0) for rows in said.T])
    described = [frozenset(np.array(words)[row].tolist()) for row in said[judge]]
    learned = concept_dictionary(centred[~judge], len(words), steps=50, seed=seed)
    components = PCA(len(words) // 2, svd_solver="full").fit(centred[~judge]).components_
    both_ways = np.concatenate([components, -components])
    found = []
    for atoms, activations in (
        (learned.atoms, learned.encode(centred[judge])),
        (both_ways, np.maximum(centred[judge] @ both_ways.T, 0)),
    ):
        named = closest_words(atoms, directions, words, WORDS)
        found.append(concept_grounding(activations, described, named, count=SAMPLES, seed=seed, draws=2))
    return found[0], found[1]

"""What the concepts of a dictionary stand for: whether samples and words agree, and whether concepts differ.

A concept is read in two ways: by its most activating samples (`most_activating`, the image side) and by the words whose
directions in the output vocabulary fit its atom best (`closest_words`, the text side).

    agreement = share of a concept's most activating samples that are described by one of its words,
                minus the share of all samples that are
    overlap   = mean over ordered pairs k, l of |words_k and words_l| / |words_k|

Agreement is 0 on average where words have nothing to do with activations; where no sample activates a concept its first
share is 0.  Overlap is 1 for equal and 0 for disjoint sets of words.  The published program counts a concept without
words as overlapping with none, and a word as often as a list repeats it; here such a concept is left out, and words are
sets.  Any activations and words will do, also those of principal components, to compare with.

Source: Parekh et al., "A Concept-Based Explainability Framework for Large Multimodal Models", arXiv:2406.08074; they
measure agreement by CLIP score, which needs a model.   Relatives: concept_dictionary.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ..bootstrap import Interval, many_intervals
from ..estimate import Accounted
from ._rows import Array, Floats, checked

Words = Collection[str]


@dataclass(frozen=True, eq=False)
class ConceptGrounding(Accounted):
    """agreement: mean of by_concept [K], NaN where a concept has no words.  intervals: of agreement and overlap."""

    agreement: float
    overlap: float
    by_concept: Floats
    intervals: dict[str, Interval]


def concept_grounding(
    activations: ArrayLike,
    samples: Sequence[Words],
    concepts: Sequence[Words],
    *,
    count: int = 5,
    seed: int = 0,
    draws: int = 1000,
    level: float = 0.95,
) -> ConceptGrounding:
    """activations [N, K], samples: the words that describe each row, concepts: the words of each concept.

    Intervals resample concepts.  ValueError on NaN, where lengths differ, or where words come as one string.
    """
    code = checked(activations, "activations")
    if (len(samples), len(concepts)) != code.shape:
        raise ValueError(
            f"expected the words of {code.shape[0]} samples and of {code.shape[1]} concepts, found {len(samples)} and "
            f"{len(concepts)}"
        )
    described, named = _sets(samples), _sets(concepts)
    agreement = np.full(len(named), np.nan)
    for k, rows in enumerate(most_activating(code, count)):
        if named[k]:
            fits = np.array([not named[k].isdisjoint(s) for s in described])
            agreement[k] = (fits[rows].mean() if len(rows) else 0.0) - fits.mean()
    shared, there = _shared(named), ~np.isnan(agreement)

    def over(times: Array) -> dict[str, Array]:
        weight = times * there
        total, size = weight @ np.where(there, agreement, 0), weight.sum(1)
        mean = np.divide(total, size, out=np.full(len(times), np.nan), where=size > 0)
        return {"agreement": mean, "overlap": _overlap(shared, times)}

    numbers = {name: float(value[0]) for name, value in over(np.ones((1, len(named)), np.int64)).items()}
    found = many_intervals(over, len(named), seed=seed, draws=draws, level=level)
    return ConceptGrounding(**numbers, by_concept=agreement, intervals=found)


def most_activating(activations: ArrayLike, count: int) -> list[Array]:
    """[N, K] -> for each concept the rows that activate it most, at most `count`, and only such as do."""
    code = checked(activations, "activations")
    order = np.argsort(-code, axis=0, kind="stable")[:count]
    return [rows[code[rows, k] > 0] for k, rows in enumerate(order.T)]


def closest_words(atoms: ArrayLike, directions: ArrayLike, words: Sequence[str], count: int) -> list[frozenset[str]]:
    """atoms [K, D], directions [V, D] of V words -> for each concept the `count` words of the largest inner product."""
    concepts, vocabulary = checked(atoms, "atoms"), checked(directions, "directions")
    if len(words) != len(vocabulary) or concepts.shape[1] != vocabulary.shape[1]:
        raise ValueError(
            f"expected a direction of width {concepts.shape[1]} for each of {len(words)} words, found shape "
            f"{vocabulary.shape}"
        )
    best = np.argsort(-(concepts @ vocabulary.T), axis=1, kind="stable")[:, :count]
    return [frozenset(words[v] for v in row) for row in best]


def overlap(concepts: Sequence[Words]) -> float:
    """0: no two concepts share a word, 1: all have the same.  NaN on fewer than two with words."""
    return float(_overlap(_shared(_sets(concepts)), np.ones((1, len(concepts)), np.int64))[0])


def _sets(words: Sequence[Words]) -> list[frozenset[str]]:
    for given in words:
        if isinstance(given, str):
            raise ValueError(f"expected several words each, found the string {given!r}; split it")
    return [frozenset(given) for given in words]


def _shared(concepts: Sequence[frozenset[str]]) -> Floats:
    """[K, K] share of the words of k that l has; NaN on the diagonal and where either has none."""
    out = np.full((len(concepts), len(concepts)), np.nan)
    for k, own in enumerate(concepts):
        for j, other in enumerate(concepts):
            if k != j and own and other:
                out[k, j] = len(own & other) / len(own)
    return out


def _overlap(shared: Floats, times: Array) -> Floats:
    """times [d, K], how often each concept is there -> [d]; a concept that is drawn twice does not meet itself."""
    there = ~np.isnan(shared)
    total = np.sum((times @ np.where(there, shared, 0.0)) * times, 1)
    meetings = np.sum((times @ there.astype(np.float64)) * times, 1)
    return np.divide(total, meetings, out=np.full(len(times), np.nan), where=meetings > 0)

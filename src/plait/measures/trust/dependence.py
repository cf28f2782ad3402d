"""How much a model's answers depend on each modality, found by giving rows the cells of others.

    permutation    the modality's cells are dealt anew among the rows that have it: drop of accuracy, rise of log loss
    swap           a row gets the cell of a row of another class: does the answer move, and to that class
    interference   cells that cannot matter are dealt anew: does the answer move all the same
    sensitivity    the first and the last, of answers that are off by more or less, such as numbers: rise of the error,
                   and how far answers move

Nothing is set to zero or noise, which a model has never seen; and a row without the modality stays without it.  Copies
of a cell must share a group: a permutation among copies changes nothing and would make a modality look useless.
Sources: permutation importance, Breiman, Machine Learning 2001; Fisher et al., arXiv:1801.01489; for modalities, Gat
et al., "Perceptual score", arXiv:2110.14375.
Limits: dealt cells may fit the rest of a row in no real way, so that importance of modalities that say the same is
partly the model's surprise; and what two modalities share, each alone seems not to be needed for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import classification
from ..estimate import Accounted, Estimate, mean
from ._checked import alike, codes, finite, presence, probabilities
from ._donors import deals as deals
from ._donors import of_another_class

Array = NDArray[Any]
Predict = Callable[[Mapping[str, Array]], Array]
"""{modality: [N], the row whose cell stands in each row, -1 where there is none} -> probabilities [N, C].

Of `sensitivity`: -> numbers [N], or [N, ...] such as probabilities of several labels.
"""
Off = Callable[[Array, Array], Array]
"""Answers [N, ...] and truth [N, ...] -> [N], how far off each answer is."""


@dataclass(frozen=True)
class Reliance(Accounted):
    """Of one modality, over the rows that have it.  accuracy: its drop.  log_loss: its rise, nats.  Both permuted.

    moved: share of rows whose answer changes when their cell is swapped for one of another class.  followed: share
    whose answer becomes that class.  A modality that decides everything has 1 for both; an unused one has 0 for moved.
    """

    rows: int
    accuracy: Estimate
    log_loss: Estimate
    moved: Estimate
    followed: Estimate


@dataclass(frozen=True)
class Interference(Accounted):
    """moved: share of answers that change.  distance: mean total variation 1/2 sum_c |p_c - p'_c|, 0 .. 1."""

    rows: int
    moved: Estimate
    distance: Estimate


@dataclass(frozen=True)
class Sensitivity(Accounted):
    """Of one modality, over the rows that have it, whose cells are dealt anew.

    error: rise of the mean error.  moved: mean absolute change of the answer; 0 where it is not looked at.
    """

    rows: int
    error: Estimate
    moved: Estimate


def dependence(
    predict: Predict,
    truth: Array,
    have: Array,
    names: Sequence[str],
    *,
    groups: Array | None = None,
    repeats: int = 5,
    seed: int = 0,
) -> dict[str, Reliance]:
    """{modality: how much is lost without knowing its cell}.  truth: codes [N].  have: [N, M] bool.  names: M.

    predict is asked 1 + 2 M repeats times.  groups [N]: rows whose cells may be copies of each other.  NaN for a
    modality that fewer than two groups have.  Intervals: rows, or groups, are resampled; that `repeats` draws are
    averaged is not in them.  ValueError for bad input, or where a group has over half of a modality's rows.
    """
    own, together = _sources(have, names, truth, groups)
    before = _asked(predict, own, len(truth))
    truth = codes(truth, "truth", *before.shape)
    measured = classification.rows(before, truth)
    rng = np.random.default_rng(seed)
    found = {}
    for name, source in own.items():
        rows = np.flatnonzero(source >= 0)
        lost: dict[str, list[Array]] = {"accuracy": [], "log_loss": [], "moved": [], "followed": []}
        if len(np.unique(together[rows])) < 2:
            found[name] = Reliance(len(rows), *[mean(np.array([np.nan]))] * 4)
            continue
        for dealt in deals(rows, together[rows], repeats, seed, name):
            after = _asked(predict, _given(own, name, rows, dealt), len(truth))
            worse = classification.rows(after, truth)
            lost["accuracy"].append((measured["accuracy"] - worse["accuracy"])[rows])
            lost["log_loss"].append((worse["log_loss"] - measured["log_loss"])[rows])
            donor = of_another_class(rows, together[rows], truth[rows], rng)
            swapped = rows[donor >= 0]
            said = _asked(predict, _given(own, name, swapped, donor[donor >= 0]), len(truth)).argmax(1)[rows]
            lost["moved"].append(np.where(donor >= 0, said != before.argmax(1)[rows], np.nan))
            lost["followed"].append(np.where(donor >= 0, said == truth[donor], np.nan))
        found[name] = Reliance(
            len(rows), **{key: _mean(values, together[rows], groups, seed) for key, values in lost.items()}
        )
    return found


def interference(
    predict: Predict,
    modality: str,
    irrelevant: Array,
    have: Array,
    names: Sequence[str],
    *,
    groups: Array | None = None,
    repeats: int = 5,
    seed: int = 0,
) -> Interference:
    """Whether answers move when `modality` changes on rows where it cannot matter.  irrelevant: [N] bool.

    Such as the image, for questions about the sound.  0 for a model that knows what to look at.  Cells are dealt
    among the irrelevant rows that have the modality.  ValueError where fewer than two groups do.
    """
    own, together = _sources(have, names, irrelevant, groups)
    if modality not in own:
        raise ValueError(f"modality: {modality!r} is none of {', '.join(names)}")
    if np.asarray(irrelevant).dtype != np.bool_:
        raise ValueError(f"irrelevant: expected bool [N], found {np.asarray(irrelevant).dtype}")
    rows = np.flatnonzero((own[modality] >= 0) & irrelevant)
    if len(np.unique(together[rows])) < 2:
        raise ValueError(f"{modality}: expected two irrelevant rows or more, of different groups, found {len(rows)}")
    before = _asked(predict, own, len(together))[rows]
    moved, distance = [], []
    for dealt in deals(rows, together[rows], repeats, seed, modality):
        after = _asked(predict, _given(own, modality, rows, dealt), len(together))[rows]
        moved.append((after.argmax(1) != before.argmax(1)).astype(np.float64))
        distance.append(np.abs(after - before).sum(1) / 2)
    return Interference(len(rows), *(_mean(values, together[rows], groups, seed) for values in (moved, distance)))


def sensitivity(
    predict: Predict,
    truth: Array,
    have: Array,
    names: Sequence[str],
    *,
    off: Off | None = None,
    groups: Array | None = None,
    repeats: int = 5,
    seed: int = 0,
) -> dict[str, Sensitivity]:
    """`dependence` where answers are off by more or less.  truth: [N]; with `off` [N, ...], as that reads it.

    off: the absolute difference of numbers if None.  predict is asked 1 + M repeats times.
    """
    if off is None:
        truth, off = finite(truth, "truth", None), _apart
    own, together = _sources(have, names, truth, groups)
    said = np.asarray(predict(own))
    before = finite(said, "what predict gives", *(truth.shape if off is _apart else (len(truth), *said.shape[1:])))
    found = {}
    for name, source in own.items():
        rows = np.flatnonzero(source >= 0)
        if len(np.unique(together[rows])) < 2:
            found[name] = Sensitivity(len(rows), *[mean(np.array([np.nan]))] * 2)
            continue
        lost, moved = [], []
        error = off(before[rows], truth[rows])
        for dealt in deals(rows, together[rows], repeats, seed, name):
            after = finite(predict(_given(own, name, rows, dealt)), "what predict gives", *before.shape)
            lost.append(off(after[rows], truth[rows]) - error)
            moved.append(np.abs(after - before).reshape(len(truth), -1).mean(1)[rows])
        found[name] = Sensitivity(len(rows), *(_mean(values, together[rows], groups, seed) for values in (lost, moved)))
    return found


def _apart(answers: Array, truth: Array) -> Array:
    return np.asarray(np.abs(answers - truth))


def _sources(have: Array, names: Sequence[str], rows: Array, groups: Array | None) -> tuple[dict[str, Array], Array]:
    """-> {modality: every row its own cell, or none}, the group of each row."""
    count = len(np.asarray(rows))
    have = presence(have, count, len(names))
    together = alike(groups, count)
    own = {name: np.where(have[:, m], np.arange(count), -1) for m, name in enumerate(names)}
    return own, np.arange(count) if together is None else together


def _given(own: Mapping[str, Array], name: str, rows: Array, donors: Array) -> dict[str, Array]:
    changed = own[name].copy()
    changed[rows] = donors
    return {**own, name: changed}


def _asked(predict: Predict, sources: Mapping[str, Array], rows: int) -> Array:
    return probabilities(predict(sources), "what predict gives", rows, None)


def _mean(values: Sequence[Array], together: Array, groups: Array | None, seed: int) -> Estimate:
    """Of the rows' means over the draws in which they took part."""
    stacked = np.stack(values)
    known = ~np.isnan(stacked)
    row = np.where(known, stacked, 0).sum(0) / np.where(known.any(0), known.sum(0), np.nan)
    return mean(row, groups=None if groups is None else together, seed=seed, exact=False)

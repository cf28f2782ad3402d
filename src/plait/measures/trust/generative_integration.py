"""What a generative model makes of one modality alone, and what it loses without one.

    single-modality error  E[i, j] = mean |x_j - r_j(x_i)|^2 / V_j                             j made from i alone
    loss of precision      L[i, j] = mean (|x_j - r_j(all but x_i)|^2 - |x_j - r_j(all)|^2) / V_j     i withheld

V_j = mean |x_j - mean x_j|^2, so that an error of 1 is what the mean reconstructs, and modalities compare.  E is 0
where i determines j; L is 0 where the code does not use i for j, and below 0 where i does harm.
Source: Langer et al., "Analyzing multimodal integration in the variational autoencoder from an information-theoretic
perspective", arXiv:2411.00522: what is compared is theirs.  They compare decoders' distributions; this compares
reconstructions, which says the same for Gaussian decoders of one spread, and works for any model.
Limits: squared error rewards blurred means; give features, not pixels, where that matters.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..estimate import Accounted, Estimate, mean
from ._checked import finite, presence

Array = NDArray[Any]


@dataclass(frozen=True)
class GenerativeIntegration(Accounted):
    """error: {j: of all modalities together}.  single, loss: {i: {j: E[i, j]}} and L.  single_all, loss_all: {i: the
    mean over the modalities j that a row has}.  Each over the rows that have i and j."""

    error: Mapping[str, Estimate]
    single: Mapping[str, Mapping[str, Estimate]]
    single_all: Mapping[str, Estimate]
    loss: Mapping[str, Mapping[str, Estimate]]
    loss_all: Mapping[str, Estimate]


def generative_integration(
    truth: Mapping[str, Array],
    full: Mapping[str, Array],
    alone: Mapping[str, Mapping[str, Array]],
    withheld: Mapping[str, Mapping[str, Array]],
    have: Array | None = None,
    *,
    groups: Array | None = None,
    seed: int = 0,
) -> GenerativeIntegration:
    """truth: {j: [N, ...]}; full: reconstructions of all j from all; alone[i], withheld[i]: from i, from all but i.

    have: [N, M] bool, in the order of truth; rows without a cell of i or j are not looked at.  Intervals: rows are
    resampled, or `groups` [N] of rows that belong together; V_j stays as it is.  ValueError for shapes that do not fit,
    NaN, or a modality that does not vary.
    """
    if not truth:
        raise ValueError("truth: expected at least one modality, found none")
    names = list(truth)
    rows = len(np.atleast_1d(truth[names[0]]))
    there = dict(zip(names, presence(have, rows, len(names)).T, strict=True))
    for name, given in (("alone", alone), ("withheld", withheld)):
        if set(given) != set(names):
            raise ValueError(f"{name}: expected {', '.join(names)}, found {', '.join(given) or 'nothing'}")
    parts = [("full", full), *((f"alone {i}", alone[i]) for i in names)]
    parts += [(f"without {i}", withheld[i]) for i in names]
    for name, made in parts:
        if lacking := [j for j in names if j not in made]:
            raise ValueError(f"{name}: no reconstruction of {', '.join(lacking)}")
    scale = {j: _variance(truth[j], there[j], j, rows) for j in names}

    def error(made: Mapping[str, Array], j: str, needs: Array) -> Array:
        return squared_error(truth[j], made[j], there[j] & needs, j) / scale[j]

    every = np.ones(rows, bool)
    single = {i: {j: error(alone[i], j, there[i]) for j in names} for i in names}
    base = {j: error(full, j, every) for j in names}
    loss = {i: {j: error(withheld[i], j, there[i]) - base[j] for j in names} for i in names}

    def estimate(values: Array) -> Estimate:
        return mean(values, groups=groups, seed=seed, exact=False)

    return GenerativeIntegration(
        {j: estimate(base[j]) for j in names},
        {i: {j: estimate(single[i][j]) for j in names} for i in names},
        {i: estimate(_over(single[i])) for i in names},
        {i: {j: estimate(loss[i][j]) for j in names} for i in names},
        {i: estimate(_over(loss[i])) for i in names},
    )


def squared_error(truth: Array, made: Array, rows: Array, name: str) -> Array:
    """[N] squared distance of truth [N, ...] and made [N, ...]; NaN where rows [N] is False, which is not looked at."""
    if np.shape(truth) != np.shape(made):
        raise ValueError(f"{name}: expected a reconstruction {list(np.shape(truth))}, found {list(np.shape(made))}")
    out = np.full(len(rows), np.nan)
    out[rows] = ((_flat(truth, rows, name) - _flat(made, rows, name)) ** 2).sum(1)
    return out


def _variance(values: Array, rows: Array, name: str, count: int) -> float:
    if len(np.atleast_1d(values)) != count:
        raise ValueError(
            f"{name}: expected {count} rows as of the other modalities, found {len(np.atleast_1d(values))}"
        )
    flat = _flat(values, rows, name)
    found = float(((flat - flat.mean(0)) ** 2).sum(1).mean()) if len(flat) else 0.0
    if found <= 0:
        raise ValueError(f"{name}: its {len(flat)} cells do not vary, so that there is nothing to reconstruct")
    return found


def _flat(values: Array, rows: Array, name: str) -> Array:
    """The rows [N] bool of values [N, ...], as [P, D]."""
    chosen = np.asarray(values)[rows]
    return finite(chosen.reshape(len(chosen), math.prod(chosen.shape[1:])), name, None, None)


def _over(errors: Mapping[str, Array]) -> Array:
    """[N] mean over the modalities that a row has; NaN for none."""
    stacked = np.stack(list(errors.values()))
    known = ~np.isnan(stacked)
    return np.where(known, stacked, 0).sum(0) / np.where(known.any(0), known.sum(0), np.nan)

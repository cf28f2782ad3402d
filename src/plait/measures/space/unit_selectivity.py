"""Units of a network that answer to one category of stimuli more than to every other.

A unit prefers the category with its highest mean response.  It is *selective* if that mean is above the mean of each
other category, by Welch's t-test.  Its p-value is the largest two-sided one over the others: a unit that another
category drives just as well is flagged with a chance of alpha or less.  The p-values are corrected for the number of
units.  Categories named as controls (scrambled pictures, say) have to be beaten too, but are not preferred.

    specificity = (mean_preferred - mean_rest) / sqrt((var_preferred + var_rest) / 2)

in standard deviations, over the selective units.  Measured on the rows that made a unit look selective it is too large,
so units are chosen on one half of the rows and measured on the other, both ways.

A positive factor, or a shift, of a unit changes nothing.  A constant unit is never selective.
Source: Wang & Lu, arXiv:2502.16456; the test over all others: Berger, Technometrics 1982 (intersection-union).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtr

from ..bootstrap import Interval
from ..estimate import Accounted
from ..multiple_testing import Correction, adjusted
from ._jackknife import jackknife
from ._rows import Array, Floats, checked, group_sums


@dataclass(frozen=True, eq=False)
class UnitSelectivity(Accounted):
    """share of the U units that are selective, in all and by category; specificity: NaN where none is.

    preferred [U]: the category, or None where not selective.  p [U]: corrected.
    """

    share: float
    specificity: float
    shares: dict[str, float]
    preferred: tuple[str | None, ...]
    p: Floats
    rows: int
    intervals: dict[str, Interval]


def unit_selectivity(
    responses: ArrayLike,
    categories: ArrayLike,
    *,
    controls: Collection[str] = (),
    groups: ArrayLike | None = None,
    alpha: float = 0.05,
    correction: Correction = "fdr",
    blocks: int = 20,
    seed: int = 0,
    level: float = 0.95,
) -> UnitSelectivity:
    """responses [N, U], categories [N].  groups: [N], rows that are no independent stimuli: averaged to one.

    Intervals, of share and specificity, leave out blocks of stimuli (jackknife); NaN where too few would be left.
    ValueError on NaN, a single category, fewer than 4 stimuli in one, or a control that is not there.
    """
    rows, names = checked(responses, "responses"), np.asarray(categories).astype(str)
    if names.shape != (len(rows),):
        raise ValueError(f"expected a category for each of the {len(rows)} rows, found shape {names.shape}")
    if groups is not None:
        rows, names = _averaged(rows, names, np.asarray(groups))
    found, code, size = np.unique(names, return_inverse=True, return_counts=True)
    missing = set(controls) - set(found.tolist())
    if missing or len(found) - len(set(controls)) < 1 or len(found) < 2 or size.min() < 4:
        counted = ", ".join(f"{n}: {s}" for n, s in zip(found, size, strict=True))
        raise ValueError(
            f"expected 2 categories or more with at least 4 stimuli each, one of them no control, and controls "
            f"{sorted(controls)} among them; found {counted}"
        )
    control = np.isin(found, list(controls))
    half = _halves(code, seed)

    def numbers(kept: Array) -> dict[str, float]:
        if np.bincount(code[kept] * 2 + half[kept], minlength=2 * len(found)).min() < 2:
            return {"share": float("nan"), "specificity": float("nan")}
        chosen, _ = selective(rows[kept], code[kept], control, alpha, correction)
        beyond = []
        for inside in (half[kept] == 0, half[kept] == 1):
            fitted, tested = kept[inside], kept[~inside]
            flagged, _ = selective(rows[fitted], code[fitted], control, alpha, correction)
            beyond.append(_beyond(rows[tested], code[tested], flagged))
        measured = np.concatenate(beyond)
        return {
            "share": float((chosen >= 0).mean()),
            "specificity": float(measured.mean()) if len(measured) else float("nan"),
        }

    chosen, p = selective(rows, code, control, alpha, correction)
    within = {"share": (0.0, 1.0), "specificity": (-np.inf, np.inf)}
    return UnitSelectivity(
        **numbers(np.arange(len(rows))),
        shares={str(n): float((chosen == c).mean()) for c, n in enumerate(found) if not control[c]},
        preferred=tuple(str(found[c]) if c >= 0 else None for c in chosen),
        p=p,
        rows=len(rows),
        intervals=jackknife(numbers, len(rows), blocks=blocks, seed=seed, level=level, within=within),
    )


def selective(rows: Floats, code: Array, control: Array, alpha: float, correction: Correction) -> tuple[Array, Floats]:
    """rows [N, U], code [N] of 0 .. C - 1, control [C] bool.  -> [U] the preferred category, -1 if not selective;
    [U] corrected p-values, 1 where a control is preferred."""
    mean, variance, size = _moments(rows, code, len(control))
    best = mean.argmax(0)
    error = variance / size[:, None]
    both = error + np.take_along_axis(error, best[None], 0)
    gap = np.take_along_axis(mean, best[None], 0) - mean
    # Rounding of a constant unit is no response.
    floor = 1e-12 * np.abs(rows).max(0)
    t = np.divide(gap, np.sqrt(both), out=np.where(gap > floor, np.inf, 0.0), where=np.sqrt(both) > floor)
    free = both**2 / np.maximum(
        error**2 / (size[:, None] - 1) + np.take_along_axis(error**2, best[None], 0) / (size[best] - 1), 1e-300
    )
    p = 2 * stdtr(np.maximum(free, 1.0), -t)
    np.put_along_axis(p, best[None], 0.0, 0)
    corrected = adjusted(np.where(control[best], 1.0, p.max(0)), correction)
    return np.where(corrected <= alpha, best, -1), corrected


def _moments(rows: Floats, code: Array, count: int) -> tuple[Floats, Floats, Array]:
    """mean [C, U], variance [C, U], size [C]."""
    parts = [rows[code == c] for c in range(count)]
    mean, variance = np.stack([p.mean(0) for p in parts]), np.stack([p.var(0, ddof=1) for p in parts])
    return mean, variance, np.array([len(p) for p in parts])


def _beyond(rows: Floats, code: Array, chosen: Array) -> Floats:
    """Specificity of the selective units, on rows that they were not chosen on."""
    out = []
    for c in np.unique(chosen[chosen >= 0]):
        units = rows[:, chosen == c]
        own, rest = units[code == c], units[code != c]
        spread = np.sqrt((own.var(0, ddof=1) + rest.var(0, ddof=1)) / 2)
        out.append(np.divide(own.mean(0) - rest.mean(0), spread, out=np.zeros_like(spread), where=spread > 0))
    return np.concatenate(out) if out else np.zeros(0)


def _halves(code: Array, seed: int) -> Array:
    """[N] 0 or 1, about as many of each in every category."""
    rng = np.random.default_rng(seed)
    half = np.empty(len(code), np.int64)
    for c in np.unique(code):
        rows = np.flatnonzero(code == c)
        half[rng.permutation(rows)] = np.arange(len(rows)) % 2
    return half


def _averaged(rows: Floats, names: Array, groups: Array) -> tuple[Floats, Array]:
    if groups.shape != names.shape:
        raise ValueError(f"expected a group for each of the {len(rows)} rows, found shape {groups.shape}")
    _, group = np.unique(groups, return_inverse=True)
    kinds, kind = np.unique(names, return_inverse=True)
    cells, cell = np.unique(group * len(kinds) + kind, return_inverse=True)
    return group_sums(rows, cell, len(cells)) / np.bincount(cell)[:, None], kinds[cells % len(kinds)]

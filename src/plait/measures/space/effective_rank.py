"""How many dimensions an embedding uses, as a number that is not whole.

Of the singular values s of the rows [N, D], and the eigenvalues e of their covariance:

    effective_rank      = exp(-sum_k p_k log p_k),   p_k = s_k / sum s
    rankme              = the same with p_k + 1e-7 in place of p_k (not normalised again)
    participation_ratio = (sum e)^2 / sum e^2

Each is 1 for rows on one line through 0 (the ratio: through their mean) and D for equal singular values (eigenvalues).
The first two count the mean of the rows as a direction, as published; with centre=True they do not, and are then fit
for clouds that lie far from 0.  The ratio weighs squares: of the same singular values it is the least.  All are at
most min(N, D) and grow with N until it is many times D: compare at equal N.

Sources: Roy & Vetterli, "The effective rank", EUSIPCO 2007; Garrido et al., "RankMe", arXiv:2210.02885; the ratio:
Gao et al., "A theory of multineuronal dimensionality", bioRxiv 214262.   Relatives: alignment_uniformity.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ..bootstrap import Interval
from ..estimate import Accounted
from ._jackknife import jackknife
from ._rows import Array, Floats, checked


@dataclass(frozen=True, eq=False)
class EffectiveRank(Accounted):
    """Numbers as in the module's docstring.  intervals: of each of them, by its name."""

    effective_rank: float
    rankme: float
    participation_ratio: float
    rows: int
    width: int
    intervals: dict[str, Interval]


def effective_rank(
    vectors: ArrayLike,
    *,
    centre: bool = False,
    groups: ArrayLike | None = None,
    blocks: int = 20,
    seed: int = 0,
    level: float = 0.95,
) -> EffectiveRank:
    """vectors [N, D].  groups: [N], rows that belong together.

    Intervals leave out blocks of rows, or of groups (jackknife), for tables of N rows.  ValueError on NaN, fewer than 2
    rows, or where all rows are 0, or equal (they have no covariance).
    """
    rows = checked(vectors, "vectors", 2)

    def numbers(chosen: Array) -> dict[str, float]:
        part = rows[chosen]
        shares = spectrum(part, centre=centre)
        return {
            "effective_rank": entropy_rank(shares),
            "rankme": rankme(shares),
            "participation_ratio": participation_ratio(spectrum(part, centre=True)),
        }

    values = numbers(np.arange(len(rows)))
    within = dict.fromkeys(values, (1.0, float(min(rows.shape))))
    found = jackknife(numbers, len(rows), groups=groups, blocks=blocks, seed=seed, level=level, within=within)
    return EffectiveRank(**values, rows=len(rows), width=rows.shape[1], intervals=found)


def spectrum(vectors: ArrayLike, *, centre: bool = False) -> Floats:
    """[N, D] -> [min(N, D)] singular values, of the rows as they are or minus their mean.  ValueError if all are 0."""
    rows = checked(vectors, "vectors")
    left = rows - rows.mean(0) if centre else rows
    # What subtracting the mean of equal rows leaves is rounding.
    if np.abs(left).max() <= 1e-14 * np.abs(rows).max():
        raise ValueError(f"all {len(rows)} rows are {'equal' if centre else '0'} and span nothing")
    return np.asarray(np.linalg.svd(left, compute_uv=False), np.float64)


def entropy_rank(singular: Floats) -> float:
    """exp of the entropy of the singular values' shares."""
    share = singular[singular > 0] / singular.sum()
    return float(np.exp(-np.sum(share * np.log(share))))


def rankme(singular: Floats, epsilon: float = 1e-7) -> float:
    """RankMe of singular values; epsilon as in the paper, for single precision."""
    share = singular / singular.sum() + epsilon
    return float(np.exp(-np.sum(share * np.log(share))))


def participation_ratio(singular: Floats) -> float:
    """(sum e)^2 / sum e^2 of e = singular values squared, those of centred rows."""
    eigen = (singular / singular.max()) ** 2
    return float(eigen.sum() ** 2 / np.sum(eigen**2))

"""What two modalities say about a target: both alike, one alone, or only both together.

    union            min over q of I_q(X1, X2; Y),  q(x1, y) = p(x1, y) and q(x2, y) = p(x2, y)
    synergistic      I(X1, X2; Y) - union              XOR has one bit
    unique_first     union - I(X2; Y)                  and unique_second likewise
    redundant        I(X1; Y) + I(X2; Y) - union

in bits, all >= 0, with redundant + unique_i = I(Xi; Y), all four adding up to I(X1, X2; Y).
Source: Bertschinger et al., "Quantifying Unique Information", arXiv:1311.2839.  Information that is equal in amount
but not in kind may count as redundant here: what can be seen of one source through the other is decided by p(x1, y) and
p(x2, y) alone, never by whether the sources agree row by row.

From samples: plug-in estimates are mostly too high, I(X; Y) by about (A - 1) (C - 1) / (2 N ln 2), and a resample of
rows repeats that bias.  So its mean over resamples is taken off, and an interval goes from the lowest to the highest of
the percentiles and the reversed ones (2 estimate - percentile: Davison & Hinkley, "Bootstrap Methods", 1997, 5.2):
atoms have kinks where they reach 0, and either alone covers too seldom there.  With many values for few rows (most rows
alone in their cell) no correction is enough, and what looks synergistic is memory: merge values, or use
`interaction_estimate`.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..bootstrap import Interval, intervals
from ._samples import checked_weights, codes, same_length, tabulate
from ._union import GAP, ROUGH, mutual_information, union_information

Array = NDArray[Any]
ATOMS = ("redundant", "unique_first", "unique_second", "synergistic")
_SIGNS = np.array([[1, 1, 0, -1], [0, -1, 0, 1], [-1, 0, 0, 1], [0, 0, 1, -1]])
"""Atoms from I(X1; Y), I(X2; Y), I(X1, X2; Y) and the union."""


@dataclass(frozen=True)
class PartialInformation:
    """Bits.  intervals: {atom: (low, high)}, empty if nothing was drawn; rows: how many equally weighted ones it is
    worth, (sum w)^2 / sum w^2, None of a known distribution."""

    redundant: float
    unique_first: float
    unique_second: float
    synergistic: float
    intervals: Mapping[str, Interval]
    rows: float | None = None

    def first(self) -> float:
        """I(X1; Y)."""
        return self.redundant + self.unique_first

    def second(self) -> float:
        """I(X2; Y)."""
        return self.redundant + self.unique_second

    def together(self) -> float:
        """I(X1, X2; Y)."""
        return self.first() + self.unique_second + self.synergistic

    def account(self) -> dict[str, Any]:
        """As plain data."""
        return {**asdict(self), "intervals": {name: list(ends) for name, ends in self.intervals.items()}}


def partial_information(
    first: Array,
    second: Array,
    target: Array,
    *,
    weights: Array | None = None,
    groups: Array | None = None,
    seed: int = 0,
    draws: int = 200,
    level: float = 0.95,
) -> PartialInformation:
    """Of samples; first, second, target: values [N] of any kind, each a category.

    weights: [N], 1 / P(row is seen) where rows were selected; they are taken as known.  groups: [N], rows that are
    resampled together, else every row by itself.  draws=0: the plain plug-in estimate.
    ValueError on NaN, other lengths, fewer than 2 rows or groups, or weights that are not positive.
    """
    size = same_length(first=first, second=second, target=target)
    one, two, y = codes("first", first), codes("second", second), codes("target", target)
    both = codes("both", one * (two.max() + 1) + two)
    weights = checked_weights(weights, size)
    return of_codes(one, two, both, y, weights, groups=groups, seed=seed, draws=draws, level=level)


def decompose(joint: Array) -> PartialInformation:
    """Of a known distribution p(x1, x2, y) [A, B, C], or of counts; exact.  ValueError if it is none."""
    joint = np.asarray(joint, np.float64)
    if joint.ndim != 3 or not np.isfinite(joint).all() or (joint < 0).any() or joint.sum() <= 0:
        raise ValueError(f"expected p(x1, x2, y) [A, B, C], finite, >= 0 and not all 0; found shape {joint.shape}")
    one, two = joint.sum(1), joint.sum(0)
    both = mutual_information(joint.reshape(-1, joint.shape[2]))
    return atoms(mutual_information(one), mutual_information(two), both, union_information(one, two))


def atoms(first: float, second: float, both: float, union: float) -> PartialInformation:
    """From I(X1; Y), I(X2; Y), I(X1, X2; Y) and the union.  The last two are moved to where they can be, if they
    are not: max(first, second) <= union <= first + second, and union <= both."""
    first, second = max(0.0, float(first)), max(0.0, float(second))
    both = max(first, second, float(both))
    union = min(max(float(union), first, second), first + second, both)
    return PartialInformation(first + second - union, union - second, union - first, both - union, {})


def pairs(modalities: Mapping[str, Array], target: Array, **options: Any) -> dict[tuple[str, str], PartialInformation]:
    """{(one, other): of these two} for every pair; options: those of `partial_information`."""
    return {
        (one, two): partial_information(modalities[one], modalities[two], target, **options)
        for one, two in itertools.combinations(modalities, 2)
    }


def against_rest(modalities: Mapping[str, Array], target: Array, **options: Any) -> dict[str, PartialInformation]:
    """{modality: it as `first`, all others taken together as `second`}.

    unique_first is what it alone tells, redundant what the others can tell in its place, synergistic what they and it
    tell only together: without it, unique_first + synergistic are lost.  The others have as many values as combinations
    of theirs were seen.  ValueError on fewer than 2 modalities.
    """
    if len(modalities) < 2:
        raise ValueError(f"expected two modalities or more, found {len(modalities)}")
    same_length(**modalities)
    coded = {name: codes(name, values) for name, values in modalities.items()}
    found = {}
    for name, values in modalities.items():
        rest = np.unique(np.stack([own for other, own in coded.items() if other != name]), axis=1, return_inverse=True)
        found[name] = partial_information(values, rest[1].ravel(), target, **options)
    return found


def of_codes(
    one: Array,
    two: Array,
    both: Array,
    target: Array,
    weights: Array,
    *,
    groups: Array | None = None,
    seed: int = 0,
    draws: int = 200,
    level: float = 0.95,
) -> PartialInformation:
    """Of codes [N]; both: what stands for the pair of sources, which need not be the pair of the first two.

    ValueError on fewer than 2 groups.
    """
    if groups is not None and len(np.unique(groups)) < 2:
        raise ValueError("found one group: at least 2 are needed to see how much they differ")
    drawn: list[Array] = []

    def plug_in(rows: Array, gap: float) -> Array:
        first, second, pair = (tabulate(x[rows], target[rows], weights[rows]) for x in (one, two, both))
        union = union_information(first, second, gap)
        return np.array([mutual_information(first), mutual_information(second), mutual_information(pair), union])

    def resampled(rows: Array) -> dict[str, float]:
        drawn.append(plug_in(rows, ROUGH))
        return dict(zip(ATOMS, _SIGNS @ drawn[-1], strict=True))

    found = plug_in(np.arange(len(target)), GAP)
    rows = float(weights.sum() ** 2 / (weights @ weights))
    if not draws:
        return replace(atoms(*found), rows=rows)
    spread = intervals(resampled, len(target), groups=groups, seed=seed, draws=draws, level=level)
    estimate = atoms(*(2 * found - np.mean(drawn, 0)))
    ends = {}
    for name, plain in zip(ATOMS, _SIGNS @ found, strict=True):
        value, (low, high) = getattr(estimate, name), spread[name]
        ends[name] = max(0.0, float(min(low, 2 * plain - high, value))), float(max(high, 2 * plain - low, value))
    return replace(estimate, rows=rows, intervals=ends)

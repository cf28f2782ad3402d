"""How much synergy there can be when no row has both modalities and the target.

Known are p(x1, y), p(x2, y) of two labelled samples and p(x1, x2) of unlabelled pairs.  They fix the union of
`partial_information` and so redundant and unique information; the synergistic, I(X1, X2; Y) - union, lies between

    lower           H(X1, X2) + H(Y) - H_max - union;  H_max: the most entropy of any p(x1, x2, y) with these three
    disagreement    E[-log2 sum_y sqrt(p(y | x1) p(y | x2))] - (unique_first + unique_second) / 2
    upper           H(X1, X2) + H(Y) - H_min - union;  H_min: entropy that no such p can go below

in bits.  Source: Liang et al., "Multimodal Learning Without Labeled Multimodal Data", arXiv:2306.04539, with
these differences.

lower: S = redundant - I(X1; X2) + I(X1; X2 | Y), with the least of the last term under all three tables.  Some p
attains it, the one that iterative scaling of a constant finds, so nothing greater can be said from these tables, and
`disagreement` is never greater.

disagreement: for r = p(y | x1, x2),  2 S + U1 + U2 = I(X1; Y | X2) + I(X2; Y | X1) = E[KL(r, p(y | x1)) + KL(r,
p(y | x2))], and for any r a sum of divergences from two distributions is at least -2 log sum sqrt of their product.
With the squared distance |p - p'|^2 of the two in its place, Pinsker's inequality for both and |p - p'|^2 <=
2 |p - r|^2 + 2 |p' - r|^2 give E |p - p'|^2 / (4 ln 2) - (U1 + U2) / 2.  Without that constant, E |p - p'|^2 -
max(U1, U2) can exceed the synergy.

upper: the entropy of a coupling that a greedy algorithm finds is at or above the least, which would make this end too
low.  The distribution that both marginals majorise is below the least (Cicalese et al., "Minimum-Entropy Couplings and
their Applications", arXiv:1901.07530): H_min is the greatest over the pair with the target, a source with the other
and the target, and couplings of two given the third, which use what the labels say.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..bootstrap import Interval, resamples
from ._samples import codes, same_length
from ._union import GAP, ROUGH, mutual_information, union_information

Array = NDArray[Any]
ROUNDS = 300
_LEFT = 1e-9


@dataclass(frozen=True)
class Bounds:
    """Bits of synergy.  interval: holds the synergy, not just its bounds, at the level asked for; None if nothing was
    drawn."""

    lower: float
    upper: float
    disagreement: float
    interval: Interval | None = None

    def account(self) -> dict[str, Any]:
        """As plain data."""
        return {**asdict(self), "interval": list(self.interval) if self.interval else None}


def interaction_bounds(
    first: tuple[Array, Array],
    second: tuple[Array, Array],
    pairs: tuple[Array, Array],
    *,
    seed: int = 0,
    draws: int = 200,
    level: float = 0.95,
) -> Bounds:
    """Of three samples: first: values and target [N1]; second: likewise [N2]; pairs: values of both [N3].

    The samples may share rows or not.  Where their tables disagree (about p(y), say) they are replaced by those of the
    distribution that iterative scaling ends with.  The rows of each are resampled by themselves; estimates and the
    interval are made of that as in `partial_information`.
    ValueError on absent values, lengths that differ, or fewer than 2 rows.
    """
    sizes = [same_length(values=one, others=other) for one, other in (first, second, pairs)]
    one = np.split(codes("first", np.concatenate([first[0], pairs[0]])), sizes[:1])
    two = np.split(codes("second", np.concatenate([second[0], pairs[1]])), sizes[1:2])
    y = np.split(codes("target", np.concatenate([first[1], second[1]])), sizes[:1])
    shape = max(map(np.max, one)) + 1, max(map(np.max, two)) + 1, max(map(np.max, y)) + 1

    def ends(rows: tuple[Array, ...], gap: float) -> tuple[float, float, float]:
        tables = (
            _counts(one[0][rows[0]], y[0][rows[0]], (shape[0], shape[2])),
            _counts(two[0][rows[1]], y[1][rows[1]], (shape[1], shape[2])),
            _counts(one[1][rows[2]], two[1][rows[2]], shape[:2]),
        )
        q, _ = most_entropic(*tables, rounds=ROUNDS // 3)
        return _ends(q.sum(1), q.sum(0), q.sum(2), _entropy(q), gap)

    found = np.array(ends(tuple(map(np.arange, sizes)), GAP))
    if not draws:
        return Bounds(*found.tolist())
    many = zip(*(resamples(size, draws, seed=3 * seed + place) for place, size in enumerate(sizes)), strict=True)
    drawn = np.array([ends(rows, ROUGH) for rows in many])
    lower, upper, disagreement = np.maximum(0, 2 * found - drawn.mean(0)).tolist()
    tails = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0)
    low = min(lower, tails[0, 0], 2 * found[0] - tails[1, 0])
    high = max(lower, upper, tails[1, 1], 2 * found[1] - tails[0, 1])
    # No target has more than the logarithm of its values.
    most = float(np.log2(shape[2]))
    return Bounds(lower, min(max(lower, upper), most), disagreement, (max(0.0, float(low)), min(float(high), most)))


def known_bounds(first: Array, second: Array, pairs: Array) -> Bounds:
    """Of known distributions: p(x1, y) [A, C], p(x2, y) [B, C], p(x1, x2) [A, B].

    ValueError if they are none, or disagree about p(x1), p(x2) or p(y).
    """
    first, second, pairs = (_distribution(p) for p in (first, second, pairs))
    for one, two, what in (
        (first.sum(0), second.sum(0), "y"),
        (first.sum(1), pairs.sum(1), "x1"),
        (second.sum(1), pairs.sum(0), "x2"),
    ):
        if one.shape != two.shape or np.abs(one - two).max() > 1e-6:
            raise ValueError(
                f"two of the tables disagree about p({what}); tables of samples are for interaction_bounds"
            )
    return Bounds(*_ends(first, second, pairs, most_entropic(first, second, pairs)[1], GAP))


def most_entropic(first: Array, second: Array, pairs: Array, rounds: int = ROUNDS) -> tuple[Array, float]:
    """The distribution [A, B, C] of most entropy with these three tables, and a bound on that entropy, in bits.

    Iterative scaling (Deming & Stephan, 1940).  No p with these tables has more entropy than the bound, also if
    `rounds` are not enough, which happens where zeros follow from the tables together.  Of tables that no distribution
    has, the first is close to all of them, and the second means nothing.
    """
    tables = [(table / table.sum(), axis) for table, axis in ((first, 1), (second, 0), (pairs, 2))]
    q = np.where((first > 0)[:, None] & (second > 0)[None] & (pairs > 0)[..., None], 1.0, 0.0)
    q /= q.sum()
    bound = -np.log2(q.max())
    for _ in range(rounds):
        left = 0.0
        for table, axis in tables:
            now = q.sum(axis)
            left += np.abs(now - table).sum()
            by = np.divide(table, now, out=np.zeros_like(table), where=now > 0)
            q = q * np.expand_dims(by, axis)
            bound -= float(table[by > 0] @ np.log2(by[by > 0]))
        if left < _LEFT:
            break
    return q / q.sum(), bound + float(np.log2(q.sum()))


def least_entropy(p: Array, q: Array) -> float:
    """Bits that no coupling of p [A] and q [B] can go below: the entropy of what both majorise, [max(A, B)].

    Its k greatest sum to the lesser of what the k greatest of p and of q sum to.
    """
    size = max(len(p), len(q))
    sums = [np.cumsum(np.pad(np.sort(part)[::-1], (0, size - len(part)))) for part in (p, q)]
    return _entropy(np.diff(np.minimum(*sums), prepend=0.0))


def _ends(first: Array, second: Array, pairs: Array, most: float, gap: float) -> tuple[float, float, float]:
    """-> lower, upper, disagreement; most: the most entropy of a distribution with these tables."""
    union = union_information(first, second, gap)
    unique = 2 * union - mutual_information(first) - mutual_information(second)
    ends = first.sum(1), second.sum(1), first.sum(0)
    least = max(
        least_entropy(pairs.ravel(), ends[2]),
        least_entropy(first.ravel(), ends[1]),
        least_entropy(second.ravel(), ends[0]),
        _entropy(ends[0]) + _given(pairs, first),
        _entropy(ends[1]) + _given(pairs.T, second),
        _entropy(ends[2]) + _given(first.T, second.T),
    )
    known = _entropy(pairs) + _entropy(ends[2]) - union
    one, two = (np.sqrt(_conditional(p)) for p in (first, second))
    overlap = one @ two.T
    there = pairs > 0
    disagreement = float(-pairs[there] @ np.log2(overlap[there])) - unique / 2
    lower = max(0.0, known - most)
    return float(lower), float(max(lower, known - least)), max(0.0, disagreement)


def _given(one: Array, two: Array) -> float:
    """A bound on the entropy of two variables given a third; one, two: p(third, it) [K, A] and [K, B]."""
    return sum(
        m * least_entropy(p, q) for m, p, q in zip(one.sum(1), _conditional(one), _conditional(two), strict=True)
    )


def _conditional(joint: Array) -> Array:
    total = joint.sum(1, keepdims=True)
    return np.divide(joint, total, out=np.zeros_like(joint), where=total > 0)


def _entropy(p: Array) -> float:
    p = p[p > 0]
    return float(-p @ np.log2(p))


def _distribution(p: Array) -> Array:
    p = np.asarray(p, np.float64)
    if p.ndim != 2 or not np.isfinite(p).all() or (p < 0).any() or p.sum() <= 0:
        raise ValueError(f"expected a table of probabilities, finite, >= 0 and not all 0; found shape {p.shape}")
    return p / p.sum()


def _counts(one: Array, two: Array, shape: tuple[int, int]) -> Array:
    return np.bincount(one * shape[1] + two, minlength=shape[0] * shape[1]).reshape(shape).astype(np.float64)

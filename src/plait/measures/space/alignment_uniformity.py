"""Whether pairs lie close together, and whether each modality uses the whole sphere.

Of unit vectors:

    alignment  = mean_i |a_i - b_i|^2                                0: pairs coincide, 2: they are as good as strangers
    uniformity = log mean(i != j) exp(-t |x_i - x_j|^2)              nats; 0: all in one point

The lower the better, both.  No distribution on the sphere has a lower uniformity than the uniform one, whose value is
`uniform_value`: with t = 2 it is -1.6 in two dimensions, and it tends to -4 in many.  A row does not meet itself: the
diagonal would draw the value of few rows in many dimensions to 0.  A sample's value may therefore lie a bit below that
of the uniform distribution.  The kernel is made in blocks: memory grows with N, time with N^2.

Source: Wang & Isola, arXiv:2005.10242.   Relatives: modality_gap, effective_rank.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import hyp0f1

from ..bootstrap import Interval, codes, many_intervals, mean_interval
from ..estimate import Accounted
from ._rows import Array, Floats, checked, paired, unit

_BLOCK = 4_000_000


@dataclass(frozen=True, eq=False)
class AlignmentUniformity(Accounted):
    """uniform: the least uniformity that there is in this many dimensions.  intervals: by name."""

    alignment: float
    uniformity_a: float
    uniformity_b: float
    uniform: float
    rows: int
    intervals: dict[str, Interval]


def alignment_uniformity(
    a: ArrayLike,
    b: ArrayLike,
    *,
    t: float = 2.0,
    groups: ArrayLike | None = None,
    seed: int = 0,
    draws: int = 200,
    level: float = 0.95,
) -> AlignmentUniformity:
    """a, b: [N, D], pairs, of any length but zero.  groups: [N], rows that belong together and do not meet.

    Intervals resample pairs, or groups of them; a row that is drawn twice does not meet itself.
    ValueError on NaN, zero vectors, unequal shapes, fewer than 2 groups, or t that is not positive.
    """
    first, second = (unit(x, name) for x, name in zip(paired(a, b, 2, widths=True), "ab", strict=True))
    code = _groups(groups, len(first))

    def both(times: Array) -> dict[str, Array]:
        return {f"uniformity_{n}": _uniformity(x, code, times, t) for n, x in (("a", first), ("b", second))}

    apart = np.sum((first - second) ** 2, 1)
    found = many_intervals(both, len(first), groups=code, seed=seed, draws=draws, level=level)
    found["alignment"] = mean_interval(apart, groups=code, seed=seed, draws=draws, level=level, exact=False)
    values = {name: float(value[0]) for name, value in both(np.ones((1, len(first)))).items()}
    return AlignmentUniformity(
        alignment=float(apart.mean()),
        **values,
        uniform=uniform_value(first.shape[1], t),
        rows=len(first),
        intervals=found,
    )


def alignment(a: ArrayLike, b: ArrayLike, *, power: float = 2.0) -> float:
    """a, b: [N, D], pairs, of any length but zero.  -> mean distance of their unit vectors, to the power."""
    first, second = (unit(x, name) for x, name in zip(paired(a, b, widths=True), "ab", strict=True))
    return float(np.mean(np.linalg.norm(first - second, axis=1) ** power))


def uniformity(vectors: ArrayLike, *, t: float = 2.0, groups: ArrayLike | None = None) -> float:
    """vectors [N, D] of any length but zero.  -> nats, at most 0.  Rows of one group do not meet."""
    rows = unit(checked(vectors, "vectors", 2), "vectors")
    code = _groups(groups, len(rows))
    return float(_uniformity(rows, code, np.ones((1, len(rows))), t)[0])


def uniform_value(width: int, t: float = 2.0) -> float:
    """Uniformity of the uniform distribution on the sphere in `width` dimensions: log 0F1(width / 2; t^2) - 2 t.

    In 2 dimensions log I_0(2t) - 2t; in 3 log(sinh(2t) / 2t) - 2t.
    """
    return float(np.log(hyp0f1(width / 2, t**2)) - 2 * t)


def _groups(groups: ArrayLike | None, size: int) -> Array:
    code, count = codes(groups, size)
    if count < 2:
        raise ValueError("uniformity needs rows of at least 2 groups, found 1")
    return code


def _uniformity(rows: Floats, code: Array, times: Array, t: float) -> Array:
    """times: [d, N], how often each row is there.  -> [d]; NaN where only one group is."""
    if not t > 0:
        raise ValueError(f"expected t > 0, found {t}")
    weight = times.astype(np.float64)
    together = np.zeros((int(code.max()) + 1, len(weight)))
    np.add.at(together, code, weight.T)
    meetings = weight.sum(1) ** 2 - np.sum(together**2, 0)
    meetings[meetings <= 0] = np.nan
    potential = np.zeros(len(weight))
    step = max(1, _BLOCK // len(rows))
    for start in range(0, len(rows), step):
        block, rest = slice(start, start + step), slice(start, None)
        kernel = np.exp(2 * t * (rows[block] @ rows[rest].T - 1))
        kernel[code[block, None] == code[rest]] = 0
        # Pairs with later blocks are met here only, those within the block from both sides.
        kernel[:, :step] /= 2
        potential += 2 * np.sum((weight[:, rest] @ kernel.T) * weight[:, block], 1)
    return np.log(potential / meetings)

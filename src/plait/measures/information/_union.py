"""The least that two sources can say together about a target, given what each says about it alone.

    union = min over q of I_q(X1, X2; Y),   q(x1, y) = p(x1, y) and q(x2, y) = p(x2, y)

a convex programme (Bertschinger et al., "Quantifying Unique Information", arXiv:1311.2839).  On the boundary, where
solutions often lie, its objective has no gradient (Makkeh et al., "Bivariate Partial Information Decomposition: The
Optimization Perspective", Entropy 2017), so its dual is solved, whose functions are smooth everywhere:

    union = H(Y) + max over u, v of sum p(x1, y) u(x1, y) + sum p(x2, y) v(x2, y),
                   log sum_y exp(u(x1, y) + v(x2, y)) <= 0 for all x1, x2

The multiplier of a constraint is q(x1, x2).  A primal-dual interior point method (Boyd & Vandenberghe, "Convex
Optimization", 11.7) keeps u, v strictly feasible, so any step bounds the union from below, and ends on the duality gap.
A step solves (A + B) C equations, at most `MOST`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.special import logsumexp

Array = NDArray[Any]

GAP = 1e-8
"""Nats between what is found and the optimum, at most."""
ROUGH = 1e-5
"""The same, where it is one of many resamples."""
STEPS = 200
MOST = 6000
_NEAR = 0.01
"""The least that a product of a slack and its multiplier may be, as a part of their mean.  Without it, one slack that
is nearly used up makes all further steps tiny."""
_AIMS = (0.1, 0.5)
"""The products that a step aims at, as parts of their mean: the first, and if `STEPS` steps do not suffice, the next.
Where constraints bend much near the boundary, all steps that aim far ahead are cut short."""
_DUST = 1e-10
"""Smaller probabilities change nothing that counts, and spoil the equations."""


def mutual_information(joint: Array) -> float:
    """I(X; Y) in bits of p(x, y) [A, C], or of counts."""
    joint = joint / joint.sum()
    there = joint > 0
    independent = np.outer(joint.sum(1), joint.sum(0))
    return max(0.0, float(joint[there] @ np.log2(joint[there] / independent[there])))


def union_information(first: Array, second: Array, gap: float = GAP) -> float:
    """Bits.  first: p(x1, y) [A, C]; second: p(x2, y) [B, C], with the same p(y).  At most `gap` nats too low.

    ValueError if the p(y) differ or there are too many equations; ArithmeticError if it was not found.
    """
    first, second = first / first.sum(), second / second.sum()
    if first.shape[1] != second.shape[1] or np.abs(first.sum(0) - second.sum(0)).max() > 1e-7:
        raise ValueError("p(x1, y) and p(x2, y) disagree about p(y): both have to be of the same rows")
    target = first.sum(0)
    said = target > _DUST * (len(first) + len(second))
    first, second = (_merged(joint[:, said], target[said]) for joint in (first, second))
    if 1 in (len(first), len(second), said.sum()):
        return max(mutual_information(first), mutual_information(second))
    if (size := first.size + second.size) > MOST:
        raise ValueError(f"{size} values of a source with a target are too many, at most {MOST}: merge rare values")
    for aim in _AIMS:
        value, left = _dual(first, second, gap, aim)
        if left < gap:
            return float(value - target[said] @ np.log(target[said])) / np.log(2)
    raise ArithmeticError(f"the union information was not found to {gap:g} nats: it may be {left:g} off")


def _merged(joint: Array, target: Array) -> Array:
    """Without dust, and values that say the same about the target are one."""
    joint = np.where(joint > _DUST, joint, 0.0)
    joint = (joint * target / joint.sum(0))[joint.any(1)]
    _, member = np.unique(np.round(joint / joint.sum(1, keepdims=True), 12), axis=0, return_inverse=True)
    merged = np.zeros((member.max() + 1, joint.shape[1]))
    np.add.at(merged, member.ravel(), joint)
    return merged


def _dual(first: Array, second: Array, wanted_gap: float, centre: float) -> tuple[float, float]:
    """-> the greatest value of the dual that was reached, and how far from the optimum it may be, both in nats.

    Every row and column has mass.  centre: of `_AIMS`.
    """
    u, v = _logs(first / first.sum(1, keepdims=True)) / 2, _logs(second / second.sum(1, keepdims=True)) / 2 - 0.25
    there = np.asarray(np.isfinite(u[:, None] + v[None]).any(2))
    free, wanted = _free(first, second), np.concatenate([first.ravel(), second.ravel()])
    slack, share = _constraints(u, v, there)
    mass = np.where(there, 1 / slack, 0.0)
    mass /= mass.sum()
    for _ in range(STEPS):
        gap = float(np.sum((mass * slack)[there]))
        left = np.abs(_sums(mass[..., None] * share) - wanted).sum()
        if max(gap, left) < wanted_gap / 2:
            break
        aim = np.where(there, centre * gap / there.sum() / slack, 0.0)
        step = np.zeros(len(wanted))
        step[free] = _solve(
            _matrix(mass, slack, share)[np.ix_(free, free)], (wanted - _sums(aim[..., None] * share))[free]
        )
        du, dv = step[: first.size].reshape(first.shape), step[first.size :].reshape(second.shape)
        along = np.einsum("ijc,ijc->ij", share, du[:, None] + dv[None])
        dmass = aim + mass * along / slack - mass
        length = 0.99 * min(1.0, float(np.min(-mass[dmass < 0] / dmass[dmass < 0], initial=np.inf)))
        for _ in range(60):
            slack, share = _constraints(u + length * du, v + length * dv, there)
            product = ((mass + length * dmass) * slack)[there]
            if (slack > 0).all() and product.min() > _NEAR * product.mean() and product.sum() < 2 * gap:
                break
            length /= 2
        else:
            break
        u, v, mass = u + length * du, v + length * dv, mass + length * dmass
    return _value(first, u) + _value(second, v), 2 * max(gap, left)


def _constraints(u: Array, v: Array, there: Array) -> tuple[Array, Array]:
    """-> slack [A, B], how far each constraint is from being tight; share [A, B, C], its gradient: q(y | x1, x2).

    there: [A, B], whether some y is possible with both; where none is, the slack is 1 and the share 0.
    """
    sums = u[:, None] + v[None]
    level = np.where(there, logsumexp(sums, axis=2), -1.0)
    return -level, np.where(there[..., None], np.exp(sums - level[..., None]), 0.0)


def _sums(joint: Array) -> Array:
    return np.concatenate([joint.sum(1).ravel(), joint.sum(0).ravel()])


def _matrix(mass: Array, slack: Array, share: Array) -> Array:
    """[(A + B) C, (A + B) C]: the curvature of the constraints, and how hard each of them pushes back."""
    a, b, c = share.shape
    joint = mass[..., None] * share
    outer = np.einsum("ij,ijc,ijd->ijcd", mass / slack - mass, share, share)
    outer[:, :, range(c), range(c)] += joint
    full = np.zeros((a + b, c, a + b, c))
    full[range(a), :, range(a)] = outer.sum(1)
    full[range(a, a + b), :, range(a, a + b)] = outer.sum(0)
    full[:a, :, a:] = outer.transpose(0, 2, 1, 3)
    full[a:, :, :a] = outer.transpose(1, 3, 0, 2)
    return full.reshape((a + b) * c, (a + b) * c)


def _solve(matrix: Array, wanted: Array) -> Array:
    scale = 1 / np.sqrt(np.diag(matrix))
    matrix = matrix * scale[:, None] * scale
    ridge = 1e-15
    while ridge < 1e-6:
        try:
            factor = cho_factor(matrix + ridge * np.eye(len(matrix)))
        except LinAlgError:
            ridge *= 10
            continue
        found = cho_solve(factor, scale * wanted)
        found += cho_solve(factor, scale * wanted - matrix @ found)
        return scale * found
    raise ArithmeticError("the steps towards the union information are not defined")


def _free(first: Array, second: Array) -> Array:
    """Which u, v move: those of cells with mass, but one v for each y, since u + 1, v - 1 is the same."""
    held = np.zeros(second.shape, bool)
    held[second.argmax(0), np.arange(second.shape[1])] = True
    return np.concatenate([(first > 0).ravel(), ((second > 0) & ~held).ravel()])


def _logs(p: Array) -> Array:
    with np.errstate(divide="ignore"):
        return np.log(p)


def _value(p: Array, u: Array) -> float:
    return float(np.sum(p[p > 0] * u[p > 0]))

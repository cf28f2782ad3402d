"""Little's test of whether numbers are missing completely at random.

    d2 = sum over patterns p of  n_p (mean_p - mu_p)' Sigma_p^-1 (mean_p - mu_p),      df = sum_p F_p - F

mean_p: of the F_p columns that rows of pattern p have; mu, Sigma: of the normal distribution that fits all there is
(maximum likelihood, by EM).  Rows without any number are left out.  Where cells are missing completely at random d2 is
chi-square, exactly so only in large tables; patterns of few rows and heavy tails make it reject too often.

It sees differences of means between patterns, no others, and only numbers.  A small p rules out completely at random; a
large one proves nothing, and what depends on the missing number itself it cannot see at all.

Source: Little, "A test of missing completely at random for multivariate data with missing values", JASA 1988.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtrc

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class LittlesTest:
    """statistic: d2.  patterns: how many.  mean [F], covariance [F, F]: the maximum likelihood estimates."""

    statistic: float
    df: int
    p: float
    patterns: int
    mean: Array
    covariance: Array


def littles_test(table: Array) -> LittlesTest:
    """table: [N, F], NaN where missing.  p is 1 where there is one pattern only.

    ValueError on fewer than two columns, infinite numbers, more columns than rows, or columns that are sums of others.
    """
    numbers = np.asarray(table, np.float64)
    if numbers.ndim != 2 or numbers.shape[1] < 2 or np.isinf(numbers).any():
        raise ValueError(f"expected a table [N, F] of 2 columns or more, finite or NaN, found {numbers.shape}")
    numbers = numbers[~np.isnan(numbers).all(1)]
    if len(numbers) <= numbers.shape[1] or np.isnan(numbers).all(0).any():
        raise ValueError(f"expected more rows with numbers than columns, and numbers in each, found {numbers.shape}")
    parts = [numbers[:, have][rows] for have, rows in _patterns(numbers)]
    mean, covariance = normal_fit(numbers)
    statistic, df = 0.0, -numbers.shape[1]
    for part, (have, _) in zip(parts, _patterns(numbers), strict=True):
        off = part.mean(0) - mean[have]
        statistic += len(part) * float(off @ np.linalg.solve(covariance[np.ix_(have, have)], off))
        df += int(have.sum())
    return LittlesTest(statistic, df, float(chdtrc(df, statistic)) if df else 1.0, len(parts), mean, covariance)


def normal_fit(table: Array, *, tolerance: float = 1e-9, steps: int = 5000) -> tuple[Array, Array]:
    """Mean [F] and covariance [F, F] of the normal distribution that fits best what there is of [N, F], NaN missing.

    ValueError if the covariance is singular, or does not settle.
    """
    scale, centre = np.nanstd(table, 0), np.nanmean(table, 0)
    if not (scale > 0).all():
        raise ValueError(f"columns {np.flatnonzero(~(scale > 0)).tolist()} do not vary: leave them out")
    z = (table - centre) / scale
    mean, covariance = np.zeros(z.shape[1]), np.eye(z.shape[1])
    patterns = list(_patterns(z))
    for _ in range(steps):
        total, square = np.zeros_like(mean), np.zeros_like(covariance)
        for have, rows in patterns:
            filled, left = _expected(z[rows], have, mean, covariance)
            total += filled.sum(0)
            square += filled.T @ filled + len(filled) * left
        before = np.concatenate([mean, covariance.ravel()])
        mean = total / len(z)
        covariance = square / len(z) - np.outer(mean, mean)
        if np.linalg.eigvalsh(covariance)[0] < 1e-10:
            raise ValueError("a column is a sum of others where both are known: leave one of them out")
        if np.abs(np.concatenate([mean, covariance.ravel()]) - before).max() < tolerance:
            return centre + scale * mean, covariance * np.outer(scale, scale)
    raise ValueError(f"the covariance did not settle in {steps} steps: too few rows have pairs of columns together")


def _expected(rows: Array, have: Array, mean: Array, covariance: Array) -> tuple[Array, Array]:
    """Rows [n, F] with the missing at their expectation, and the covariance [F, F] that they have left."""
    slope = np.linalg.solve(covariance[np.ix_(have, have)], covariance[have][:, ~have])
    filled = rows.copy()
    filled[:, ~have] = mean[~have] + (rows[:, have] - mean[have]) @ slope
    left = np.zeros_like(covariance)
    left[np.ix_(~have, ~have)] = covariance[np.ix_(~have, ~have)] - covariance[~have][:, have] @ slope
    return filled, left


def _patterns(table: Array) -> list[tuple[Array, Array]]:
    """(which columns [F] bool, which rows [N] bool) of every pattern."""
    found, code = np.unique(~np.isnan(table), axis=0, return_inverse=True)
    return [(have, code.ravel() == k) for k, have in enumerate(found)]

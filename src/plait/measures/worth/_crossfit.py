"""Logistic regression, each row judged by a fit without its fold, of many labellings or resamples at once.

    min over b of  - sum_i t_i (y_i x_i b - log(1 + e^{x_i b})) + penalty / 2 |b|^2     (no penalty on the intercept)

by Newton steps that are halved until the loss falls.  Columns are standardised, so that one penalty fits all of them;
it keeps coefficients finite where a feature tells exactly who has a cell.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

Array = NDArray[Any]
_BLOCK = 4_000_000
_INTERCEPT = 1e-8
"""Penalty on the intercept: only to keep it finite where all labels are equal."""


def folds(size: int, count: int, *, groups: Array | None = None, seed: int = 0) -> Array:
    """[N] in 0 .. count - 1, about equally many rows each, groups whole.  ValueError on fewer groups than folds."""
    code = np.arange(size) if groups is None else np.unique(groups, return_inverse=True)[1]
    if len(code) != size:
        raise ValueError(f"expected a group for each of the {size} rows, found {len(code)}")
    rows = np.bincount(code)
    if not 2 <= count <= len(rows):
        raise ValueError(
            f"expected 2 folds or more and as many groups of rows, found {count} folds, {len(rows)} groups"
        )
    shuffled = np.random.default_rng(seed).permutation(len(rows))
    home, held = np.empty(len(rows), np.int64), np.zeros(count, np.int64)
    for group in shuffled[np.argsort(-rows[shuffled], kind="stable")]:
        home[group] = held.argmin()
        held[home[group]] += rows[group]
    return home[code]


def standard(features: Array, rows: int) -> Array:
    """[N, F'] of mean 0 and variance 1, without constant columns.  ValueError unless [N] or [N, F], finite."""
    table = np.asarray(features, np.float64)
    table = table[:, None] if table.ndim == 1 else table
    if table.ndim != 2 or len(table) != rows or not np.isfinite(table).all():
        bad = int((~np.isfinite(table)).sum())
        raise ValueError(
            f"expected features [{rows}, F], finite, found {table.shape} with {bad} that are not: give what is known "
            "of every row; leave a column out that is not, or put in whether it is known"
        )
    spread = table.std(0)
    keep = spread > 1e-12 * (1 + np.abs(table).max(0, initial=0))
    return (table[:, keep] - table[:, keep].mean(0)) / spread[keep]


def cross_fitted(x: Array, y: Array, fold: Array, times: Array | None = None, penalty: float = 1.0) -> Array:
    """[B, N] chance that y is 1, by the fit on the other folds.

    x: [N, F]; y: [B, N] or [1, N], of 0 and 1; times: [B, N], how often each row counts.  Without columns it is the
    share of all rows, not of the other folds.
    """
    times = np.ones((1, len(x))) if times is None else times
    size = np.broadcast_shapes(y.shape, times.shape)
    if not x.shape[1]:
        return np.broadcast_to(((y * times).sum(1) / times.sum(1))[:, None], size)
    found = np.empty(size)
    for k in np.unique(fold):
        inside, rest = fold == k, fold != k
        found[:, inside] = expit(_linear(logistic(x[rest], y[:, rest], times[:, rest], penalty), x[inside]))
    return found


def logistic(x: Array, y: Array, times: Array, penalty: float = 1.0) -> Array:
    """[B, 1 + F] intercepts and coefficients; x: [N, F], y and times: [B, N] or [1, N]."""
    y, times = np.broadcast_arrays(y, times)
    step = max(1, _BLOCK // max(1, x.size))
    parts = [_newton(x, y[i : i + step], times[i : i + step], penalty) for i in range(0, len(y), step)]
    return np.concatenate(parts)


def _newton(x: Array, y: Array, times: Array, penalty: float) -> Array:
    design = np.column_stack([np.ones(len(x)), x])
    ridge = np.array([_INTERCEPT, *np.full(x.shape[1], penalty)])
    beta = np.zeros((len(y), design.shape[1]))

    def loss(b: Array) -> Array:
        eta = b @ design.T
        return np.sum(times * (np.logaddexp(0, eta) - y * eta), 1) + np.sum(ridge * b**2, 1) / 2

    now = loss(beta)
    for _ in range(50):
        p = expit(beta @ design.T)
        slope = (times * (y - p)) @ design - ridge * beta
        if np.abs(slope).max() < 1e-7:
            break
        curve = (design.T * (times * p * (1 - p))[:, None]) @ design + np.diag(ridge)
        step = np.linalg.solve(curve, slope[..., None])[..., 0]
        after = loss(beta + step)
        for _ in range(30):
            worse = after > now + 1e-12 * np.abs(now)
            if not worse.any():
                break
            step[worse] /= 2
            after = loss(beta + step)
        beta, now = beta + step, after
    return beta


def _linear(beta: Array, x: Array) -> Array:
    return beta[:, :1] + beta[:, 1:] @ x.T

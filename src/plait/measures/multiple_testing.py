"""Many tests at once."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

Correction = Literal["fdr", "holm", "none"]


def adjusted(p: ArrayLike, correction: Correction) -> Floats:
    """[T] p-values -> [T] such that rejecting what is at most alpha keeps alpha over all T.

    fdr: the expected share of false ones among the rejected (Benjamini & Hochberg, JRSS B 1995).  holm: the chance of
    any false one (Holm, Scandinavian Journal of Statistics 1979).  none: the chance of each.
    """
    values = np.asarray(p, np.float64)
    if correction == "fdr":
        from scipy.stats import false_discovery_control

        return np.asarray(false_discovery_control(values), np.float64)
    if correction == "holm":
        # The k-th smallest of K becomes the largest of (K - j + 1) p_j over j <= k.
        order = np.argsort(values)
        stepped = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
        out = np.empty_like(values)
        out[order] = np.minimum(stepped, 1)
        return out
    if correction == "none":
        return values
    raise ValueError(f"correction: expected fdr, holm or none, found {correction!r}")

"""Tokens that are sums of a few concepts."""

import numpy as np


def planted(rows=200, width=12, seed=0):
    """Each row is a sum of one or two of five directions that are not orthogonal."""
    rng = np.random.default_rng(seed)
    atoms = rng.normal(size=(5, width)) + 0.5
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    there = rng.random((rows, 5)) < 0.15
    there[np.arange(rows), rng.integers(0, 5, rows)] = True
    code = there * rng.uniform(1, 3, (rows, 5))
    return code @ atoms + 0.02 * rng.normal(size=(rows, width)), atoms, there

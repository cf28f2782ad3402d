"""Concepts of a multimodal model: directions of which each token representation is a sum, never a difference.

    min 1/2 |X - V U|^2 + sparsity |V|_1,     V >= 0,  |u_k| <= 1

X [N, D]: representations of a token, divided by their mean length; U [K, D]: atoms, the concepts; V [N, K]: their
activations.  What a concept stands for, `concept_grounding` says.

The minimum is a local one.  Started from a smaller dictionary the objective never rises with more atoms, since the new
ones begin unused.
Source: Parekh et al., "A Concept-Based Explainability Framework for Large Multimodal Models", arXiv:2406.08074.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ..estimate import Accounted
from ._rows import Floats, checked


@dataclass(frozen=True, eq=False)
class ConceptDictionary(Accounted):
    """atoms [K, D], activations [N, K] of the rows that it was made from, scale: what rows are divided by.

    objective: the minimum, over its value with no atoms; error: |X - V U|^2 / |X|^2.
    """

    atoms: Floats
    activations: Floats
    scale: float
    sparsity: float
    objective: float
    error: float

    def encode(self, tokens: ArrayLike) -> Floats:
        """[M, D] other representations -> [M, K] activations."""
        return encode(checked(tokens, "tokens") / self.scale, self.atoms, self.sparsity)


def concept_dictionary(
    tokens: ArrayLike,
    concepts: int,
    *,
    sparsity: float = 0.05,
    start: ConceptDictionary | None = None,
    steps: int = 200,
    seed: int = 0,
) -> ConceptDictionary:
    """tokens [N, D].  start: a smaller dictionary of the same tokens with the same sparsity, to go on from.

    ValueError on NaN, tokens that are all 0, fewer rows than concepts, or a start that does not fit.
    """
    from sklearn.decomposition import dict_learning
    from sklearn.exceptions import ConvergenceWarning

    rows = checked(tokens, "tokens")
    scale = float(np.linalg.norm(rows, axis=1).mean())
    if not scale or not 1 <= concepts <= len(rows) or sparsity <= 0:
        raise ValueError(
            f"expected tokens that are not all 0, 1 to {len(rows)} concepts and sparsity > 0; found a mean length of "
            f"{scale}, {concepts} concepts, sparsity {sparsity}"
        )
    rows = rows / scale
    atoms, code = np.zeros((0, rows.shape[1])), np.zeros((len(rows), 0))
    if start is not None:
        atoms, code = start.atoms, start.activations
        fits = (len(code), atoms.shape[1], start.sparsity) == (*rows.shape, sparsity) and len(atoms) <= concepts
        if not fits or start.scale != scale:
            raise ValueError(
                f"start: expected at most {concepts} atoms of these {len(rows)} rows of width {rows.shape[1]}, with "
                f"sparsity {sparsity}; found {atoms.shape} of {len(code)} rows of mean length {start.scale}, with "
                f"{start.sparsity}"
            )
    fresh = _fresh(rows - code @ atoms, concepts - len(atoms), seed)
    atoms, code = np.concatenate([atoms, fresh]), np.pad(code, ((0, 0), (0, len(fresh))))
    with warnings.catch_warnings():
        # A step on the way need not be solved exactly; activations are, below.
        warnings.simplefilter("ignore", ConvergenceWarning)
        _, atoms, _ = dict_learning(
            rows,
            concepts,
            alpha=sparsity,
            max_iter=steps,
            method="cd",
            dict_init=atoms,
            code_init=code,
            positive_code=True,
            random_state=seed,
        )
    code = encode(rows, atoms, sparsity)
    left = np.sum((rows - code @ atoms) ** 2)
    whole = np.sum(rows**2)
    return ConceptDictionary(
        atoms=atoms,
        activations=code,
        scale=scale,
        sparsity=sparsity,
        objective=float((left + 2 * sparsity * np.abs(code).sum()) / whole),
        error=float(left / whole),
    )


def encode(tokens: Floats, atoms: Floats, sparsity: float) -> Floats:
    """Non-negative activations [N, K] of any atoms [K, D], also ones that are not learned."""
    from sklearn.decomposition import sparse_encode

    code = sparse_encode(tokens, atoms, algorithm="lasso_cd", alpha=sparsity, positive=True, max_iter=100_000)
    return np.asarray(code, np.float64)


def _fresh(left: Floats, count: int, seed: int) -> Floats:
    """Directions of `count` rows of what is not explained yet, far apart from each other (k-means++)."""
    from sklearn.cluster import kmeans_plusplus

    if not count:
        return np.zeros((0, left.shape[1]))
    chosen, _ = kmeans_plusplus(left, count, random_state=seed)
    length = np.linalg.norm(chosen, axis=1, keepdims=True)
    return np.asarray(chosen / np.where(length > 0, length, 1), np.float64)

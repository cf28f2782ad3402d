"""What two continuous representations say about a class: both alike, one alone, or only both together.

    p(y | x1), p(y | x2), p(y | x1, x2)    classifiers, each asked only of rows that it was not trained on
    t1, t2, t12                            their answers, each as one of a few cells (k-means of sqrt p)
    union         that of p(t1, y) and p(t2, y), as in `partial_information`
    I(X1, X2; Y)  that of p(t12, y);  I(Xi; Y) that of p(ti, y)

The union needs p(xi, y) alone and does not change if xi is replaced by p(y | xi), so that is what becomes cells.  A
cell need not be calibrated: what it says about y is counted on held-out rows.  Cells know no labels, so counts are
biased only as those of any table, which resampling sees and `partial_information` takes off.
Relatives: Liang et al., "Quantifying & Modeling Multimodal Interactions", arXiv:2302.12247, cluster the inputs (and
lose what clusters do not follow) or learn a coupling of batches by Sinkhorn scaling.

Limits.  What a classifier does not find, and what is lost within a cell, is missing: each I is a lower bound but for
sampling, and what only the classifier of both misses is missing from the synergy.  The interval knows the held-out
rows; it does not know the classifiers, which another sample would have trained otherwise.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._samples import checked_weights, codes, same_length, tabulate
from ._union import mutual_information
from .partial_information import PartialInformation, of_codes

Array = NDArray[Any]
NULL = 0.1
"""Bits that labels without any meaning may seem to have, in 95 of 100 permutations; above, the sample is too small."""
PERMUTATIONS = 200


@dataclass(frozen=True)
class InteractionEstimate(PartialInformation):
    """null: the 95 % quantile, in bits, of the plug-in I(t12; Y) under permuted labels."""

    null: float = float("nan")


def interaction_estimate(
    first: Array,
    second: Array,
    target: Array,
    *,
    weights: Array | None = None,
    groups: Array | None = None,
    classifier: Callable[[int], Any] | None = None,
    standardise: bool = True,
    cells: int | None = None,
    folds: int = 3,
    seed: int = 0,
    draws: int = 100,
    level: float = 0.95,
) -> InteractionEstimate:
    """first: [N, D1]; second: [N, D2]; target: classes [N].

    weights: [N], 1 / P(row is seen), for training and for counting.  groups: [N], rows that are held out and resampled
    together.  classifier: seed -> anything with fit(x, y, sample_weight=...) and predict_proba; None: `network`.
    standardise: give it columns of unit variance, else as they are.  cells: None: 16, or one and a half times the
    classes if that is more.
    ValueError on NaN or other lengths; on a class with fewer rows than folds; and if `null` exceeds `NULL`: then no
    answer is given, for it would mean nothing.
    """
    size = same_length(first=first, second=second, target=target)
    first, second, y = _finite("first", first), _finite("second", second), codes("target", target)
    weigh = checked_weights(weights, size)
    count = np.bincount(y)
    if len(count) < 2:
        raise ValueError("expected two classes or more, found one: nothing can be said about it")
    if count.min() < folds:
        raise ValueError(f"a class has {count.min()} rows, fewer than the {folds} folds: leave it out, or merge it")
    cells = max(16, 3 * len(count) // 2) if cells is None else cells
    # refused before anything is trained where even cells that know nothing would be too many
    _meaningful(permuted_null(np.arange(size) % cells, y, weigh, groups, seed), count)
    told = []
    for x in (first, second, np.concatenate([first, second], 1)):
        answers = held_out(x, y, weights, groups, classifier or network, folds, seed, standardise)
        told.append(quantised(answers, cells, seed))
    null = permuted_null(told[2], y, weigh, groups, seed)
    _meaningful(null, count)
    found = of_codes(told[0], told[1], told[2], y, weigh, groups=groups, seed=seed, draws=draws, level=level)
    return InteractionEstimate(**vars(found), null=null)


def network(seed: int) -> Any:
    """A small network with one hidden layer, on standardised inputs; stops on rows of the training part."""
    from sklearn.neural_network import MLPClassifier

    return MLPClassifier(
        (64,), learning_rate_init=3e-3, batch_size=128, early_stopping=True, n_iter_no_change=8, random_state=seed
    )


def penalised(seed: int) -> Any:
    """A small network that the size of its weights keeps from learning by heart, so it learns from all rows that it is
    given: better than `network` on a few hundred.

    The penalty makes it lean on wide columns: standardising principal components would widen those that are noise.
    """
    from sklearn.neural_network import MLPClassifier

    return MLPClassifier((32,), solver="lbfgs", alpha=5.0, max_iter=100, random_state=seed)


def held_out(
    x: Array,
    y: Array,
    weights: Array | None,
    groups: Array | None,
    classifier: Callable[[int], Any],
    folds: int,
    seed: int,
    standardise: bool = True,
) -> Array:
    """p(y | x) [N, C] of each row by a classifier that saw neither it nor its group.  y: 0 .. C - 1."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    split = (StratifiedKFold if groups is None else StratifiedGroupKFold)(folds, shuffle=True, random_state=seed)
    answers = np.zeros((len(y), y.max() + 1))
    for train, test in split.split(x, y, groups):
        mean, scale = x[train].mean(0), x[train].std(0) if standardise else np.ones(x.shape[1])
        scale = np.where(scale > 0, scale, 1.0)
        model = classifier(seed)
        kept = {} if weights is None else {"sample_weight": checked_weights(weights[train], len(train))}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit((x[train] - mean) / scale, y[train], **kept)
        answers[np.ix_(test, model.classes_)] = model.predict_proba((x[test] - mean) / scale)
    return answers


def quantised(answers: Array, cells: int, seed: int) -> Array:
    """Probabilities [N, C] -> which of at most `cells` cells [N]; distance is Hellinger's, as small ones count too."""
    from sklearn.cluster import KMeans

    roots = np.sqrt(np.clip(answers, 0, 1))
    different = len(np.unique(roots, axis=0))
    found = KMeans(min(cells, different), n_init=2, random_state=seed).fit_predict(roots)
    return np.unique(found, return_inverse=True)[1].ravel()


def permuted_null(told: Array, y: Array, weights: Array, groups: Array | None, seed: int) -> float:
    """The 95 % quantile of I(told; permuted y), bits.  With groups, a group gets the labels of another, again and again
    if that one is smaller."""
    rng = np.random.default_rng(seed)
    names = np.arange(len(y)) if groups is None else np.unique(groups, return_inverse=True)[1].ravel()
    order = np.argsort(names, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(names))[:-1])
    found = []
    for _ in range(PERMUTATIONS):
        if groups is None:
            other = y[rng.permutation(len(y))]
        else:
            other = np.empty_like(y)
            for own, place in zip(members, rng.permutation(len(members)), strict=True):
                other[own] = np.resize(y[members[place]], len(own))
        found.append(mutual_information(tabulate(told, other, weights)))
    return float(np.quantile(found, 0.95))


def _meaningful(null: float, count: Array) -> None:
    if null > NULL:
        raise ValueError(
            f"{count.sum()} rows are too few for {len(count)} classes: labels dealt at random would seem to have "
            f"{math.ceil(1000 * null) / 1000:.3f} bits, and at most {NULL} is let pass"
        )


def _finite(name: str, x: Array) -> Array:
    x = np.asarray(x, np.float64)
    if x.ndim != 2 or not np.isfinite(x).all():
        raise ValueError(f"expected finite vectors [N, D] in {name!r}, found shape {x.shape}; leave absent rows out")
    return x

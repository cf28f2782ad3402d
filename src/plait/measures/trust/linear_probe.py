"""What a linear model can read off features: whether they hold what is asked, in a form that is easy to use.

    p(y = c | x) = softmax(W x + b)_c,     min over W, b of  - sum_i log p(y_i | x_i) + |W|^2 / (2 C)
    y = w x + b,                           min over w, b of  sum_i (y_i - w x_i - b)^2 + |w|^2 / C
    risk = exp(w x),                       min over w of     - sum_i log(risk_i / sum over j of risk_j) + |w|^2 / (2 C)

of features brought to mean 0 and variance 1; the second for numbers (ridge regression), the third for times to an
event: Cox's partial likelihood, over the i whose event was seen and the j with t_j >= t_i.  C is the one of `STRENGTHS`
that gives held-out folds of the fitted rows the highest mean log-probability, the lowest mean absolute error, or the
highest C-index; rows that belong together are in one fold.  Sources: Alain & Bengio, "Understanding intermediate layers
using linear classifier probes", arXiv:1610.01644; Cox, J. R. Stat. Soc. B 1972.
Limits: features that were themselves trained on the fitted rows fit them better than new rows, so that too weak a
penalty may be chosen; compare with a probe of other features that were trained on the same rows.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import survival
from ..worth._crossfit import folds
from ._checked import codes, finite

Array = NDArray[Any]
STRENGTHS = (0.001, 0.01, 0.1, 1.0)
_FOLDS = 3


def linear_probe(
    features: Array, truth: Array, asked: Array, classes: int, *, groups: Array | None = None, seed: int = 0
) -> Array:
    """Probabilities [Q, C] of asked [Q, D], read by a classifier that was fitted to features [P, D] and codes [P].

    A class that no fitted row has gets 0.  ValueError for bad input, or rows of fewer than 3 groups.
    """
    features = finite(features, "features", None, None)
    asked = finite(asked, "asked", None, features.shape[1])
    truth = codes(truth, "truth", len(features), classes)
    fold = folds(len(features), _FOLDS, groups=groups, seed=seed)
    held = np.zeros(len(STRENGTHS))
    for k in range(_FOLDS):
        rest, inside = fold != k, fold == k
        for i, said in enumerate(_read(features[rest], truth[rest], features[inside], classes, STRENGTHS)):
            # A class that the other folds lack is as bad at every strength.
            held[i] += np.log(np.maximum(said[np.arange(inside.sum()), truth[inside]], 1e-12)).sum()
    return _read(features, truth, asked, classes, (STRENGTHS[int(held.argmax())],))[0]


def linear_readout(features: Array, truth: Array, asked: Array, *, groups: Array | None = None, seed: int = 0) -> Array:
    """Numbers [Q] of asked [Q, D], read by a ridge regression that was fitted to features [P, D] and numbers [P].

    ValueError for bad input, or rows of fewer than 3 groups.
    """
    features = finite(features, "features", None, None)
    asked = finite(asked, "asked", None, features.shape[1])
    truth = finite(truth, "truth", len(features))
    fold = folds(len(features), _FOLDS, groups=groups, seed=seed)
    error = np.zeros(len(STRENGTHS))
    for k in range(_FOLDS):
        rest, inside = fold != k, fold == k
        for i, strength in enumerate(STRENGTHS):
            error[i] += np.abs(_fitted(features[rest], truth[rest], features[inside], strength) - truth[inside]).sum()
    return _fitted(features, truth, asked, STRENGTHS[int(error.argmin())])


def linear_hazard(features: Array, truth: Array, asked: Array, *, groups: Array | None = None, seed: int = 0) -> Array:
    """Risks [Q] of asked [Q, D], read by Cox's model that was fitted to features [P, D] and times with events [P, 2].

    Without an event there is nothing to read: risks are 1.  ValueError for bad input, or rows of fewer than 3 groups.
    MissingExtra without scikit-survival.
    """
    features = finite(features, "features", None, None)
    asked = finite(asked, "asked", None, features.shape[1])
    truth = finite(truth, "truth", len(features), 2)
    fold = folds(len(features), _FOLDS, groups=groups, seed=seed)
    right = np.zeros(len(STRENGTHS))
    for k in range(_FOLDS):
        rest, inside = fold != k, fold == k
        for i, strength in enumerate(STRENGTHS):
            said = survival.others(_hazard(features[rest], truth[rest], features[inside], strength), truth[inside])
            right[i] += np.nan_to_num(said["c_index"], nan=0.5)
    return _hazard(features, truth, asked, STRENGTHS[int(right.argmax())])


def _hazard(x: Array, y: Array, asked: Array, strength: float) -> Array:
    from sklearn.preprocessing import StandardScaler

    from plait.core.extras import need

    if not (y[:, 1] > 0.5).any() or not len(asked):
        return np.ones(len(asked))
    known = np.array([(event > 0.5, time) for time, event in y], [("event", bool), ("time", float)])
    scale = StandardScaler().fit(x)
    model = need("sksurv.linear_model", "survival").CoxPHSurvivalAnalysis(alpha=1 / strength)
    said = model.fit(scale.transform(x), known).predict(scale.transform(asked))
    return np.asarray(np.exp(np.clip(said, -50, 50)))


def _fitted(x: Array, y: Array, asked: Array, strength: float) -> Array:
    from sklearn.linear_model import Ridge
    from sklearn.preprocessing import StandardScaler

    scale = StandardScaler().fit(x)
    model = Ridge(alpha=1 / strength).fit(scale.transform(x), y)
    return np.asarray(model.predict(scale.transform(asked))) if len(asked) else np.zeros(0)


def _read(x: Array, y: Array, asked: Array, classes: int, strengths: tuple[float, ...]) -> list[Array]:
    """[Q, C] for each strength; each fit starts where the one before ended."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    found = []
    known = np.unique(y)
    scale = StandardScaler().fit(x)
    model = LogisticRegression(max_iter=300, warm_start=True)
    for strength in strengths:
        out = np.zeros((len(asked), classes))
        if len(known) == 1:
            out[:, known] = 1
        else:
            with warnings.catch_warnings():
                # Nearly there is enough for a choice between strengths that are factors of ten apart.
                warnings.simplefilter("ignore", ConvergenceWarning)
                model.set_params(C=strength).fit(scale.transform(x), y)
            out[:, known] = model.predict_proba(scale.transform(asked)) if len(asked) else 0
        found.append(out)
    return found

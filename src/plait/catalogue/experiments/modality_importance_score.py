"""Whether row by row importance finds the modality that has the evidence, which drowning of the other one decides."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from sklearn.metrics import roc_auc_score

from plait.measures.worth.sample_importance import SampleImportance, permutation_drop, sample_importance

from . import Draw
from ._readers import Array, bit, cells, codes, nearby, odd

NAMES = ("a", "b")


def evidence(draw: Draw, seed: int) -> tuple[float, float]:
    """AUROC of `importance of a minus that of b` for `only b is drowned`, of rows where one is: row by row, and with
    the means of all rows, which are the same for each."""
    found, _, _, drowned = _audit(draw)
    one = drowned.sum(1) == 1
    ahead = found.importance[one, 0] - found.importance[one, 1]
    has = drowned[one, 1]
    means = found.importance.mean(0)
    return float(roc_auc_score(has, ahead)), float(roc_auc_score(has, np.full(one.sum(), means[0] - means[1])))


def unneeded(draw: Draw, seed: int) -> tuple[float, float]:
    """Accuracy lost with b permuted: where the audit calls it unneeded, and over all rows."""
    found, given, (learn, y), _ = _audit(draw)
    judge = ~learn

    def score(moved: Mapping[str, Array]) -> Array:
        x = np.concatenate([np.where(learn[:, None], given[n], _placed(moved[n], judge)) for n in NAMES], 1)
        return np.asarray(nearby(x, y, learn).argmax(1) == y, np.float64)[judge]

    held = {name: given[name][judge] for name in NAMES}
    some = permutation_drop(score, held, "b", rows=~found.needed[:, 1], draws=3, seed=seed)
    return some.drop, permutation_drop(score, held, "b", draws=3, seed=seed).drop


def either_alone() -> float:
    """Where either modality alone answers: the importances' difference, and the joint part; and what a third one
    that changes nothing scores."""
    truth = np.array([[1.0, 0.0, 1.0], [0.3, 0.1, 0.9]])
    both = {(): truth[1], ("a",): truth[0], ("b",): truth[0], ("a", "b"): truth[0]}
    third = both | {(*subset, "c"): value for subset, value in both.items()}
    found = sample_importance(third, list("abc"))
    apart = np.abs(found.importance[:, 0] - found.importance[:, 1]).max()
    return float(apart + np.abs(found.joint).max() + np.abs(found.importance[:, 2]).max())


def _audit(draw: Draw) -> tuple[SampleImportance, dict[str, Array], tuple[Array, Array], Array]:
    """-> the audit of the rows that judge; cells; which rows learn, and classes; which cells of judges are drowned."""
    table = draw()
    y, judge = codes(table, "y"), odd(len(table))
    given = {name: cells(table, name) for name in NAMES}
    inputs = {("a",): given["a"], ("b",): given["b"], NAMES: np.concatenate([given[name] for name in NAMES], 1)}
    values = {s: nearby(x, y, ~judge)[np.arange(len(y)), y][judge] for s, x in inputs.items()}
    prior = np.bincount(y[~judge]) / (~judge).sum()
    drowned = np.stack([bit(table, f"corrupted_{name}") for name in NAMES], 1)[judge] > 0
    return sample_importance({(): prior[y][judge], **values}, NAMES), given, (~judge, y), drowned


def _placed(values: Array, at: Array) -> Array:
    out = np.zeros((len(at), values.shape[1]))
    out[at] = values
    return out

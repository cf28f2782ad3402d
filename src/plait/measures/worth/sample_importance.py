"""Which modality held what was needed, row by row, from the answers of models on every subset.

    importance_j = mean over S without j of  v(S + j) - v(S),        joint = max(0, v(all) - max_j v(j alone))

v(S) of a row: whether the model of the modalities S answers it rightly, or the probability it gives to the truth; v()
is the answer of the prior.  The score was published with a language model as judge, as the mean over subsets with j
minus the mean over non-empty subsets without it.  That is not 0 for a modality that changes nothing, since the empty
subset lacks on one side; here it has a place, and such a modality scores exactly 0 (Banzhaf's value).

What it says is of the models: a row that none of them answers is `unanswered`, not without evidence; a lucky guess
counts as an answer.  `permutation_drop` tests a finding on one model that sees everything.

Source: Park et al., "Assessing Modality Bias in Video Question Answering Benchmarks with Multimodal Large Language
Models", arXiv:2408.12763; Banzhaf, Rutgers Law Review 1965.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..bootstrap import Interval, mean_interval
from ._game import Game, Values, stacked
from ._signs import sign_flip_p

Array = NDArray[Any]
KINDS = ("nothing", "single", "several", "joint", "unanswered")
"""A row is answered without any modality; by just one alone; by each of several alone; only by modalities together
(all of them, none alone); not even by all and by none alone."""
TIE = 1e-9


@dataclass(frozen=True, eq=False)
class SampleImportance:
    """importance: [N, M]; joint: [N]; kind: [N], places in KINDS.

    interference: [N], max(0, max_j v(j alone) - v(all)): what all together spoil.
    decided: [N], the modality that is more important than every other, -1 where there is none.
    needed: [N, M], all answer, and without this one they do not.  groups: [N] or None, of the intervals.
    """

    names: tuple[str, ...]
    importance: Array
    joint: Array
    interference: Array
    kind: Array
    decided: Array
    needed: Array
    groups: Array | None

    def account(self, seed: int = 0) -> dict[str, Any]:
        """Means over rows, each {value, low, high} with rows or groups resampled: importance, decided and needed of
        every modality, kinds, joint, interference."""

        def mean(values: Array, exact: bool) -> dict[str, float]:
            low, high = mean_interval(values, groups=self.groups, seed=seed, exact=exact)
            return {"value": float(np.mean(values)), "low": low, "high": high}

        return {
            "importance": {n: mean(self.importance[:, j], False) for j, n in enumerate(self.names)},
            "decided": {n: mean(self.decided == j, True) for j, n in enumerate(self.names)},
            "needed": {n: mean(self.needed[:, j], True) for j, n in enumerate(self.names)},
            "kinds": {kind: mean(self.kind == k, True) for k, kind in enumerate(KINDS)},
            "joint": mean(self.joint, False),
            "interference": mean(self.interference, False),
        }


@dataclass(frozen=True)
class Drop:
    """What the model scores as it is, and how much less with a modality permuted; p: one-sided, of `no less`."""

    score: float
    drop: float
    interval: Interval
    p: float


def sample_importance(
    values: Values, names: Sequence[str] | None = None, *, answered: float = 0.5, groups: Array | None = None
) -> SampleImportance:
    """values: {subset: [N]}, of every subset and of (), or a function of a subset; see `worth.shapley`.

    answered: from which value on a row counts as answered.  ValueError on numbers in the place of values of rows.
    """
    game = Game(values, names)
    size = len(game.names)
    everyone = set(range(size))
    importance = stacked([_banzhaf(game, j) for j in range(size)])
    if game.rows is None:
        raise ValueError("expected a value for each row, found one number a subset")
    singles = stacked([game([j]) for j in range(size)])
    whole, best = game(everyone), singles.max(1)
    order = np.sort(importance, 1)
    ahead = order[:, -1] - order[:, -2] > TIE if size > 1 else importance[:, 0] > TIE
    without = stacked([game(everyone - {j}) for j in range(size)])
    count = (singles >= answered).sum(1)
    kind = np.select([game([]) >= answered, count == 1, count > 1, whole >= answered], [0, 1, 2, 3], 4)
    return SampleImportance(
        game.names,
        importance,
        np.maximum(0, whole - best),
        np.maximum(0, best - whole),
        kind,
        np.where(ahead, importance.argmax(1), -1),
        (whole >= answered)[:, None] & (without < answered),
        groups,
    )


def permutation_drop(
    score: Callable[[Mapping[str, Array]], Array],
    cells: Mapping[str, Array],
    modality: str,
    *,
    rows: Array | None = None,
    groups: Array | None = None,
    draws: int = 20,
    seed: int = 0,
) -> Drop:
    """How much worse a model scores when the cells of one modality come from other rows.

    score: {modality: cells of N rows} -> [N], each row's score.  rows: [N] bool, which rows count, such as those where
    the modality is not `needed`; cells come from all.  Rows or groups [N] are resampled and flip signs; each row's
    drop is the mean over draws.  ValueError on an unknown modality, or no rows.
    """
    if modality not in cells:
        raise ValueError(f"expected one of {', '.join(cells)}, found {modality}")
    before = np.asarray(score(cells), np.float64)
    counted = np.ones(len(before), bool) if rows is None else np.asarray(rows, bool)
    if not counted.any() or len(counted) != len(cells[modality]):
        raise ValueError(f"expected rows [{len(cells[modality])}] with one that counts, found {counted.shape}")
    rng = np.random.default_rng(seed)
    lost = np.zeros(len(before))
    for _ in range(draws):
        lost += before - score({**cells, modality: cells[modality][rng.permutation(len(before))]})
    drops = (lost / draws)[counted]
    together = None if groups is None else np.asarray(groups)[counted]
    return Drop(
        float(before[counted].mean()),
        float(drops.mean()),
        mean_interval(drops, groups=together, seed=seed, exact=False),
        sign_flip_p(drops, groups=together, seed=seed),
    )


def _banzhaf(game: Game, j: int) -> Array:
    rest = [i for i in range(len(game.names)) if i != j]
    bases = [set(s) for k in range(len(rest) + 1) for s in itertools.combinations(rest, k)]
    return np.mean([game(s | {j}) - game(s) for s in bases], axis=0)

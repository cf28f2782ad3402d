"""Which modalities are worth what they cost.

    chosen = those with  v(j alone) - v(nothing) > price * cost_j                                 how = alone
           = S, enlarged by the best of  v(S + j) - v(S) - price * cost_j  while that is above 0   how = greedy
           = the S with the highest  v(S) - price * sum of its costs                              how = exhaustive

`alone` needs a model for each modality, `greedy` about M^2 / 2 models, `exhaustive` 2^M.  Where gains add up all three
choose the same.  Where they do not, `alone` keeps every copy of what one modality could give, and it cannot see what
only several show together (XOR): each of them alone gives nothing.  Nor can `greedy`.

With a permutation null, `alone` also wants a score that is not there by chance, of each modality by itself.  Gains of
chosen modalities are judged on the rows that chose them, hence too high: measure them again on other rows.

Source: each modality judged in its own representation: Gao et al., "DeepSuM: Deep Sufficient Modality Learning
Framework", arXiv:2503.01728, which scores by distance covariance; here any measure of its own model will do.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ..bootstrap import Interval, mean_interval
from ._game import Game, Subset, Values
from ._permuted import permuted_rows

Array = NDArray[Any]
How = Literal["alone", "greedy", "exhaustive"]
TIE = 1e-12


@dataclass(frozen=True)
class Selection:
    """gain: v(chosen) - v(nothing); of `alone`, which does not ask for v(chosen), the sum of the modalities' own gains.

    interval: of the gain, rows or groups resampled for the modalities as chosen; NaN where v is numbers.
    cost: price times costs.  asked: how many subsets were read, v(nothing) among them.  p: of each modality's own
    score, empty without a null.
    """

    chosen: Subset
    gain: float
    interval: Interval
    cost: float
    asked: int
    p: Mapping[str, float]

    @property
    def net(self) -> float:
        return self.gain - self.cost


def modality_selection(
    values: Values,
    costs: Mapping[str, float],
    names: Sequence[str] | None = None,
    *,
    how: How = "alone",
    price: float = 1.0,
    null: Mapping[str, Array] | None = None,
    level: float = 0.05,
    groups: Array | None = None,
    seed: int = 0,
) -> Selection:
    """values: {subset: number or [N]}, or a function of a subset; only what `how` reads has to be there.

    costs: {modality: 0 or more, infinite for never}.  price: what a unit of cost has to bring of the measure.
    null: {modality: [B]}, with `alone`: own scores under permuted truth, of which `level` may be as high
    (`permutation_null`).  ValueError if a cost or a null is not there, or is no number.
    """
    game = Game(values, list(costs) if names is None else names)
    bad = [n for n in game.names if not costs.get(n, -1.0) >= 0 or (null is not None and n not in null)]
    if bad or not 0 <= price < np.inf:
        raise ValueError(f"expected a price, and a cost of 0 or more (and a null) of each modality, not so for {bad}")
    if how not in get_args(How):
        raise ValueError(f"expected how as one of {', '.join(get_args(How))}, found {how}")
    if null is not None and how != "alone":
        raise ValueError(f"a null is of scores alone: leave it out of how='{how}'")
    cost = [costs[n] if np.isinf(costs[n]) else price * costs[n] for n in game.names]
    p = {n: _as_high(null[n], float(game([j]).mean())) for j, n in enumerate(game.names)} if null is not None else {}
    if how == "alone":
        chosen = {j for j, n in enumerate(game.names) if _gain(game, {j}) - cost[j] > TIE and p.get(n, 0.0) <= level}
        rows = sum((game([j]) - game([]) for j in chosen), np.zeros(1))
    else:
        chosen = _greedy(game, cost) if how == "greedy" else _exhaustive(game, cost)
        rows = game(chosen) - game([])
    named = tuple(game.names[j] for j in sorted(chosen))
    ends = (float("nan"), float("nan"))
    if game.rows is not None:
        ends = mean_interval(np.broadcast_to(rows, game.rows), groups=groups, seed=seed, exact=False)
    return Selection(named, float(rows.mean()), ends, float(sum(cost[j] for j in chosen)), game.asked, p)


def permutation_null(
    score: Callable[[Array, Array], float],
    predicted: Array,
    truth: Array,
    *,
    draws: int = 200,
    groups: Array | None = None,
    seed: int = 0,
) -> Array:
    """[B] what `score(predicted, truth)` is when held-out predictions [N, ...] meet the truth [N] of other rows.

    No model is fitted again: what a model says of rows that it has not seen does not depend on their truth, where its
    modality is noise.
    """
    if len(predicted) != len(truth):
        raise ValueError(f"expected a prediction for each of {len(truth)} rows, found {len(predicted)}")
    orders = permuted_rows(len(truth), draws, groups=groups, seed=seed)
    return np.array([score(predicted, truth[order]) for order in orders])


def _gain(game: Game, chosen: set[int]) -> float:
    return float((game(chosen) - game([])).mean())


def _greedy(game: Game, cost: Sequence[float]) -> set[int]:
    chosen: set[int] = set()
    rest = [j for j, c in enumerate(cost) if np.isfinite(c)]
    while rest:
        steps = [_gain(game, chosen | {j}) - _gain(game, chosen) - cost[j] for j in rest]
        if max(steps) <= TIE:
            break
        chosen.add(rest.pop(int(np.argmax(steps))))
    return chosen


def _exhaustive(game: Game, cost: Sequence[float]) -> set[int]:
    best, most = set[int](), 0.0
    free = [j for j, c in enumerate(cost) if np.isfinite(c)]
    for size in range(1, len(free) + 1):
        for chosen in map(set, itertools.combinations(free, size)):
            net = _gain(game, chosen) - sum(cost[j] for j in chosen)
            if net > most + TIE:
                best, most = chosen, net
    return best


def _as_high(null: Array, score: float) -> float:
    return float((1 + np.sum(np.asarray(null) >= score - TIE)) / (1 + len(null)))

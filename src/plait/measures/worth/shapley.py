"""How a measure of all modalities is shared out among them.

    phi_i = sum over S without i of  |S|! (M - |S| - 1)! / M!  (v(S + i) - v(S)),     sum_i phi_i = v(all) - v(nothing)

v is any measure of a model that has the modalities S, as one number or as values of rows; v(nothing) is that of the
prior.  Exact up to 8 modalities.  Above, the mean over random orders in which modalities are added, each with its
reverse (which makes it exact where modalities interact in pairs alone); `se` is what the draw of orders leaves open.

Intervals resample rows (or groups), for the models as they are: how much another training would differ, they do not
see.  A measure that is no mean over rows (AUC) goes in as numbers, inside `bootstrap.intervals`.  A row that lacks a
modality has on S the value of what it has of S: its share is then 0.  Redundant modalities share what either could have
given alone, so read it beside `alone` and `leave_one_out`.

Source: Shapley, "A value for n-person games", 1953; sampled orders: Castro et al., Computers & OR 2009; interaction:
Grabisch & Roubens, "An axiomatic approach to the concept of interaction", Int. J. Game Theory 1999.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import comb
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from ._game import Game, Subset, Values, stacked
from ._worth import Worth as Worth
from ._worth import of_game

Array = NDArray[Any]
EXACT = 8
"""Above this many modalities orders are drawn."""


def shapley(
    values: Values,
    names: Sequence[str] | None = None,
    *,
    groups: Array | None = None,
    orders: int | None = None,
    seed: int = 0,
    level: float = 0.95,
) -> Worth:
    """Shapley value of every modality, in the units of the measure.

    values: {subset: number or [N]}, or a function of a subset; names: the modalities, in the order wanted.
    groups: [N], rows that belong together.  orders: how many to draw, an even number, 4 or more; by default none up
    to 8 modalities, else 200.  ValueError if the value of a subset is not there (see `wanted`) or does not fit.
    """
    game = Game(values, names)
    size = len(game.names)
    drawn = list(_orders(size, orders, seed))
    if not drawn:
        return of_game(game, [_exact(game, i) for i in range(size)], groups, seed, level=level)
    shares: Array = np.zeros((1, size))
    pairs = np.empty((len(drawn), size))
    for k, order in enumerate(drawn):
        share = (_along(game, order) + _along(game, order[::-1])) / 2
        shares = shares + share / len(drawn)
        pairs[k] = share.mean(0)
    found = of_game(game, list(shares.T), groups, seed, level=level)
    se = pairs.std(0, ddof=1) / np.sqrt(len(drawn))
    extra = stdtrit(len(drawn) - 1, (1 + level) / 2) * se
    centre = found.value[:, None]
    half = np.hypot(np.nan_to_num(found.interval - centre), extra[:, None])
    return replace(found, interval=centre + half * [-1, 1], se=se)


def wanted(names: Sequence[str], *, orders: int | None = None, seed: int = 0) -> list[Subset]:
    """The subsets whose measure `shapley` reads with the same arguments, () among them: what has to be measured."""
    drawn = list(_orders(len(names), orders, seed))
    if not drawn:
        return [s for k in range(len(names) + 1) for s in itertools.combinations(names, k)]
    both = [o for order in drawn for o in (order, order[::-1])]
    met = {tuple(sorted(order[:k])) for order in both for k in range(len(names) + 1)}
    return [tuple(names[i] for i in s) for s in sorted(met, key=lambda s: (len(s), s))]


def alone(values: Values, names: Sequence[str] | None = None, *, groups: Array | None = None, seed: int = 0) -> Worth:
    """v(only it) - v(nothing) of every modality."""
    game = Game(values, names)
    gains = [game([i]) - game([]) for i in range(len(game.names))]
    return of_game(game, gains, groups, seed)


def leave_one_out(
    values: Values, names: Sequence[str] | None = None, *, groups: Array | None = None, seed: int = 0
) -> Worth:
    """v(all) - v(all but it) of every modality."""
    game = Game(values, names)
    everyone = range(len(game.names))
    gains = [game(everyone) - game(set(everyone) - {i}) for i in everyone]
    return of_game(game, gains, groups, seed)


def conditional_gain(
    values: Values,
    given: Sequence[str],
    names: Sequence[str] | None = None,
    *,
    groups: Array | None = None,
    seed: int = 0,
) -> Worth:
    """v(given + it) - v(given) of every modality that is not given.  ValueError if a given one is unknown."""
    game = Game(values, names)
    if not set(given) < set(game.names):
        raise ValueError(f"expected some of {', '.join(game.names)} as given, but not all, found {list(given)}")
    base = {game.names.index(n) for n in given}
    rest = [i for i in range(len(game.names)) if i not in base]
    gains = [game(base | {i}) - game(base) for i in rest]
    return of_game(game, gains, groups, seed, of=[(game.names[i],) for i in rest])


def interaction(
    values: Values, names: Sequence[str] | None = None, *, groups: Array | None = None, seed: int = 0
) -> Worth:
    """Shapley interaction index of every pair: above 0, together they give more than apart; below, they are redundant.

    I_ij = sum over S without i, j of |S|! (M - |S| - 2)! / (M - 1)! (v(S + i + j) - v(S + i) - v(S + j) + v(S))
    """
    game = Game(values, names)
    size = len(game.names)
    if not 2 <= size <= EXACT:
        raise ValueError(f"interaction is of 2 to {EXACT} modalities, found {size}: give fewer")
    pairs = list(itertools.combinations(range(size), 2))
    found = [
        np.sum(
            [
                _weight(len(s), size - 1) * (game(s | {i, j}) - game(s | {i}) - game(s | {j}) + game(s))
                for s in _without(size, {i, j})
            ],
            axis=0,
        )
        for i, j in pairs
    ]
    return of_game(game, found, groups, seed, of=[(game.names[i], game.names[j]) for i, j in pairs])


def _exact(game: Game, i: int) -> Array:
    size = len(game.names)
    return np.sum([(game(s | {i}) - game(s)) * _weight(len(s), size) for s in _without(size, {i})], axis=0)


def _along(game: Game, order: Sequence[int]) -> Array:
    """[N, M] what each modality adds when it comes in this order."""
    steps = stacked([game(order[:k]) for k in range(len(order) + 1)])
    return np.diff(steps, axis=1)[:, np.argsort(order)]


def _weight(chosen: int, size: int) -> float:
    """s! (n - s - 1)! / n!"""
    return 1 / (size * comb(size - 1, chosen))


def _without(size: int, left_out: set[int]) -> Iterator[set[int]]:
    rest = [i for i in range(size) if i not in left_out]
    return (set(s) for k in range(len(rest) + 1) for s in itertools.combinations(rest, k))


def _orders(size: int, orders: int | None, seed: int) -> Iterator[tuple[int, ...]]:
    """The orders drawn, without their reverses; none where it is exact."""
    if orders is None:
        orders = 0 if size <= EXACT else 200
    if orders % 2 or orders == 2:
        raise ValueError(f"orders come with their reverse: expected an even number, 4 or more, found {orders}")
    rng = np.random.default_rng(seed)
    return (tuple(rng.permutation(size).tolist()) for _ in range(orders // 2))

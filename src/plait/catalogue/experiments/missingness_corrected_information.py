"""How far what a modality adds is off when it is read on the rows that have it."""

from __future__ import annotations

from typing import Any

import numpy as np

from plait.measures.information.partial_information import partial_information
from plait.measures.worth.inverse_probability_weighting import inverse_probability_weighting, observation_propensity

from . import Draw
from ._readers import Array, cells, codes, odd, probabilities

LEVELS = 4


def distance_from_all_rows(draw: Draw, seed: int) -> tuple[float, float]:
    """What b adds to a in accuracy: |weighted - of all rows| and |plain mean of observed rows - of all rows|.

    The readers learn from complete rows, so nothing but the selection of the rows that judge differs.
    """
    whole, observed, judge, y = _read(draw)
    right = {name: (chances.argmax(1) == y).astype(np.float64)[judge] for name, chances in whole.items() if name != "b"}
    added = right["ab"] - right["a"]
    found = inverse_probability_weighting(added, observed, _known(draw)[judge], seed=seed, draws=2)
    truth = float(added.mean())
    return abs(found.mean - truth), abs(found.naive - truth)


def distance_in_bits(draw: Draw, seed: int) -> tuple[float, float]:
    """The same of I(b; y | a), of what readers of either modality say, each in a few levels."""
    whole, observed, judge, y = _read(draw)
    levels = {name: _levels(whole[name][judge, 1]) for name in "ab"}
    y = y[judge]

    def added(rows: Array, weights: Array | None = None) -> float:
        found = partial_information(levels["a"][rows], levels["b"][rows], y[rows], weights=weights, draws=0)
        return found.unique_second + found.synergistic

    chance = np.maximum(observation_propensity(observed, _known(draw)[judge], seed=seed), 0.01)
    truth = added(np.ones(len(y), bool))
    return abs(added(observed, 1 / chance[observed]) - truth), abs(added(observed) - truth)


def equal_chances() -> float:
    """The weighted mean minus the plain one, of 500 rows with a propensity of .3 each."""
    rng = np.random.default_rng(0)
    values, observed = rng.normal(size=500), rng.random(500) < 0.3
    found: Any = inverse_probability_weighting(values, observed, propensity=np.full(500, 0.3), draws=50)
    return float(found.mean - values[observed].mean())


def parity_in_bits() -> float:
    """Bits of synergy of a parity, less one; all of its four rows are alike in number."""
    first, second = np.repeat([0, 1], 2), np.tile([0, 1], 2)
    return partial_information(first, second, first ^ second, draws=0).synergistic - 1


def _read(draw: Draw) -> tuple[dict[str, Array], Array, Array, Array]:
    """-> {what is read: chances of all rows}, who has b among those that judge, which rows judge, classes."""
    table = draw(missing=0.0)
    a, b, y = cells(table, "a"), cells(table, "b"), codes(table, "y")
    judge = odd(len(y))
    readers = {"a": a, "b": b, "ab": np.concatenate([a, b], 1)}
    return {n: probabilities(x, y, ~judge) for n, x in readers.items()}, draw().present()["b"][judge], judge, y


def _known(draw: Draw) -> Array:
    """[N, D] what every row has."""
    return cells(draw(missing=0.0), "a")


def _levels(chances: Array) -> Array:
    """[N] in quarters of the rows."""
    return np.searchsorted(np.quantile(chances, np.arange(1, LEVELS) / LEVELS), chances)

"""How far what a modality adds is off when it is read on the rows that have it."""

from __future__ import annotations

from typing import Any

import numpy as np

from plait.measures.worth.inverse_probability_weighting import inverse_probability_weighting

from . import Draw
from ._readers import cells, codes, right


def distance_from_all_rows(draw: Draw, seed: int) -> tuple[float, float]:
    """What b adds to a in accuracy: |weighted - of all rows| and |plain mean of observed rows - of all rows|.

    The readers learn from complete rows, so nothing but the selection of the rows that judge differs.
    """
    whole = draw(missing=0.0)
    a, b, y = cells(whole, "a"), cells(whole, "b"), codes(whole, "y")
    learn = np.arange(len(y)) % 2 == 0
    both = np.concatenate([a, b], 1)
    added = right(both, y, learn)[~learn] - right(a, y, learn)[~learn]
    observed = draw().present()["b"][~learn]
    found = inverse_probability_weighting(added, observed, a[~learn], seed=seed, draws=50)
    truth = float(added.mean())
    return abs(found.mean - truth), abs(found.naive - truth)


def equal_chances() -> float:
    """The weighted mean minus the plain one, of 500 rows with a propensity of .3 each."""
    rng = np.random.default_rng(0)
    values, observed = rng.normal(size=500), rng.random(500) < 0.3
    found: Any = inverse_probability_weighting(values, observed, propensity=np.full(500, 0.3), draws=50)
    return float(found.mean - values[observed].mean())

"""Whether the test finds a gain of fusion where the second modality adds bits, and none where it repeats them."""

from __future__ import annotations

import numpy as np

from plait.measures.worth.fusion_gain_test import fusion_gain_test

from . import Draw
from ._readers import cells, codes, odd, right

LEVEL = 0.05


def found_a_gain(draw: Draw, seed: int) -> tuple[float, float]:
    """Whether p is below 5 %, and 5 %.  All networks are logistic regressions on the same rows.

    A modality alone comes twice, so that its network has as many parameters as the fused one.
    """
    table = draw()
    y, judge = codes(table, "y"), odd(len(table))
    given = {name: cells(table, name) for name in table.schema.modalities}
    fused = right(np.concatenate(list(given.values()), 1), y, ~judge)[judge]
    singles = {name: right(np.tile(x, len(given)), y, ~judge)[judge] for name, x in given.items()}
    return float(fusion_gain_test(fused, singles, seed=seed, draws=500).p < LEVEL), LEVEL


def of_a_duplicate() -> float:
    """The gain where the fused one says what either single says."""
    said = (np.random.default_rng(0).random(200) < 0.7).astype(np.float64)
    found = fusion_gain_test(said, {"a": said, "b": said.copy()}, draws=50)
    return found.gain + (1 - found.p)

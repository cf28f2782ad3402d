"""Whether modalities that are judged one by one are chosen as well as subsets that are judged whole."""

from __future__ import annotations

import numpy as np

from plait.measures.worth.modality_selection import How, modality_selection

from . import Draw
from ._readers import Array, cells, codes, nearby, of_truth

PRICE = 0.2
"""Bits that every modality has to bring."""
NOISE = 2
"""Modalities that are the cells of other rows."""


def net_gain(draw: Draw, seed: int) -> tuple[float, float]:
    """Bits that the chosen modalities bring on new rows, less what they cost: judged alone, and among all subsets.

    A third of the rows teaches readers, a third chooses, a third judges.
    """
    table = draw()
    y, third = codes(table, "y"), np.arange(len(table)) % 3
    given = {name: cells(table, name) for name in table.schema.modalities}
    rng = np.random.default_rng(seed)
    given |= {f"noise_{i}": cell[rng.permutation(len(y))] for i, cell in enumerate(list(given.values())[:NOISE])}
    known: dict[tuple[str, ...], Array] = {}

    def bits(subset: tuple[str, ...]) -> Array:
        if subset not in known:
            said = np.full((len(y), y.max() + 1), 1 / (y.max() + 1))
            x = np.concatenate([given[name] for name in subset], 1) if subset else None
            known[subset] = of_truth(said if x is None else nearby(x, y, third == 0), y)
        return known[subset]

    costs = dict.fromkeys(given, PRICE)

    def net(how: How) -> float:
        chosen = modality_selection(lambda s: bits(s)[third == 1], costs, list(given), how=how, seed=seed).chosen
        return float((bits(chosen) - bits(()))[third == 2].mean()) - PRICE * len(chosen)

    return net("alone"), net("exhaustive")


def ends_of_cost() -> float:
    """Modalities that are chosen at infinite cost, and informative ones that are not at none."""
    values = {(): 0.0, ("a",): 0.3, ("b",): 0.1, ("c",): 0.0}
    never = modality_selection(values, dict.fromkeys("abc", float("inf")), list("abc"))
    free = modality_selection(values, dict.fromkeys("abc", 0.0), list("abc"))
    return float(len(never.chosen) + len({"a", "b"} ^ set(free.chosen)))


def fits() -> float:
    """Subsets that are read of six modalities, less six and the empty one, which is no model's."""
    names = [str(i) for i in range(6)]
    return float(modality_selection(lambda s: float(len(s)), dict.fromkeys(names, 0.5), names).asked - 7)

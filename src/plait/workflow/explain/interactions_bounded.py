"""What two modalities tell only together, where too few rows have both and a label: the bounds that the others set."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from plait.measures.information.interaction_bounds import Bounds, interaction_bounds

from .section import Grid
from .subject import Array

KINDS, EACH = 8, 10
"""Into how many kinds cells are sorted at most, and rows that each pair of a kind with another, or a class, has."""
SAID = 0.05
"""Bits that are worth a sentence."""
TELLING = 0.75
"""Share of all that a target could have, which a bound has to lie below to say anything."""
DRAWS = 40
METHOD = (
    "Where a pair is refused, the rows that have a label and only one of both, and those that have both and no label, "
    "still bound what only both together tell (Liang et al., arXiv:2306.04539). For that, cells are sorted into kinds "
    "that know no label (k-means); what differs within a kind is not seen. The interval holds that number, and not "
    "just its bounds."
)


def bounded(one: Array, two: Array, truth: Array, seed: int) -> Bounds | None:
    """Of cells [N, F] and [N, G], NaN where a row has none, and codes [N], -1 where unlabelled.

    None where some of the three samples are too small for two kinds of cells each, or rule out next to nothing, or the
    bounds were not found.
    """
    has_one, has_two = (np.asarray(~np.isnan(cells).any(1)) for cells in (one, two))
    first, second, pairs = has_one & (truth >= 0), has_two & (truth >= 0), has_one & has_two
    if not (first.any() and second.any() and pairs.any()):
        return None
    classes = len(np.unique(truth[first | second]))
    room = min(first.sum() / classes, second.sum() / classes, np.sqrt(EACH * pairs.sum())) / EACH
    kinds = min(KINDS, int(room))
    if classes < 2 or kinds < 2:
        return None
    a, b = (_sorted(cells, has, kinds, seed) for cells, has in ((one, has_one), (two, has_two)))
    try:
        found = interaction_bounds(
            (a[first], truth[first]), (b[second], truth[second]), (a[pairs], b[pairs]), seed=seed, draws=DRAWS
        )
    except ArithmeticError:
        return None
    assert found.interval is not None
    low, high = found.interval
    return found if low > SAID or high < TELLING * np.log2(classes) else None


def _sorted(cells: Array, has: Array, kinds: int, seed: int) -> Array:
    """[N] which kind each cell is of, -1 where there is none."""
    from sklearn.cluster import KMeans

    out = np.full(len(cells), -1)
    there = cells[has]
    out[has] = KMeans(min(kinds, len(np.unique(there, axis=0))), n_init=4, random_state=seed).fit_predict(there)
    return out


def words(found: Mapping[str, Bounds], of_what: str) -> list[str]:
    """A sentence for each pair."""
    said = []
    for label, bounds in found.items():
        assert bounds.interval is not None
        low, high = bounds.interval
        if low > SAID:
            said.append(
                f"{label} tell something together that neither tells alone: {low:.2f} to {high:.2f} bits about "
                f"{of_what}, as far as rows show that lack one of both or the label."
            )
        elif high < SAID:
            said.append(f"{label} tell next to nothing only together: at most {high:.2f} bits about {of_what}.")
        else:
            said.append(
                f"What {label} tell only together lies between 0 and {high:.2f} bits about {of_what}, as far as rows "
                "show that lack one of both or the label; too few have all."
            )
    return [f"{sentence[0].upper()}{sentence[1:]}" for sentence in said]


def grid(found: Mapping[str, Bounds], of_what: str) -> Grid:
    """The numbers."""
    lines = []
    for label, bounds in found.items():
        low, high = bounds.interval or (np.nan, np.nan)
        lines.append((label, f"{bounds.lower:.2f} to {bounds.upper:.2f}", f"{low:.2f} to {high:.2f}"))
    return Grid(
        f"Bits about {of_what} that only both together tell, bounded by rows without one of them or the label",
        ("", "bounds", "95 % interval"),
        lines,
    )

"""What a modality that is added in training, and removed at test, does to accuracy and to gaps between groups."""

from __future__ import annotations

import numpy as np

from plait.measures.trust.group_report import GroupReport, group_report

from . import Draw
from ._readers import Array, bit, cells, codes, odd, probabilities

DRAWS = 2
"""Resamples for intervals, which nobody reads here."""


def added(draw: Draw, seed: int) -> tuple[float, float]:
    """Accuracy with both modalities, and with a alone."""
    with_b, alone, _, y, _ = _said(draw)
    return float(np.mean(with_b.argmax(1) == y)), float(np.mean(alone.argmax(1) == y))


def removed(draw: Draw, seed: int) -> tuple[float, float]:
    """The gap in error between groups where b is removed at test, and with complete rows."""
    complete, _, without_b, y, group = _said(draw)
    return _gap(without_b, y, group), _gap(complete, y, group)


def gaps_of_nothing() -> float:
    """Demographic parity of a constant prediction, equalised odds of a right one, and what other names of the groups
    change."""
    rng = np.random.default_rng(0)
    truth, member = rng.integers(2, size=400), rng.integers(2, size=400)
    wrong = np.where(rng.random(400) < 0.3, 1 - truth, truth)
    same = group_report(np.tile([0.7, 0.3], (400, 1)), truth, member, draws=DRAWS).gaps["demographic_parity"].value
    right = group_report(np.eye(2)[truth], truth, member, draws=DRAWS).gaps["equalised_odds"].value
    reports: list[GroupReport] = [
        group_report(np.eye(2)[wrong], truth, names, draws=DRAWS) for names in (member, np.array(["x", "b"])[member])
    ]
    moved = [abs(reports[0].gaps[name].value - reports[1].gaps[name].value) for name in reports[0].gaps]
    return float(same + right + sum(moved))


def _gap(said: Array, y: Array, group: Array) -> float:
    return group_report(said, y, group, draws=DRAWS).gaps["error"].value


def _said(draw: Draw) -> tuple[Array, Array, Array, Array, Array]:
    """Of rows that judge: chances with both, with a alone, with both where b is its mean; classes; groups.

    A row's group is whether its cell of a is drowned, so that one group leans on b.
    """
    table = draw()
    a, b, y, judge = cells(table, "a"), cells(table, "b"), codes(table, "y"), odd(len(table))
    both = np.concatenate([a, b], 1)
    gone = np.concatenate([a, np.where(judge[:, None], b[~judge].mean(0), b)], 1)
    said = [probabilities(x, y, ~judge)[judge] for x in (both, a, gone)]
    return said[0], said[1], said[2], y[judge], bit(table, "corrupted_a")[judge]

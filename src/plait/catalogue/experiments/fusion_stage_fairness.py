"""Early against late fusion of a score, learned from labels that are biased against one group."""

from __future__ import annotations

import numpy as np
from sklearn.linear_model import Ridge

from plait.data.table import Table
from plait.measures.trust.group_report import GroupReport, group_report

from . import Draw
from ._readers import Array, bit, cells, odd

BIAS = 0.5
"""How much lower the labels of the disfavoured group are; the score itself has mean 0 and deviation 1."""
DRAWS = 2
"""Resamples for intervals, which nobody reads here."""


def error_of_the_worse_group(draw: Draw, seed: int) -> tuple[float, float]:
    """Mean absolute error against the unbiased score, of the group where it is larger: early fusion, and late."""
    early, late = (max(e.value for e in report.error.values()) for report in _reports(draw))
    return early, late


def spread_of_scores(draw: Draw, seed: int) -> tuple[float, float]:
    """Deviation of what is predicted, mean of the groups: late fusion, and early."""
    early, late = (float(np.mean([s.value for s in report.spread.values()])) for report in _reports(draw))
    return late, early


def weighted_errors() -> float:
    """Errors of groups, weighted by their size, minus the overall one; and the spread of a constant prediction."""
    rng = np.random.default_rng(0)
    truth, member = rng.normal(size=300), rng.random(300) < 0.3
    found = group_report(rng.normal(size=300), truth, member, draws=DRAWS)
    whole = sum(found.rows[name] * found.error[name].value for name in found.rows) / sum(found.rows.values())
    constant = group_report(np.full(300, truth.mean()), truth, member, draws=DRAWS)
    return float(abs(whole - found.overall.value) + sum(s.value for s in constant.spread.values()))


def _reports(draw: Draw) -> tuple[GroupReport, GroupReport]:
    """Early: one ridge regression on all modalities.  Late: the mean of one on each."""
    table = draw()
    judge, group = odd(len(table)), bit(table, "shared_0")
    merit = scores(table)
    label = merit - BIAS * group
    given = [cells(table, name) for name in table.schema.modalities]

    def predicted(x: Array) -> Array:
        return np.asarray(Ridge(1.0).fit(x[~judge], label[~judge]).predict(x[judge]))

    early, late = predicted(np.concatenate(given, 1)), np.mean([predicted(x) for x in given], 0)
    one, other = (group_report(said, merit[judge], group[judge], draws=DRAWS) for said in (early, late))
    return one, other


def scores(table: Table) -> Array:
    """[N] the sum of what is asked for beside the group's bit, of mean 0 and deviation 1."""
    asked = [name for name in table.schema.ignored if name.endswith("_0") or name == "shared_1"]
    merit = np.sum([bit(table, name) for name in asked if name != "shared_0"], 0)
    return np.asarray((merit - merit.mean()) / merit.std())

"""Whether cells are missing by chance, and what a modality would be worth if no row lacked it; a part of `worth`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from plait.core.plain import plain
from plait.measures.worth.inverse_probability_weighting import (
    WeightedMean,
    inverse_probability_weighting,
    observation_propensity,
)
from plait.measures.worth.missingness import Told, missingness
from plait.measures.worth.sensitivity_bounds import Bounds, sensitivity_bounds, tipping_gamma, worst_case
from plait.report.words import DASH, is_share, name

from .section import Grid, Part
from .subject import Array, Subject
from .wording import gained, listed, ranged

FEW = 20
"""Rows that have a modality, or have not, below which nothing is said of it."""
WIDEST = 30
"""Columns of a vector that all rows have, and of the label (its most frequent values), that are looked at."""
MOST = 2_000
"""Rows, in whole groups, that say whether one can tell who has a modality."""
FACTOR = 2.0
"""By which unknown reasons are let move the odds of having a modality."""
METHOD = (
    "Missing cells: whether a row has a modality is told by logistic regressions, each judged on rows it did not see, "
    "from the label, the other modalities that the row has, and numbers that all rows have; the chance of doing as "
    "well without any connection is multiplied by the number of modalities asked about. A connection rules out "
    "missing completely at random; none being shown proves nothing, and reasons in the cells themselves cannot be "
    "seen. The worth on all rows weighs each row by one over its chance of having the modality (Choi et al., "
    "arXiv:2505.16953), and is right only if what is known holds all reasons. Factor that would undo it: by how much "
    "unknown reasons would have to multiply or divide the odds of having it for the worth to be nothing (Zhao et al., "
    f"arXiv:1711.11286). With a factor up to {FACTOR:g}: what the worth lies between then. Without assumptions: what "
    "the reasons may be is left open (Manski 1990)."
)


@dataclass(frozen=True)
class Gap:
    """What is known of a modality that some rows lack.

    p: of being told by chance, for all modalities that are asked about.  gain: of the rows that have it, lost when it
    is hidden, and of all rows; None where too few test rows have it.  odds: the tipping factor.  whatever: bounds
    without assumptions, of shares alone.
    """

    told: Told
    p: float
    gain: WeightedMean | None = None
    odds: float | None = None
    between: Bounds | None = None
    whatever: Bounds | None = None

    def account(self) -> dict[str, Any]:
        told = {"auc": self.told.auc, "interval": self.told.interval, "share": self.told.share, "p": self.p}
        rest = {"odds": self.odds, "between": plain(self.between), "whatever": plain(self.whatever)}
        return {"told": told, "gain": None if self.gain is None else self.gain.account(), **rest}


def missing(subject: Subject) -> Part:
    """Nothing where no row lacks a modality that others have."""
    names, dataset = subject.names, subject.encoded.dataset
    target = dataset.target(subject.target)
    rows, labels = target.rows.numpy(), target.values.numpy()
    have = dataset.only(names).have.numpy()[rows]
    lacking = [n for n, there in zip(names, have.T, strict=True) if 0 < there.sum() < len(rows)]
    if not lacking:
        return Part()
    asked = [n for n in lacking if FEW <= have[:, names.index(n)].sum() <= len(rows) - FEW]
    groups = subject.all_groups[rows]
    if len(np.unique(groups)) < FEW:
        asked = []
    label = _coded(labels, subject.about.kind)
    frequent = np.argsort(-label.sum(0), kind="stable")[:WIDEST]
    known = np.column_stack([label[:, frequent], *_complete(subject, have, rows)])
    gaps = {n: _gap(subject, n, have, known, rows, groups, len(asked)) for n in asked}
    words = _words(subject, gaps)
    if left := [n for n in lacking if n not in gaps]:
        words.append(
            f"Too few rows, or groups of rows, have or lack {listed(left, 'or')} to tell whether those cells are "
            "missing by chance."
        )
    account = {"missing": {n: gap.account() for n, gap in gaps.items()}}
    return Part(words, [], _grids(subject, gaps), [METHOD] if gaps else [], account)


def _gap(subject: Subject, modality: str, have: Array, known: Array, rows: Array, groups: Array, asked: int) -> Gap:
    """rows: [p] places in the table of the rows with a label; have, known, groups: of these."""
    m, seed = subject.names.index(modality), subject.seed
    features = np.column_stack([known, np.delete(have, m, 1)]).astype(np.float64)
    # Each more modality needs more permutations, or no chance could be small enough.
    count, draws = (200, 500) if subject.deep else (100, 100)
    order = np.random.default_rng(seed).permutation(int(groups.max()) + 1)[groups].argsort(kind="stable")
    some = np.isin(groups, groups[order[:MOST]])
    how: dict[str, Any] = {"permutations": max(count, 40 * asked), "draws": draws, "seed": seed}
    told = missingness(have[some][:, [m]], [modality], features[some], groups=groups[some], **how)[modality]
    p = min(1.0, asked * told.p)
    there = subject.have[subject.labelled, m]
    together = subject.groups[subject.labelled]
    if subject.pairwise or there.sum() < FEW or len(np.unique(together[there])) < 2:
        return Gap(told, p)
    values = subject.values(subject.predicted) - subject.values(subject.without(modality))
    chance = np.zeros(len(subject.table))
    chance[rows] = observation_propensity(have[:, m], features, groups=groups, seed=seed)
    propensity = np.maximum(chance[subject.test[subject.labelled]], 0.01)
    how = {"propensity": propensity, "groups": together, "seed": seed}
    return Gap(
        told,
        p,
        inverse_probability_weighting(values, there, **how),
        tipping_gamma(values[there], propensity[there]),
        sensitivity_bounds(values, there, gammas=(FACTOR,), **how)[FACTOR],
        worst_case(values, there, -1, 1, groups=together, seed=seed) if is_share(subject.measure) else None,
    )


def _coded(labels: Array, kind: str) -> Array:
    """[p, F] what regressions can read of the labels."""
    if kind == "class":
        return (labels[:, None] == np.unique(labels)).astype(np.float64)
    return np.nan_to_num(labels.reshape(len(labels), -1).astype(np.float64))


def _complete(subject: Subject, have: Array, rows: Array) -> list[Array]:
    """Columns of tables and short vectors that all of these rows have, categories as one column each."""
    found = []
    for m, modality in enumerate(subject.names):
        kind = subject.table.schema.modalities[modality].kind
        if kind not in ("tabular", "vector") or not have[:, m].all():
            continue
        values = subject.encoded.dataset.take(rows).batch(range(len(rows))).modalities[modality].values.numpy()
        if values.ndim == 2 and values.shape[1] <= WIDEST:
            spec = subject.table.schema.modalities[modality]
            for column, cells in enumerate(values.T):
                if not np.isnan(cells).any():
                    categories = spec.kind == "tabular" and spec.columns[column] in spec.categories
                    found.append(_coded(cells, "class") if categories else cells[:, None])
    return found


def _words(subject: Subject, gaps: Mapping[str, Gap]) -> list[str]:
    measure, said = subject.measure, []
    if reasons := [n for n, gap in gaps.items() if gap.p <= 0.05]:
        said.append(
            f"Cells of {listed(reasons)} are not missing by pure chance: from the label and what else is known of a "
            "row one can tell, better than by guessing, whether it has them."
        )
    if chance := [n for n, gap in gaps.items() if gap.p > 0.05]:
        said.append(f"That cells of {listed(chance, 'or')} are missing for a reason was not shown.")
    gains = {n: gap.gain for n, gap in gaps.items() if gap.gain is not None}
    few = [n for n in gaps if n not in gains]
    if few and subject.pairwise:
        said.append(
            f"What {listed(few, 'or')} would be worth if all rows had it is not told: {name(measure)} is about pairs "
            "of rows, and what a cell adds to it depends on what the other row has."
        )
    elif few:
        said.append(f"Too few test rows have {listed(few, 'or')} to say what it would be worth if all had it.")
    idle = [n for n, gain in gains.items() if not (gain.naive_interval[0] > 0 or gain.interval[0] > 0)]
    if idle:
        said.append(
            f"That {listed(idle, 'or')} adds anything beyond the other modalities was not shown, neither on the rows "
            "that have it nor if every row had it."
        )
    for n, gain in gains.items():
        if n in idle:
            continue
        sure = "" if gain.interval[0] > 0 else ", which was not shown to be more than nothing"
        said.append(
            f"On the rows that have {n}, it is worth {gained(gain.naive, measure)}; if every row had it, "
            f"{gained(gain.mean, measure)} would be expected{sure}, provided that what is known of the rows says who "
            "has it."
        )
        odds = gaps[n].odds
        if not sure and odds is not None and np.isfinite(odds):
            said.append(
                f"Reasons that nobody wrote down could make that nothing if they moved the odds of having {n} by a "
                f"factor of {odds:.1f}."
            )
    return said


def _grids(subject: Subject, gaps: Mapping[str, Gap]) -> list[Grid]:
    measure = subject.measure
    if not gaps:
        return []
    told = Grid(
        "Who has a modality, told from what else is known of a row",
        ("modality", "rows that have it, %", "told apart (AUC, 0.5 is guessing)", "by chance, p"),
        [
            (n, f"{100 * gap.told.share:.0f}", ranged(gap.told.auc, gap.told.interval), f"{gap.p:.2g}")
            for n, gap in gaps.items()
        ],
    )
    lines = [
        (
            n,
            ranged(gap.gain.naive, gap.gain.naive_interval, measure),
            ranged(gap.gain.mean, gap.gain.interval, measure),
            f"{gap.gain.overlap.effective:.0f} of {gap.gain.overlap.observed}",
            f"{gap.odds:.1f}" if gap.odds is not None and np.isfinite(gap.odds) else "no factor would",
            _bounds(gap.between, measure),
            *([_bounds(gap.whatever, measure)] if is_share(measure) else []),
        )
        for n, gap in gaps.items()
        if gap.gain is not None
    ]
    head = (
        "modality",
        "where it is there",
        "if all had it",
        "rows it rests on",
        "factor on the odds that would undo it",
        f"with a factor up to {FACTOR:g}",
    )
    last = ["without assumptions"] if is_share(measure) else []
    return [told, Grid(f"What a modality adds in {name(measure)}", (*head, *last), lines)] if lines else [told]


def _bounds(found: Bounds | None, measure: str) -> str:
    if found is None:
        return DASH
    return f"{ranged(found.low, None, measure)} to {ranged(found.high, None, measure)}"

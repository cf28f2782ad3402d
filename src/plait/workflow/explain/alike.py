"""Whether groups of people or things are treated alike, and what each modality has to do with it."""

from __future__ import annotations

from typing import Any

import numpy as np

from plait.measures.bootstrap import intervals
from plait.measures.trust.group_report import GroupReport, group_report
from plait.report.words import DASH, FEW, amount, is_share, name

from .section import CannotSay, Grid
from .subject import Array, Subject
from .wording import listed, ranged

GAPS = {
    "error": "errors",
    "demographic_parity": "how often a class is said (demographic parity)",
    "equalised_odds": "how often a class is said of rows of one true class (equalised odds)",
}
SHOWN = 30
"""Groups in the table, those with the most rows."""
METHOD = (
    "Groups: a gap is the largest difference between groups, so never below 0; `by chance` is the mean gap when rows "
    "are dealt to groups anew, and a gap counts as shown where its interval lies above that. Hiding a modality "
    "compares the gap of errors on the same rows with and without it. A gap does not say why it is there: groups may "
    "differ in their cells, in how hard their rows are, or in how many rows of them were learned from. Equal rates of "
    "what is said (Dwork et al., arXiv:1104.3913) contradict accuracy where base rates differ; equalised odds: Hardt "
    "et al., arXiv:1610.02413."
)


def alike(subject: Subject) -> tuple[list[str], list[Grid], dict[str, Any]]:
    """-> words, tables, account.  CannotSay without a column of groups, on too few rows, or of other targets than
    classes and numbers."""
    by = subject.by
    if by is None:
        raise CannotSay("")
    kind = subject.about.kind
    if kind not in ("class", "number"):
        raise CannotSay(f"Whether groups are treated alike is asked of classes and numbers, not of {kind}.")
    said = subject.table.take(subject.test).column(by).to_pylist()
    known = np.array([said[row] not in (None, "") for row in subject.labelled.tolist()], bool)
    at = subject.labelled[known]
    member = np.array([str(said[row]) for row in at.tolist()])
    truth, groups = subject.truth[known], subject.groups[at]
    names, count = np.unique(member, return_counts=True)
    big = names[count >= FEW]
    if len(big) < 2:
        raise CannotSay(
            f"Whether groups of {by} are treated alike cannot be said: that takes two groups of {FEW} test rows, and "
            f"the largest of {len(names)} has {count.max(initial=0)}."
        )

    def report(predicted: Array, draws: int = 1000) -> GroupReport:
        return group_report(predicted[at], truth, member, least=FEW, groups=groups, seed=subject.seed, draws=draws)

    measure = "accuracy" if kind == "class" else "mae"
    whole = report(subject.predicted)
    grids = [_grid(by, whole, measure), _gaps(whole, measure)]
    account: dict[str, Any] = {"by": by, "without_group": int((~known).sum()), **whole.account()}
    words = [_words(by, whole, measure)]
    if len(subject.names) > 1:
        change, lines = _hidden(subject, at, truth, member, groups, report, measure)
        wider = [m for m, (_, ends) in change.items() if ends[0] > 0]
        closer = [m for m, (_, ends) in change.items() if ends[1] < 0]
        for which, how in ((wider, "wider"), (closer, "closer")):
            if which:
                words.append(f"Hiding {listed(which, 'or')} makes the difference in errors {how}.")
        if not wider and not closer:
            words.append("That hiding any one modality changes the difference in errors was not shown.")
        grids.append(
            Grid(
                f"The gap of errors without a modality{_unit(measure)}", ("hidden", "gap", "by chance", "change"), lines
            )
        )
        account["hidden"] = {m: {"change": value, "interval": ends} for m, (value, ends) in change.items()}
    return words, grids, account


def _hidden(
    subject: Subject, at: Array, truth: Array, member: Array, groups: Array, report: Any, measure: str
) -> tuple[dict[str, tuple[float, tuple[float, float]]], list[tuple[str, ...]]]:
    """-> {modality: how much wider the gap of errors is without it, with its interval}, lines of the table."""
    rest = {m: tuple(n for n in subject.names if n != m) for m in subject.names}
    decided = subject.decided([subject.names, *rest.values()])
    code = np.unique(member, return_inverse=True)[1]
    big = np.bincount(code) >= FEW
    kept = big[code]
    code = (np.cumsum(big) - 1)[code[kept]]
    own = _errors(decided[subject.names][at], truth)[kept]
    change: dict[str, tuple[float, tuple[float, float]]] = {}
    lines: list[tuple[str, ...]] = []
    for modality, company in rest.items():
        less = _errors(decided[company][at], truth)[kept]

        def wider(rows: Array, less: Array = less) -> dict[str, float]:
            return {"change": _gap(less[rows], code[rows]) - _gap(own[rows], code[rows])}

        ends = intervals(wider, len(code), groups=groups[kept], seed=subject.seed)["change"]
        change[modality] = wider(np.arange(len(code)))["change"], ends
        found = report(decided[company], draws=200)
        gap = found.gaps["error"]
        lines.append(
            (
                modality,
                ranged(gap.value, gap.interval, measure),
                ranged(found.shuffled["error"], None, measure),
                ranged(*change[modality], measure),
            )
        )
    return change, lines


def _errors(predicted: Array, truth: Array) -> Array:
    found = predicted.argmax(1) != truth if predicted.ndim > 1 else np.abs(predicted - truth)
    return np.asarray(found, np.float64)


def _gap(error: Array, code: Array) -> float:
    size = np.bincount(code)
    mean = np.bincount(code, error)[size > 0] / size[size > 0]
    return float(mean.max() - mean.min())


def _words(by: str, found: GroupReport, measure: str) -> str:
    worst = max(found.error, key=lambda g: found.error[g].value)
    best = min(found.error, key=lambda g: found.error[g].value)
    gap, chance = found.gaps["error"], found.shuffled["error"]
    if is_share(measure):
        wrong = {group: f"{100 * error.value:.0f} %" for group, error in found.error.items()}
        rates = f"{wrong[worst]} of {worst} are wrong, {wrong[best]} of {best}"
    else:
        rates = f"it is off by {found.error[worst].value:.3g} on {worst}, by {found.error[best].value:.3g} on {best}"
    if gap.interval[0] > chance:
        return f"Groups of {by} do not fare alike: {rates}."
    return (
        f"That groups of {by} fare differently was not shown: {rates}, {amount(gap.value, measure)} apart where chance "
        f"alone makes {amount(chance, measure)}."
    )


def _grid(by: str, found: GroupReport, measure: str) -> Grid:
    lines = [
        (group, str(rows), ranged(found.error[group].value, found.error[group].interval, measure))
        for group, rows in sorted(found.rows.items(), key=lambda item: -item[1])
    ]
    lines += [(group, str(rows), DASH) for group, rows in sorted(found.refused.items(), key=lambda item: -item[1])]
    what = "wrong, in per cent" if is_share(measure) else name(measure)
    return Grid(f"Errors by {by}, of groups with {FEW} rows or more", (by, "rows", what), lines[:SHOWN])


def _gaps(found: GroupReport, measure: str) -> Grid:
    lines = [
        (
            GAPS[gap],
            ranged(value.value, value.interval, measure),
            ranged(found.shuffled[gap], None, measure),
        )
        for gap, value in found.gaps.items()
    ]
    return Grid(f"The largest differences between groups{_unit(measure)}", ("of", "gap", "by chance"), lines)


def _unit(measure: str) -> str:
    return ", in points" if is_share(measure) else f", in {name(measure)}"

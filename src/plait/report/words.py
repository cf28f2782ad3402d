"""Figures in plain words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from plait.measures import scores

from .report import Report

NAMES = {
    "auc": "AUC",
    "average_precision": "average precision",
    "balanced_accuracy": "balanced accuracy",
    "brier": "Brier score",
    "c_index": "C-index",
    "ece": "calibration error (ECE)",
    "log_loss": "log loss",
    "macro_f1": "macro F1",
    "mae": "mean absolute error",
    "median_rank": "median rank",
    "micro_f1": "micro F1",
    "r2": "R²",
    "rmse": "RMSE",
    "spearman": "rank correlation",
}

SPACE = "\N{NO-BREAK SPACE}"


def name(measure: str) -> str:
    """A measure as one says it."""
    return NAMES.get(measure, measure.replace("_", " "))


def is_share(measure: str) -> bool:
    """Whether it is a share of rows, which reads best in per cent."""
    return measure in ("accuracy", "balanced_accuracy") or measure.startswith("recall@")


def defined(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def number(value: Any, measure: str = "", digits: int = 1) -> str:
    """A value of a measure: shares in per cent with `digits` decimals, others with three figures; a dash for NaN."""
    if not defined(value):
        return "–"
    if is_share(measure):
        return f"{100 * value:.{digits}f}{SPACE}%"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.2f}" if 0.1 <= abs(value) < 10 else f"{value:.3g}"


def interval(ends: Any, measure: str = "", digits: int = 1) -> str:
    """`low to high`; empty where there is none."""
    if ends is None or not all(defined(e) for e in ends):
        return ""
    low, high = (number(e, measure, digits) for e in ends)
    return f"{low.removesuffix(f'{SPACE}%')} to {high}"


def ends(entry: Mapping[str, Any], measure: str) -> tuple[float, float] | None:
    """The interval of a measure in an evaluation's entry."""
    found = (entry.get("intervals") or entry.get("interval") or {}).get(measure)
    return None if found is None or not all(defined(e) for e in found) else (found[0], found[1])


def seconds(value: float) -> str:
    if value < 10:
        return f"{value:.1f}{SPACE}s"
    return f"{value:.0f}{SPACE}s" if value < 120 else f"{value / 60:.0f}{SPACE}min"


def headline(report: Report) -> list[str]:
    """The findings, one sentence each, the most important first."""
    return [s for s in (_against_singles(report), _retrieval(report), _calibration(report)) if s]


def best_single(report: Report) -> str | None:
    """The modality that does best alone, by the target's main measure."""
    if report.kind is None:
        return None
    measures = scores.of(report.kind)
    found = {
        m: e[measures.main] for m, e in report.evaluation.get("single", {}).items() if defined(e.get(measures.main))
    }
    if not found:
        return None
    return max(found, key=found.__getitem__) if measures.higher(measures.main) else min(found, key=found.__getitem__)


def _against_singles(report: Report) -> str:
    test = report.evaluation.get("test", {})
    if report.kind is None:
        return ""
    main = scores.of(report.kind).main
    if not defined(test.get(main)):
        return ""
    first = f"{'Fusion' if len(report.modalities) > 1 else 'The model'} reaches {_said(test[main], main)}"
    if rows := report.evaluation.get("rows"):
        first += f" on {rows:,} test rows"
    if found := ends(report.evaluation, main):
        first += f" (95{SPACE}% {interval(found, main, 0)})"
    best = best_single(report)
    if best is None or len(report.modalities) < 2:
        return f"{first}."
    entry = report.evaluation["single"][best]
    same = entry.get("fused", {}).get(main)
    alone = number(entry[main], main, 0)
    if not defined(same) or entry.get("rows") in (None, report.evaluation.get("rows")):
        return f"{first}; the best single modality, {best}, {alone}."
    return (
        f"{first}. The best single modality, {best}, reaches {alone} on the {entry['rows']:,} of them that have it; "
        f"there, fusion reaches {number(same, main, 0)}."
    )


def _said(value: float, measure: str) -> str:
    if is_share(measure):
        return f"{number(value, measure, 0)} {name(measure)}"
    return f"{'an' if measure.startswith('average') else 'a'} {name(measure)} of {number(value, measure)}"


def _retrieval(report: Report) -> str:
    found = {p: e for p, e in report.evaluation.get("retrieval", {}).items() if defined(e.get("recall@10"))}
    if not found:
        return ""
    pair = max(found, key=lambda p: found[p]["recall@10"])
    entry = found[pair]
    source, _, wanted = pair.partition("->")
    said = (
        f"Searching with {source} finds the matching {wanted} among the first 10 of {entry['gallery']:,} "
        f"in {number(entry['recall@10'], 'recall@10', 0)} of the searches"
    )
    return f"{said} (by chance {number(min(1.0, 10 / entry['gallery']), 'recall@10', 0)})." if entry["gallery"] else ""


def _calibration(report: Report) -> str:
    found = report.evaluation.get("calibration", {})
    if not defined(found.get("ece")):
        return ""
    said = f"Its stated confidence is off by {100 * found['ece']:.0f} points on average"
    if defined(found.get("ece_calibrated")):
        said += f"; perfect confidence would look off by {100 * found['ece_calibrated']:.0f} on so many rows"
    return f"{said}."

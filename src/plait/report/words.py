"""Figures in plain words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeGuard

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

FEW = 50
"""On fewer rows than this a figure says little, and is marked or passed over."""

SPACE, DASH = "\N{NO-BREAK SPACE}", "\N{EN DASH}"

ERRORS = frozenset().union(*(kind.lower for kind in scores.KINDS.values()))
"""Measures of targets of which less is better."""


def name(measure: str) -> str:
    """A measure as one says it."""
    return NAMES.get(measure, measure.replace("_", " "))


def is_share(measure: str) -> bool:
    """Whether it is a share of rows, which reads best in per cent."""
    return measure in ("accuracy", "balanced_accuracy") or measure.startswith("recall@")


def defined(value: Any) -> TypeGuard[float]:
    """Whether it is a number, and finite."""
    return isinstance(value, int | float) and math.isfinite(value)


def number(value: Any, measure: str = "", digits: int = 1) -> str:
    """A value of a measure: shares in per cent with `digits` decimals, others with three figures; a dash for NaN."""
    if not defined(value):
        return DASH
    if is_share(measure):
        return f"{100 * value:.{digits}f}{SPACE}%"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    if 0.995 <= value < 1:
        return f"{value:.3f}"
    return f"{value:.2f}" if 0.1 <= abs(value) < 10 else f"{value:.3g}"


def decimals(low: float, high: float) -> int | None:
    """As many as an interval of this width has a use for; None where it has no width, or no end."""
    width = high - low
    return max(0, 1 - math.floor(math.log10(width))) if 0 < width < math.inf else None


def amount(value: float, measure: str, digits: int | None = None) -> str:
    """A difference of a measure: shares of rows in points, others with so many decimals or with three figures."""
    return f"{scaled(value, measure, digits)} {'points' if is_share(measure) else name(measure)}"


def scaled(value: float, measure: str, digits: int | None = None) -> str:
    """The same without its unit; what rounds to nothing has no sign."""
    form = ".3g" if digits is None else f".{digits}f"
    said = f"{100 * value:.1f}" if is_share(measure) else f"{value:{form}}"
    return said.removeprefix("-") if float(said) == 0 else said


def interval(ends: Any, measure: str = "", digits: int = 1) -> str:
    """`low to high`; empty where there is none."""
    if ends is None or not all(defined(e) for e in ends):
        return ""
    low, high = (number(e, measure, digits) for e in ends)
    return f"{low.removesuffix(f'{SPACE}%')} to {high}"


def with_interval(
    value: Any, ends: tuple[float, float] | None, measure: str, digits: int | None = None
) -> tuple[str, str]:
    """-> a value, and `low to high`, with `digits` decimals, or as many as the interval has a use for; shares in per
    cent."""
    digits = decimals(*ends) if digits is None and ends is not None else digits
    if ends is None or is_share(measure) or digits is None:
        return number(value, measure), interval(ends, measure)
    said, low, high = (f"{one:,.{digits}f}" for one in (value, *ends))
    return said, f"{low} to {high}"


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


def best_first(report: Report) -> list[str]:
    """The modalities that have a model of their own, by the target's main measure; undefined ones last."""
    single = report.evaluation.get("single", {})
    if report.kind is None:
        return list(single)
    measures = scores.of(report.kind)

    def order(modality: str) -> float:
        value = single[modality].get(measures.main)
        return (-value if measures.higher(measures.main) else value) if defined(value) else math.inf

    return sorted(single, key=order)


def best_single(report: Report) -> str | None:
    """The modality that does best alone, on enough rows if there is one; None if that is not known of any."""
    if report.kind is None:
        return None
    main, single = scores.of(report.kind).main, report.evaluation.get("single", {})
    ranked = [m for m in best_first(report) if defined(single[m].get(main))]
    return next((m for m in ranked if single[m].get("rows", FEW) >= FEW), ranked[0] if ranked else None)


def _against_singles(report: Report) -> str:
    test = report.evaluation.get("test", {})
    if report.kind is None:
        return ""
    measures = scores.of(report.kind)
    main = measures.main
    if not defined(test.get(main)):
        return ""
    first = f"{'Fusion' if len(report.modalities) > 1 else 'The model'} reaches {_said(test[main], main)}"
    if rows := test_rows(report):
        first += f" on {rows}"
    if found := ends(report.evaluation, main):
        first += f" (95{SPACE}% interval {interval(found, main, 0)})"
    best = best_single(report)
    if best is None or len(report.modalities) < 2:
        return f"{first}."
    entry = report.evaluation["single"][best]
    same, alone, sign = entry.get("fused", {}).get(main), entry[main], 1 if measures.higher(main) else -1
    if not defined(same):
        return f"{first}; the best single modality, {best}, {number(alone, main, 0)}{_on(entry)}."
    against = f"{number(same, main)} against {number(alone, main)}{_on(entry)}"
    gain = sorted(sign * end for end in entry.get("gain", {}).get(main) or (0, 0))
    if gain[0] > 0:
        return f"{first}, and beats the best single modality, {best}: {against}."
    if gain[1] < 0:
        return f"{first}, and is beaten by the best single modality, {best}: {against}."
    return f"{first}; that it beats the best single modality, {best}, was not shown: {against}."


def test_rows(report: Report) -> str:
    """How many rows the figures are of: "36 test rows", or "34 labelled test rows" where others have no label."""
    rows = report.evaluation.get("rows", 0)
    labelled = report.evaluation.get("labelled", {}).get(report.target, rows)
    return f"{labelled:,} {'labelled ' if labelled < rows else ''}test rows" if rows else ""


def _on(entry: Mapping[str, Any]) -> str:
    return f" on its {entry['rows']:,} rows" if entry.get("rows") else ""


def _said(value: float, measure: str) -> str:
    if is_share(measure):
        return f"{number(value, measure, 0)} {name(measure)}"
    article = "an" if name(measure)[0] in "aeiR" else "a"
    return f"{article} {name(measure)} of {number(value, measure)}"


def _retrieval(report: Report) -> str:
    found = {p: e for p, e in report.evaluation.get("retrieval", {}).items() if defined(e.get("recall@10"))}
    if not found:
        return ""
    # Few queries reach any figure, and a small gallery a high one.
    enough = {p: e for p, e in found.items() if e.get("queries", 0) >= FEW} or found
    pair = max(enough, key=lambda p: enough[p]["recall@10"] - _chance(enough[p]))
    entry = found[pair]
    seen = ends(entry, "recall@10")
    if seen is not None and seen[0] <= _chance(entry):
        return ""
    source, _, wanted = pair.partition("->")
    said = (
        f"Searching with {source} finds the matching {wanted} among the first 10 of {entry['gallery']:,} "
        f"in {number(entry['recall@10'], 'recall@10', 0)} of the searches"
    )
    return f"{said} (by chance {number(_chance(entry), 'recall@10', 0)})."


def _chance(entry: Mapping[str, Any]) -> float:
    """Recall at 10 of a random order."""
    return float(entry["chance"]["recall@10"])


def _calibration(report: Report) -> str:
    found = report.evaluation.get("calibration", {})
    if not defined(found.get("ece")):
        return ""
    said = f"Its stated confidence is off by {100 * found['ece']:.0f} points on average"
    if defined(found.get("ece_calibrated")):
        said += f"; a perfect one would seem off by {100 * found['ece_calibrated']:.0f} on these rows"
    return f"{said}."

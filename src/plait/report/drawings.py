"""The figures of a report by name.  No cell of the data is in them, so they can stand anywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from plait.data.cache import writing
from plait.measures import scores
from plait.measures.presence import patterns

from . import figures
from .report import Report
from .words import best_first, defined, ends

Points = dict[str, list[tuple[float, float]]]


def drawings(report: Report) -> dict[str, str]:
    """{presence, singles, patterns, retrieval, calibration, loss, measure: SVG}, those that there is something for."""
    drawn = {
        "presence": _presence(report),
        "singles": _singles(report),
        "patterns": _patterns(report),
        "retrieval": _retrieval(report),
        "calibration": figures.reliability(bins) if (bins := _calibration(report).get("bins")) else "",
        **_curves(report),
    }
    return {key: svg for key, svg in drawn.items() if svg}


def save_drawings(folder: str | Path, report: Report) -> list[Path]:
    """Each figure as a file of its own, on white; -> their paths."""
    out = []
    for key, svg in drawings(report).items():
        out.append(Path(folder) / f"{key}.svg")
        with writing(out[-1]) as part:
            part.write_text(svg.replace("<svg", '<svg style="background: #ffffff"', 1), encoding="utf-8")
    return out


def _presence(report: Report) -> str:
    names = list(report.modalities)
    counts = patterns(report.presence, names) if names else {}
    return figures.presence(counts, names) if counts else ""


def _singles(report: Report) -> str:
    single = report.evaluation.get("single", {})
    if report.kind is None or not single:
        return ""
    main = scores.of(report.kind).main
    rows: list[tuple[str, figures.Value | None, figures.Value | None]] = []
    if (whole := _value(report.evaluation.get("test", {}), report.evaluation, main)) is not None:
        rows.append(("all test rows", None, whole))
    for modality in best_first(report):
        fused = single[modality].get("fused", {})
        rows.append((modality, _value(single[modality], single[modality], main), _value(fused, fused, main)))
    return figures.dots(rows, main) if any(a or b for _, a, b in rows) else ""


def _value(values: Mapping[str, Any], entry: Mapping[str, Any], measure: str) -> figures.Value | None:
    return (values[measure], ends(entry, measure)) if defined(values.get(measure)) else None


def _patterns(report: Report) -> str:
    if report.kind is None:
        return ""
    measures = scores.of(report.kind)
    found = [p for p in report.evaluation.get("patterns", ()) if defined(p.get(measures.main))]
    names = list(report.modalities)
    return figures.grid(found, names, measures.main, measures.higher(measures.main)) if found else ""


def _retrieval(report: Report) -> str:
    found = {
        tuple(pair.split("->", 1)): entry["recall@10"]
        for pair, entry in report.evaluation.get("retrieval", {}).items()
        if defined(entry.get("recall@10"))
    }
    names = [m for m in report.modalities if any(m in pair for pair in found)]
    values = np.array([[found.get((a, b), np.nan) for b in names] for a in names])
    return figures.matrix(values, names, "recall@10") if found else ""


def _calibration(report: Report) -> Mapping[str, Any]:
    return report.evaluation.get("calibration", {})


def _curves(report: Report) -> dict[str, str]:
    loss = _series(report.history, "loss")
    if report.kind is None:
        watched, main = loss, "loss"
    else:
        main = scores.of(report.kind).main
        watched = _series(report.history, main)
    return {
        "loss": figures.curves(loss, "loss", report.kept) if loss else "",
        "measure": figures.curves(watched, main, report.kept) if watched and main != "loss" else "",
    }


def _series(history: Sequence[Mapping[str, Any]], measure: str) -> Points:
    """{"train" or "validation": [(epoch, value)]}, of the keys that begin and end like "train/loss"."""
    out: Points = {}
    for i, record in enumerate(history):
        for split in ("train", "validation"):
            keys = [key for key in record if key.split("/")[0] == split and key.split("/")[-1] == measure]
            if keys and defined(record[keys[0]]):
                out.setdefault(split, []).append((record.get("epoch", i), record[keys[0]]))
    return out

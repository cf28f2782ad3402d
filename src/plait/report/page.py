"""The report as one HTML page.  Everything that comes from the user's data is escaped; the page allows no script."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from io import BytesIO
from typing import Any

import numpy as np

from plait.core.extras import need
from plait.measures import scores
from plait.measures.presence import patterns

from . import figures
from .report import Cell, Found, Report
from .style import STYLE
from .words import best_single, defined, ends, headline, interval, name, number, seconds

_LARGEST_SOUND = 400_000
_THUMBNAIL = 192
_QUARANTINE_SHOWN = 20
_SOUNDS = (
    (b"RIFF", "audio/wav"),
    (b"OggS", "audio/ogg"),
    (b"fLaC", "audio/flac"),
    (b"ID3", "audio/mpeg"),
    (b"\xff\xfb", "audio/mpeg"),
    (b"\xff\xf3", "audio/mpeg"),
)


def page(report: Report) -> str:
    """The whole page.  Equal reports give equal text."""
    sections = [
        _section("The table", _table(report)),
        _section("What each modality is worth", _singles(report)),
        _section("When modalities are missing", _patterns(report)),
        _section("Retrieval", _retrieval(report)),
        _section("Searches to look at", _searches(report)),
        _section("Calibration", _calibration(report)),
        _section("Training", _training(report)),
        _section("Warnings", _warnings(report)),
        _section("How to repeat it", _repeat(report)),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; media-src data:; '
        "style-src 'unsafe-inline'\">\n"
        f"<title>{escape(report.title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"{_top(report)}\n{''.join(s for s in sections if s)}</main>\n</body>\n</html>\n"
    )


def _section(title: str, body: str) -> str:
    return f"<section>\n<h2>{title}</h2>\n{body}\n</section>\n" if body else ""


def _top(report: Report) -> str:
    said = headline(report) or [f"{report.rows:,} rows of {len(report.modalities)} modalities."]
    first, rest = escape(said[0]), "".join(f"<p>{escape(s)}</p>" for s in said[1:])
    target = (
        f"predicting <b>{escape(report.target)}</b>" if report.target is not None else "alignment, without a target"
    )
    about = f"{report.rows:,} rows · {len(report.modalities)} modalities · {target}"
    return (
        f'<header>\n<p class="eyebrow">{escape(report.title)}</p>\n<h1>{first}</h1>\n<div class="also">{rest}</div>\n'
        f'<p class="about">{about}</p>\n{_tiles(report)}</header>'
    )


def _tiles(report: Report) -> str:
    test = report.evaluation.get("test", {})
    tiles = [
        f'<div class="tile"><span>{escape(_capital(name(m)))}</span><b>{number(v, m)}</b>'
        f"<small>{_ninety_five(report.evaluation, m)}</small></div>"
        for m, v in test.items()
        if defined(v)
    ]
    return f'<div class="tiles">{"".join(tiles)}</div>\n' if tiles else ""


def _ninety_five(entry: Mapping[str, Any], measure: str) -> str:
    found = interval(ends(entry, measure), measure)
    return f"95 %: {found}" if found else "&nbsp;"


def _table(report: Report) -> str:
    rows = [
        (escape(m), escape(c.kind), _share(c.count, report.rows), f"{c.quarantined:,}" if c.quarantined else "–")
        for m, c in report.modalities.items()
    ] + [
        (
            f"{escape(t)} <em>target</em>",
            escape(c.kind.replace("_", " ")),
            _share(c.count, report.rows),
            f"{c.quarantined:,}" if c.quarantined else "–",
        )
        for t, c in report.targets.items()
    ]
    table = _grid(("", "kind", "present", "quarantined"), rows)
    names = list(report.modalities)
    counts = patterns(report.presence, names) if names else {}
    if not counts:
        return table
    more = len(counts) - 12
    note = "Each column is a pattern: the bar counts the rows that have just the modalities with a dark dot."
    note += f" {more} rarer patterns are not drawn." if more > 0 else ""
    return _pair(table, _figure(figures.presence(counts, names), note))


def _share(count: int, rows: int) -> str:
    share = count / rows if rows else 0.0
    return f'<span class="bar"><i style="width:{100 * share:.1f}%"></i></span> {100 * share:.0f} % <small>{count:,}</small>'


def _singles(report: Report) -> str:
    if report.kind is None or not (single := report.evaluation.get("single")):
        return ""
    measures = scores.of(report.kind)
    main = measures.main
    best = best_single(report)
    order = sorted(single, key=lambda m: _sorting(single[m].get(main), measures.higher(main)))
    rows: list[tuple[str, figures.Value | None, figures.Value | None]] = []
    if (whole := _value(report.evaluation.get("test", {}), report.evaluation, main)) is not None:
        rows.append(("all test rows", None, whole))
    lines = []
    for modality in order:
        entry = single[modality]
        fused = entry.get("fused", {})
        rows.append((modality, _value(entry, entry, main), _value(fused, fused, main)))
        mark = " <em>best</em>" if modality == best else ""
        lines.append(
            (
                escape(modality) + mark,
                number(entry.get(main), main),
                number(fused.get(main), main),
                f"{entry['rows']:,}" if "rows" in entry else "–",
            )
        )
    note = (
        "Alone: a model trained on that modality only. Both are read on the test rows that have the modality. "
        "Bars are 95 % bootstrap intervals; two that overlap may still differ on the same rows."
    )
    table = _grid(("modality", f"alone, {name(main)}", "fused", "rows"), lines)
    return _pair(_figure(figures.dots(rows, main), note), table)


def _value(values: Mapping[str, Any], entry: Mapping[str, Any], measure: str) -> figures.Value | None:
    return (values[measure], ends(entry, measure)) if defined(values.get(measure)) else None


def _sorting(value: Any, higher: bool) -> tuple[bool, float]:
    return (not defined(value), (-value if higher else value) if defined(value) else 0.0)


def _patterns(report: Report) -> str:
    if report.kind is None:
        return ""
    measures = scores.of(report.kind)
    found = [p for p in report.evaluation.get("patterns", ()) if defined(p.get(measures.main))]
    if not found:
        return ""
    note = (
        "Dark dots: the modalities that the model sees. Each line is read on the test rows that have all of them, "
        "with every other modality hidden, so different lines are about different rows."
    )
    drawing = figures.grid(found, list(report.modalities), measures.main, measures.higher(measures.main))
    return _figure(drawing, note)


def _retrieval(report: Report) -> str:
    found = report.evaluation.get("retrieval", {})
    if not found:
        return ""
    names = list(report.modalities)
    values = np.full((len(names), len(names)), np.nan)
    rows = []
    for pair, entry in found.items():
        source, _, wanted = pair.partition("->")
        if source in names and wanted in names and defined(entry.get("recall@10")):
            values[names.index(source), names.index(wanted)] = entry["recall@10"]
        rows.append(
            (
                f"{escape(source)} → {escape(wanted)}",
                *(number(entry.get(f"recall@{k}"), "recall@") for k in (1, 5, 10)),
                f"{interval(ends(entry, 'recall@10'), 'recall@') or '–'}",
                f"{entry.get('gallery', 0):,}",
            )
        )
    note = (
        "Recall@10: how often a match is among the first ten of the gallery. Every row with an equal cell is a match; "
        "ties count at chance."
    )
    drawing = _figure(figures.matrix(values, names, "recall@10"), note) if np.isfinite(values).any() else ""
    return _pair(drawing, _grid(("", "recall@1", "@5", "@10", "95 % of @10", "gallery"), rows))


def _searches(report: Report) -> str:
    out = []
    for search in report.searches:
        query = "".join(_cell(c) for c in search.query)
        hits = "".join(_hit(place, hit) for place, hit in enumerate(search.hits, 1))
        out.append(
            f'<div class="search"><div class="query"><h3>Query</h3>{query}</div><ol class="hits">{hits}</ol></div>'
        )
    return "\n".join(out)


def _hit(place: int, hit: Found) -> str:
    mark = {True: '<b class="yes">✓ match</b>', False: "", None: ""}[hit.relevant]
    cells = "".join(_cell(c) for c in hit.cells)
    return (
        f'<li><div class="rank"><span>{place}</span>{mark}<small>{number(hit.score)}</small></div>{cells}'
        f'<div class="id">{escape(str(hit.id))}</div></li>'
    )


def _cell(cell: Cell) -> str:
    label = f"<dt>{escape(cell.modality)}</dt>"
    value = cell.value
    if isinstance(value, np.ndarray):
        shown = f'<img alt="{escape(cell.modality)}" src="{_image(value)}">'
    elif isinstance(value, bytes):
        shown = _sound(value)
    elif isinstance(value, str):
        shown = f"<q>{escape(value if len(value) <= 280 else value[:279] + '…')}</q>"
    else:
        shown = f"<b>{number(value)}</b>"
    return f'<dl class="cell">{label}<dd>{shown}</dd></dl>'


def _image(pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> str:
    image = need("PIL.Image", "image").fromarray(pixels)
    image.thumbnail((_THUMBNAIL, _THUMBNAIL))
    out = BytesIO()
    image.save(out, "WEBP", quality=82, method=4)
    return _data("image/webp", out.getvalue())


def _sound(data: bytes) -> str:
    kind = next((kind for magic, kind in _SOUNDS if data.startswith(magic)), None)
    if kind is None or len(data) > _LARGEST_SOUND:
        return f"<small>a sound of {len(data) / 1000:,.0f} kB, not embedded</small>"
    return f'<audio controls preload="none" src="{_data(kind, data)}"></audio>'


def _data(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _calibration(report: Report) -> str:
    found = report.evaluation.get("calibration", {})
    if not found.get("bins"):
        return ""
    words = {
        "ece": "Mean gap between stated confidence and the share that is right (ECE, bins of equal mass)",
        "ece_calibrated": "The ECE that perfectly stated confidence would show on these rows",
        "rms_debiased": "Root mean square of the gap, corrected for the bias of few rows",
        "brier": "Brier score (0 is perfect, 2 the worst)",
    }
    rows = [(said, number(found[key])) for key, said in words.items() if key in found]
    note = "A point above the diagonal: the model is right more often than it says. Larger points hold more rows."
    return _pair(_figure(figures.reliability(found["bins"]), note), _grid(("", ""), rows))


def _training(report: Report) -> str:
    main = scores.of(report.kind).main if report.kind is not None else None
    loss = _series(report.history, "loss")
    watched = _series(report.history, main) if main else {}
    drawn = []
    best = _kept(report, main, watched, loss)
    if loss:
        drawn.append(figures.curves(loss, "loss", best))
    if watched and main:
        drawn.append(figures.curves(watched, name(main), best))
    if not drawn:
        return ""
    return f'<div class="row">{"".join(_figure(d) for d in drawn)}</div>'


def _series(history: Sequence[Mapping[str, Any]], measure: str) -> dict[str, list[tuple[float, float]]]:
    """{"train" or "validation": [(epoch, value)]} of the keys that end in the measure."""
    out: dict[str, list[tuple[float, float]]] = {}
    for i, record in enumerate(history):
        for split in ("train", "validation"):
            value = next(
                (v for k, v in record.items() if k.split("/")[0] == split and k.split("/")[-1] == measure), None
            )
            if defined(value):
                out.setdefault(split, []).append((record.get("epoch", i), value))
    return out


def _kept(report: Report, main: str | None, watched: Mapping[str, Any], loss: Mapping[str, Any]) -> float | None:
    """The epoch with the best validation measure, or the least validation loss."""
    if report.kind is not None and main and "validation" in watched:
        higher = scores.of(report.kind).higher(main)
        return max(watched["validation"], key=lambda p: (p[1] if higher else -p[1], -p[0]))[0]
    return min(loss["validation"], key=lambda p: (p[1], p[0]))[0] if "validation" in loss else None


def _warnings(report: Report) -> str:
    said = "".join(f"<li>{escape(w)}</li>" for w in report.warnings)
    out = f'<ul class="warnings">{said}</ul>' if said else ""
    if report.quarantine:
        rows = [(f"{row:,}", escape(column), escape(reason)) for row, column, reason in report.quarantine]
        more = len(rows) - _QUARANTINE_SHOWN
        out += f"<p>{len(rows):,} cells could not be read and were set aside; the run went on without them.</p>"
        out += _grid(("row", "column", "reason"), rows[:_QUARANTINE_SHOWN], "left")
        out += f"<p><small>… and {more:,} more.</small></p>" if more > 0 else ""
    return out


def _repeat(report: Report) -> str:
    out = f"<pre>{escape(report.command)}</pre>" if report.command else ""
    if report.seconds:
        out += f"<p>{escape(' · '.join(f'{step} {seconds(s)}' for step, s in report.seconds.items()))}</p>"
    if report.versions:
        out += f"<p><small>{escape(' · '.join(f'{p} {v}' for p, v in report.versions.items()))}</small></p>"
    if report.recipe:
        out += f"<details><summary>The recipe</summary><pre>{escape(report.recipe)}</pre></details>"
    return out


def _grid(head: Sequence[str], rows: Sequence[Sequence[str]], align: str = "") -> str:
    """A table of cells that are HTML already."""
    top = "".join(f"<th>{h}</th>" for h in head)
    head_row = f"<thead><tr>{top}</tr></thead>" if any(head) else ""
    body = "".join(f"<tr>{''.join(f'<td>{c}</td>' for c in row)}</tr>" for row in rows)
    return f'<div class="scroll"><table class="{align}">{head_row}<tbody>{body}</tbody></table></div>'


def _figure(svg: str, note: str = "") -> str:
    caption = f"<figcaption>{note}</figcaption>" if note else ""
    return f'<figure><div class="scroll">{svg}</div>{caption}</figure>'


def _pair(first: str, second: str) -> str:
    return f'<div class="pair"><div>{first}</div><div>{second}</div></div>' if first and second else first + second


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]

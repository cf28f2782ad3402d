"""The report as one HTML page.  Everything that comes from the user's data is escaped; the page allows no script."""

from __future__ import annotations

import base64
from collections import defaultdict
from collections.abc import Mapping, Sequence
from html import escape
from io import BytesIO
from typing import Any

import numpy as np

from plait.core.extras import need
from plait.measures import scores

from . import figures
from .drawings import drawings
from .report import Cell, Column, Found, Report
from .style import STYLE
from .words import (
    DASH,
    FEW,
    SPACE,
    best_first,
    best_single,
    defined,
    ends,
    headline,
    interval,
    name,
    number,
    seconds,
    with_interval,
)

_LARGEST_SOUND = 400_000
_THUMBNAIL = 192
_QUARANTINE_SHOWN = 20
SAID = 12
"""Letters from which the head of a column is no single word, and must not be broken after each."""
PROSE = 48
"""Letters from which a cell of a table is a sentence."""
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
    drawn = defaultdict(str, drawings(report))
    sections = [
        _section("Each modality alone", _singles(report, drawn["singles"])),
        _section("When modalities are missing", _patterns(report, drawn["patterns"])),
        *(_section(escape(asked["question"]), _question(asked)) for asked in report.questions),
        _section("The table", _table(report, drawn["presence"])),
        _section("Retrieval", _retrieval(report, drawn["retrieval"])),
        _section("Searches to look at and listen to", _searches(report)),
        _section("Calibration", _calibration(report, drawn["calibration"])),
        _section("Training", _training(drawn["loss"], drawn["measure"])),
        _section("Notes", _notes(report)),
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
    tiles = [_tile(m, v, ends(report.evaluation, m)) for m, v in test.items() if defined(v)]
    return f'<div class="tiles">{"".join(tiles)}</div>\n' if tiles else ""


def _tile(measure: str, value: float, between: tuple[float, float] | None) -> str:
    said, found = with_interval(value, between, measure)
    below = f"95 %: {found}" if found else "&nbsp;"
    return f'<div class="tile"><span>{escape(_capital(name(measure)))}</span><b>{said}</b><small>{below}</small></div>'


def _question(asked: Mapping[str, Any]) -> str:
    """In plain words first, then figures, numbers and method last."""
    first, *rest = asked["words"]
    words = f'<p class="answer">{escape(first)}</p>\n' + "".join(f"<p>{escape(s)}</p>\n" for s in rest)
    drawn = "".join(
        _figure(figures.tagged(one["svg"], f"{asked['name']}-{i}"), escape(one["caption"]))
        for i, one in enumerate(asked["drawings"])
    )
    numbers = "".join(
        f"<h3>{escape(grid['title'])}</h3>\n"
        + _grid(tuple(map(escape, grid["head"])), [tuple(map(escape, line)) for line in grid["lines"]])
        for grid in asked["grids"]
    )
    method = f"<details><summary>How this was found</summary><p>{escape(asked['method'])}</p></details>"
    return f'<div class="question">{words}{drawn}{numbers}{method if asked["method"] else ""}</div>'


def _table(report: Report, drawing: str) -> str:
    rows = [_column(escape(name), column, report.rows) for name, column in report.modalities.items()]
    rows += [_column(f"{escape(name)} <em>target</em>", column, report.rows) for name, column in report.targets.items()]
    more = len(np.unique(report.presence, axis=0)) - figures.PATTERNS
    note = "Each column is a pattern: the bar counts the rows that have just the modalities with a strong dot."
    note += f" {more} rarer patterns are not drawn." if more > 0 else ""
    return _pair(_figure(drawing, note), _grid(("", "kind", "present", "quarantined"), rows, "kinds"))


def _column(label: str, column: Column, rows: int) -> tuple[str, ...]:
    share = 100 * column.count / rows if rows else 0.0
    bar = f'<span class="bar"><i style="width:{share:.1f}%"></i></span> {share:.0f} % <small>{column.count:,}</small>'
    return label, escape(column.kind.replace("_", " ")), bar, _count(column.quarantined or None)


def _singles(report: Report, drawing: str) -> str:
    if report.kind is None or not drawing:
        return ""
    main = scores.of(report.kind).main
    best = best_single(report)
    rows = []
    for modality in best_first(report):
        entry = report.evaluation["single"][modality]
        label = escape(modality) + (" <em>best</em>" if modality == best else "")
        fused = entry.get("fused", {}).get(main)
        rows.append((label, number(entry.get(main), main), number(fused, main), _count(entry.get("rows"))))
    note = (
        "Alone: a model trained on that modality only. Both are read on the test rows that have the modality. "
        "Lines are 95 % bootstrap intervals; two that overlap may still differ on the same rows."
    )
    return _pair(_figure(drawing, note), _grid(("modality", f"alone, {name(main)}", "fused", "rows"), rows))


def _patterns(report: Report, drawing: str) -> str:
    if report.kind is None or not drawing:
        return ""
    main = scores.of(report.kind).main
    rows = [
        (
            f"without {escape(m)}",
            *(number(p.get(main), main) for p in (entry, entry["with"])),
            _difference(entry.get("loss", {}).get(main), main),
            _count(entry["rows"]),
        )
        for m, entry in report.evaluation.get("without", {}).items()
    ]
    note = (
        "Strong dots: the modalities that the model sees. Each line is read on the test rows that have all of them, "
        "with every other modality hidden, so different lines are about different rows. "
        f"Lines on fewer than {FEW} rows say little; they stand last, without colour."
    )
    head = ("on the rows that have it", name(main), "with it", "with minus without, 95 %", "rows")
    return _pair(_figure(drawing, note, "whole"), _grid(head, rows) if rows else "")


def _difference(between: Sequence[float] | None, measure: str) -> str:
    return "no row differs" if between == [0, 0] else interval(between, measure) or DASH


def _retrieval(report: Report, drawing: str) -> str:
    rows = [
        (
            escape(pair.replace("->", f"{SPACE}\N{RIGHTWARDS ARROW}{SPACE}")),
            *(number(entry.get(f"recall@{k}"), "recall@") for k in (1, 5, 10)),
            interval(ends(entry, "recall@10"), "recall@") or DASH,
            _count(entry.get("gallery")),
        )
        for pair, entry in report.evaluation.get("retrieval", {}).items()
    ]
    note = (
        "Recall@10: how often a match is among the first ten of the gallery. Every row with an equal cell is a match; "
        "ties count at chance."
    )
    table = _grid(("", "recall@1", "@5", "@10", "95 % of @10", "among"), rows) if rows else ""
    return _pair(_figure(drawing, note), table)


def _searches(report: Report) -> str:
    out = []
    for search in report.searches:
        query = "".join(_cell(c) for c in search.query)
        hits = "".join(_hit(place, hit) for place, hit in enumerate(search.hits, 1))
        out.append(
            f'<div class="search"><div class="query"><h3>Query</h3>{query}</div><ol class="hits">{hits}</ol></div>'
        )
    note = f"<p><small>{escape(report.choice)}</small></p>\n" if out and report.choice else ""
    return note + "\n".join(out)


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
    return f'<audio controls preload="metadata" src="{_data(kind, data)}"></audio>'


def _data(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _calibration(report: Report, drawing: str) -> str:
    found = report.evaluation.get("calibration", {})
    words = {
        "ece": "Mean gap between stated confidence and the share that is right (ECE, bins of equal mass)",
        "ece_calibrated": "The ECE that perfectly stated confidence would show on these rows",
        "rms_debiased": "Root mean square of the gap, corrected for the bias of few rows",
        "brier": "Brier score (0 is perfect, 2 the worst)",
    }
    rows = [(said, f"{found[key]:.3f}") for key, said in words.items() if defined(found.get(key))]
    note = "A point above the diagonal: the model is right more often than it says. Larger points hold more rows."
    return _pair(_figure(drawing, note), _grid(("", ""), rows) if rows else "")


def _training(loss: str, measure: str) -> str:
    return f'<div class="row">{_figure(loss)}{_figure(measure)}</div>' if loss or measure else ""


def _notes(report: Report) -> str:
    said = "".join(f"<li>{escape(w)}</li>" for w in report.warnings)
    out = f'<ul class="warnings">{said}</ul>' if said else ""
    if report.quarantine:
        rows = [(f"{row:,}", escape(column), escape(reason)) for row, column, reason in report.quarantine]
        more = len(rows) - _QUARANTINE_SHOWN
        out += f"<p>Cells that could not be read and were set aside: {len(rows):,}. The run went on without them.</p>"
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
    top = "".join(f'<th class="said">{h}</th>' if len(h) > SAID else f"<th>{h}</th>" for h in head)
    head_row = f"<thead><tr>{top}</tr></thead>" if any(head) else ""
    body = "".join(f"<tr>{''.join(map(_cell_of, row))}</tr>" for row in rows)
    return f'<div class="scroll"><table class="{align}">{head_row}<tbody>{body}</tbody></table></div>'


def _cell_of(text: str) -> str:
    """Sentences are broken into lines, numbers are not."""
    return f'<td class="prose">{text}</td>' if "<" not in text and len(text) > PROSE else f"<td>{text}</td>"


def _figure(svg: str, note: str = "", of: str = "") -> str:
    """of: a class of the style, such as `whole`, which no narrow screen makes smaller."""
    if not svg:
        return ""
    caption = f"<figcaption>{note}</figcaption>" if note else ""
    return f'<figure class="{of}"><div class="scroll">{svg}</div>{caption}</figure>'


def _pair(first: str, second: str) -> str:
    return f'<div class="pair"><div>{first}</div><div>{second}</div></div>' if first and second else first + second


def _count(value: int | None) -> str:
    return DASH if value is None else f"{value:,}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]

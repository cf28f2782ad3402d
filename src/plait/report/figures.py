"""Figures as SVG text, for the report and for pages elsewhere.

Text stays text, in the reader's font.  Equal input gives equal text.  Colours are told apart by colour-blind readers
(Okabe & Ito) and in print; ink, lines and blue take the page's colours where it sets
--ink, --muted, --line and --accent.
"""

from __future__ import annotations

import functools
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from html import escape
from io import StringIO
from typing import Any, ParamSpec

import numpy as np
from numpy.typing import NDArray

from plait.core.extras import need

from .words import FEW, SPACE, defined, ends, is_share, name, number, with_interval

INK, MUTED, LINE = "#1f2933", "#5f6b7a", "#dde2e8"
FUSED, SINGLE, THIRD = "#0072b2", "#d55e00", "#009e73"
_THEME = {INK: "ink", MUTED: "muted", LINE: "line", FUSED: "accent"}
_COLOURS = (FUSED, SINGLE, THIRD, "#cc79a7", "#e69f00")
_FORMS = ("o", "s", "^", "D", "v", "P", "X")
_LONGEST = 16
PATTERNS = 12
"""How many patterns of presence are drawn."""

_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "plait",
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    # A name such as "a$b$" is no formula.
    "text.parse_math": False,
    "text.color": INK,
    "axes.facecolor": "none",
    "axes.edgecolor": LINE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    **{
        f"{axis}tick.{key}": value
        for axis in "xy"
        for key, value in {"color": MUTED, "labelsize": 8, "major.size": 0}.items()
    },
}

GAP = 3 * SPACE

Value = tuple[float, tuple[float, float] | None]
"""A number and its interval."""


P = ParamSpec("P")


def _styled(draw: Callable[P, str]) -> Callable[P, str]:
    """`draw` under this file's style, whatever the caller's matplotlib is set to."""

    @functools.wraps(draw)
    def styled(*args: P.args, **kwargs: P.kwargs) -> str:
        with need("matplotlib", "report").rc_context(_STYLE), warnings.catch_warnings():
            # Widths of scripts that the measuring font lacks are guessed; the reader's font has them.
            warnings.filterwarnings("ignore", message="Glyph .* missing from")
            return draw(*args, **kwargs)

    return styled


@_styled
def presence(counts: Mapping[tuple[str, ...], int], names: Sequence[str], most: int = PATTERNS) -> str:
    """How many rows have which modalities together: a bar for each of the `most` frequent patterns.

    Source of the form: Lex et al., "UpSet", IEEE TVCG 2014.
    """
    shown = list(counts.items())[:most]
    total = sum(counts.values())
    figure = _figure(max(3.2, 1.75 + 0.32 * len(shown)), 1.7 + 0.24 * len(names))
    left, bottom, wide = 1.45 / figure.get_figwidth(), 0.12 / figure.get_figheight(), 0.32 * len(shown)
    dots_high = 0.24 * len(names) / figure.get_figheight()
    wide /= figure.get_figwidth()
    bars = figure.add_axes((left, bottom + dots_high + 0.03, wide, 0.96 - dots_high - bottom - 0.03))
    dots = figure.add_axes((left, bottom, wide, dots_high))
    places = np.arange(len(shown))
    bars.bar(places, [count for _, count in shown], width=0.62, color=FUSED)
    top = max((count for _, count in shown), default=1)
    for place, (_, count) in enumerate(shown):
        bars.text(place, count + 0.03 * top, f"{count:,}", ha="center", va="bottom", size=7.5)
    bars.set(xlim=(-0.5, len(shown) - 0.5), ylim=(0, 1.15 * top), xticks=[], yticks=[])
    bars.spines[["left", "bottom"]].set_visible(False)
    for line, modality in enumerate(reversed(names)):
        have = np.array([modality in pattern for pattern, _ in shown])
        dots.scatter(places[~have], np.full((~have).sum(), line), s=26, color=LINE, linewidths=0)
        dots.scatter(places[have], np.full(have.sum(), line), s=26, color=INK, linewidths=0, zorder=3)
        share = sum(count for pattern, count in counts.items() if modality in pattern) / max(1, total)
        label = f"{_short(modality)}  {100 * share:.0f} %"
        dots.text(-0.75, line, label, ha="right", va="center")
    for place, (pattern, _) in enumerate(shown):
        lines = [len(names) - 1 - names.index(m) for m in pattern]
        if len(lines) > 1:
            dots.plot([place, place], [min(lines), max(lines)], color=INK, linewidth=1.3)
    dots.set(xlim=(-0.5, len(shown) - 0.5), ylim=(-0.6, len(names) - 0.4))
    dots.axis("off")
    return _svg(figure, "presence", f"Rows by the modalities that they have; {len(shown)} patterns shown")


@_styled
def curves(series: Mapping[str, Sequence[tuple[float, float]]], measure: str, best: float | None = None) -> str:
    """Lines over epochs.  series: {name: [(epoch, value)]}, at most two.  best: the epoch that was kept."""
    figure = _figure(3.7, 2.3)
    axes = figure.add_axes((0.13, 0.17, 0.84, 0.68))
    if best is not None:
        axes.axvline(best, color=MUTED, linewidth=0.9, linestyle=(0, (2, 2)))
        axes.text(
            best, 1.01, "kept", color=MUTED, size=7.5, ha="center", va="bottom", transform=axes.get_xaxis_transform()
        )
    colours = dict(zip(series, (SINGLE, FUSED), strict=False)) if len(series) > 1 else {}
    for label, points in series.items():
        x, y = zip(*points, strict=True) if points else ((), ())
        colour = colours.get(label, FUSED)
        axes.plot(x, y, color=colour, linewidth=1.6, label=label, marker="o" if len(x) < 2 else None, markersize=3)
    if len(series) > 1:
        axes.legend(frameon=False, loc="best", handlelength=1.2, fontsize=8)
    axes.set_title(name(measure), loc="left", size=9, color=INK, pad=12)
    axes.set_xlabel("epoch", color=MUTED, size=8)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(axis="y", color=LINE, linewidth=0.7)
    _percent(axes.yaxis, measure)
    return _svg(figure, f"curves {measure}", f"{name(measure)} by epoch: {', '.join(series)}")


@_styled
def dots(rows: Sequence[tuple[str, Value | None, Value | None]], measure: str) -> str:
    """Single against fused.  rows: (label, the single modality, fusion on the same rows), drawn from top to bottom."""
    figure = _figure(4.3, 0.75 + 0.42 * len(rows))
    high = figure.get_figheight()
    axes = figure.add_axes((0.29, 0.42 / high, 0.67, (high - 0.72) / high))
    for line, (label, *pair) in enumerate(rows):
        both = all(pair)
        for value, colour, marker, shift in zip(pair, (SINGLE, FUSED), ("s", "o"), (-0.14, 0.14), strict=True):
            if value is None:
                continue
            y = line + (shift if both else 0)
            if value[1]:
                axes.plot(value[1], [y, y], color=colour, linewidth=1.6, solid_capstyle="round")
            axes.plot(value[0], y, marker=marker, color=colour, markersize=5.5, linestyle="none")
        axes.text(-0.03, line, _short(label), ha="right", va="center", transform=axes.get_yaxis_transform())
    axes.set(ylim=(len(rows) - 0.5, -0.5), yticks=[])
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", color=LINE, linewidth=0.7)
    axes.set_xlabel(name(measure), color=MUTED, size=8)
    axes.xaxis.get_major_locator().set_params(nbins=5)
    _percent(axes.xaxis, measure)
    for x, label, colour, marker in ((0.0, "alone", SINGLE, "s"), (0.22, "fused, same rows", FUSED, "o")):
        y = 1 + 0.16 / (high - 0.72)
        axes.plot(x + 0.015, y, marker=marker, color=colour, markersize=5, transform=axes.transAxes, clip_on=False)
        axes.text(x + 0.04, y, label, size=8, va="center", color=MUTED, transform=axes.transAxes)
    return _svg(figure, "dots", f"{name(measure)} of each modality alone and of fusion on the same rows")


@_styled
def forest(
    rows: Sequence[tuple[str, Value | None, str]],
    measure: str,
    mark: float | None = None,
    *,
    gains: bool = False,
    digits: int | None = None,
) -> str:
    """Numbers with their intervals.  rows: (label, value, group), drawn from top to bottom; `asked` ones stand out, and
    without a value the label is a heading.

    mark: the control's level, or nothing, as a line.  gains: differences of the measure, those of shares in points.
    digits: decimals of all numbers; None: those that each interval has a use for.
    """
    points = gains and is_share(measure)
    if points:
        rows = [(label, value and _hundredfold(value), of) for label, value, of in rows]
        measure, mark = "points", None if mark is None else 100 * mark
    wide, step = 6.4, 0.27
    figure = _figure(wide, 0.62 + step * len(rows))
    high = figure.get_figheight()
    axes = figure.add_axes((0.3, 0.5 / high, 0.42, (high - 0.62) / high))
    if mark is not None:
        axes.axvline(mark, color=MUTED, linewidth=0.9, linestyle=(0, (3, 3)))
    row = axes.get_yaxis_transform()
    for line, (label, known, group) in enumerate(rows):
        if known is None:
            # From the figure's left edge, over all of it.
            axes.text(-0.7, line, _short(label, 90), ha="left", va="center", weight="bold", transform=row)
            continue
        value, between = known
        colour, shape = {"asked": (SINGLE, "D"), "control": (INK, "o")}.get(group, (FUSED, "s"))
        if between is not None and all(map(defined, between)):
            axes.plot(between, [line, line], color=colour, linewidth=1.5, solid_capstyle="round")
        axes.plot(value, line, marker=shape, color=colour, markersize=4.8, linestyle="none")
        said = _short(label, 30)
        axes.text(-0.03, line, said, ha="right", va="center", size=8.5 * 25 / max(25, len(said)), transform=row)
        if points:
            ends = "" if between is None else f"{between[0]:.1f} to {between[1]:.1f}"
            said = f"{value:.1f}{GAP}{ends}"
        else:
            said = GAP.join(with_interval(value, between, measure, digits))
        axes.text(1.04, line, said, ha="left", va="center", size=7.5, color=MUTED, transform=row)
    axes.set(ylim=(len(rows) - 0.4, -0.6), yticks=[])
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", color=LINE, linewidth=0.7)
    axes.set_xlabel(name(measure), color=MUTED, size=8)
    axes.xaxis.get_major_locator().set_params(nbins=5)
    _percent(axes.xaxis, measure)
    return _svg(figure, "forest", f"{name(measure)}, with 95 % intervals, of {', '.join(label for label, *_ in rows)}")


@_styled
def grid(patterns: Sequence[Mapping[str, Any]], names: Sequence[str], measure: str, higher: bool = True) -> str:
    """A heat map of what is left when only some modalities are seen, the best first, those on few rows last.

    patterns: entries of an evaluation: present, rows, the measure, intervals.
    """
    known = [p for p in patterns if defined(p.get(measure))]
    few = [p.get("rows", FEW) < FEW for p in known]
    order = [(few[i], -p[measure] if higher else p[measure], -len(p["present"]), i) for i, p in enumerate(known)]
    known = [known[i] for *_, i in sorted(order)]
    step, column = 0.235, 0.52
    left = column * len(names)
    figure = _figure(left + 2.3, 0.45 + step * len(known))
    wide, high = figure.get_size_inches()
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, wide), ylim=(high, 0))
    axes.axis("off")
    shades = iter(_shades([p[measure] for p in known if p.get("rows", FEW) >= FEW], higher))
    for i, modality in enumerate(names):
        axes.text((i + 0.5) * column, 0.2, _short(modality, 8), ha="center", va="center", size=7.5, color=MUTED)
    for x, label in ((left + 0.42, name(measure)), (left + 1.32, "95 %"), (left + 2.25, "rows")):
        align = "right" if label == "rows" else "center"
        axes.text(x, 0.2, _short(label), ha=align, va="center", size=7.5, color=MUTED)
    for line, entry in enumerate(known):
        y = 0.4 + step * line
        for i, modality in enumerate(names):
            there = modality in entry["present"]
            axes.plot((i + 0.5) * column, y + step / 2, "o", color=INK if there else LINE, markersize=5, linewidth=0)
        value, said = with_interval(entry[measure], ends(entry, measure), measure)
        shade = next(shades) if entry.get("rows", FEW) >= FEW else None
        _cell(axes, left + 0.1, y + 0.01, 0.64, step - 0.02, shade, value)
        axes.text(left + 1.32, y + step / 2, said, ha="center", va="center", size=7.5, color=MUTED)
        axes.text(left + 2.25, y + step / 2, f"{entry.get('rows', 0):,}", ha="right", va="center", size=7.5)
    return _svg(figure, "grid", f"{name(measure)} by the modalities that are seen")


@_styled
def matrix(
    values: NDArray[Any], names: Sequence[str], measure: str, axes_said: tuple[str, str] = ("query", "finds")
) -> str:
    """All pairs as a heat map.  values: [M, M], NaN: no such pair.  axes_said: what stands down, and across."""
    side, wide, label = 0.34, 0.68, 1.1
    figure = _figure(label + wide * len(names) + 0.1, 0.62 + side * len(names))
    across, high = figure.get_size_inches()
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, across), ylim=(high, 0))
    axes.axis("off")
    shades = iter(_shades([v for v in values.flat if defined(float(v))], True, low=0.0))
    axes.text(label - 0.1, 0.4, axes_said[0], ha="right", va="center", size=7.5, color=MUTED)
    axes.text(label, 0.12, axes_said[1], ha="left", va="center", size=7.5, color=MUTED)
    for i, modality in enumerate(names):
        axes.text(label + (i + 0.5) * wide, 0.4, _short(modality, 11), ha="center", va="center", size=8)
        axes.text(label - 0.1, 0.56 + (i + 0.5) * side, _short(modality, 14), ha="right", va="center")
        for j in range(len(names)):
            value = float(values[i, j])
            if defined(value):
                said = number(value, measure, 0)
                _cell(
                    axes, label + j * wide + 0.02, 0.56 + i * side + 0.02, wide - 0.04, side - 0.04, next(shades), said
                )
    return _svg(figure, "matrix", f"{measure} for each pair of modalities")


@_styled
def clouds(points: Mapping[str, NDArray[Any]]) -> str:
    """Sets of points in a plane whose directions mean nothing; a large mark where the middle of each is.

    points: {name: [n, 2]}.  Names are told apart by colour and by form.
    """
    figure = _figure(5.6, 3.3)
    axes = figure.add_axes((0.02, 0.03, 0.66, 0.94))
    for i, (label, at) in enumerate(points.items()):
        colour, form = _COLOURS[i % len(_COLOURS)], _FORMS[i % len(_FORMS)]
        x, y = np.asarray(at, float).T
        axes.plot(x, y, form, color=colour, markersize=3.4, alpha=0.45, markeredgewidth=0)
        # An edge in the page's ink: the middles stay visible among points of any colour.
        axes.plot(
            x.mean(), y.mean(), form, color=colour, markersize=10, markeredgecolor=INK, markeredgewidth=1.1, zorder=4
        )
        axes.plot([], [], form, color=colour, markersize=6, markeredgewidth=0, label=_short(label))
    axes.set(xticks=[], yticks=[], aspect="equal")
    axes.set_adjustable("datalim")
    axes.margins(0.06)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.02, 0.5), fontsize=8.5, handletextpad=0.3)
    return _svg(figure, "clouds", f"Points of {', '.join(points)}, and the middle of each")


@_styled
def degradation(
    panels: Mapping[str, Mapping[str, Sequence[tuple[float, Value]]]], measure: str, across: str, share: bool = False
) -> str:
    """How a measure falls, a panel beside the other on one scale.

    panels: {title: {line: [(x, value with interval)]}}, at most three lines each.  across: what x is; share: of rows.
    """
    columns = min(2, len(panels))
    lines = -(-len(panels) // columns)
    wide, tall, left, below, gap = 2.3, 1.3, 0.5, 0.42, 0.56
    figure = _figure(left + columns * wide, lines * (tall + below + gap))
    across_all, high = figure.get_size_inches()
    points = [point for panel in panels.values() for line in panel.values() for point in line]
    levels = [end for _, (value, between) in points for end in (value, *(between or ())) if defined(end)]
    room = 0.06 * (max(levels) - min(levels)) or 0.05
    for i, (title, panel) in enumerate(panels.items()):
        x0, y0 = left + (i % columns) * wide, high - (i // columns + 1) * (tall + below + gap) + below
        axes = figure.add_axes((x0 / across_all, y0 / high, (wide - 0.25) / across_all, tall / high))
        styles = zip((FUSED, SINGLE, THIRD), ("-", (0, (4, 2)), (0, (1, 1.5))), ("o", "s", "^"), strict=True)
        for (label, line), (colour, dashes, marker) in zip(panel.items(), styles, strict=False):
            x = [at for at, _ in line]
            known = [(at, *between) for at, (_, between) in line if between and all(map(defined, between))]
            if known:
                axes.fill_between(*zip(*known, strict=True), color=colour, alpha=0.13, linewidth=0)
            axes.plot(x, [value for _, (value, _) in line], color=colour, linestyle=dashes, label=label, linewidth=1.5)
            axes.plot(x, [value for _, (value, _) in line], marker, color=colour, markersize=3.4)
        axes.legend(
            frameon=False,
            loc="lower left",
            bbox_to_anchor=(-0.03, 0.97),
            ncols=3,
            fontsize=7.5,
            handlelength=1.6,
            handletextpad=0.5,
            columnspacing=1.0,
            borderaxespad=0.1,
        )
        axes.set_title(_short(title, 28), loc="left", size=9, color=INK, pad=18)
        axes.set_ylim(min(levels) - room, max(levels) + room)
        axes.grid(axis="y", color=LINE, linewidth=0.7)
        axes.yaxis.get_major_locator().set_params(nbins=4)
        axes.tick_params(labelleft=i % columns == 0)
        if i >= len(panels) - columns:
            axes.set_xlabel(across, color=MUTED, size=8)
        _percent(axes.yaxis, measure)
        if share:
            axes.set_xticks([0, 0.25, 0.5, 1])
            _percent(axes.xaxis, "accuracy")
        else:
            axes.xaxis.get_major_locator().set_params(integer=True)
    return _svg(figure, f"degradation {across}", f"{name(measure)} by {across}: {', '.join(panels)}")


@_styled
def reliability(bins: Sequence[Mapping[str, Any]]) -> str:
    """Stated confidence against the share that is right; a point's size is its number of rows."""
    figure = _figure(3.3, 3.1)
    axes = figure.add_axes((0.16, 0.15, 0.8, 0.82))
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.9, linestyle=(0, (3, 3)))
    axes.text(0.03, 0.97, "too modest", size=7.5, color=MUTED, va="top")
    axes.text(0.97, 0.03, "too sure", size=7.5, color=MUTED, ha="right")
    most = max((b["rows"] for b in bins), default=1)
    for b in bins:
        axes.plot([b["confidence"]] * 2, [b["confidence"], b["accuracy"]], color=FUSED, linewidth=1, alpha=0.5)
    sizes = [70 * b["rows"] / most for b in bins]
    axes.scatter(
        [b["confidence"] for b in bins],
        [b["accuracy"] for b in bins],
        s=sizes,
        color=FUSED,
        zorder=3,
        linewidths=0,
        clip_on=False,
    )
    axes.set(xlim=(0, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    axes.grid(color=LINE, linewidth=0.7)
    axes.set_xlabel("stated confidence", color=MUTED, size=8)
    axes.set_ylabel("share that is right", color=MUTED, size=8)
    for axis in (axes.xaxis, axes.yaxis):
        _percent(axis, "accuracy")
    return _svg(figure, "reliability", "Reliability diagram: stated confidence against the share that is right")


@_styled
def answered(points: Sequence[tuple[float, float]], marks: Sequence[tuple[float, Value]]) -> str:
    """What is wrong if only the surest rows are answered.  points: (share answered, share wrong among those).

    marks: some of them with their intervals.
    """
    figure = _figure(4.3, 2.7)
    axes = figure.add_axes((0.17, 0.16, 0.8, 0.8))
    x, y = zip(*points, strict=True)
    axes.axhline(y[-1], color=MUTED, linewidth=0.9, linestyle=(0, (3, 3)))
    axes.text(0.0, y[-1], "in any order", size=7.5, color=MUTED, va="bottom")
    axes.plot(x, y, color=FUSED, linewidth=1.6)
    for share, (value, between) in marks:
        if between is not None and all(map(defined, between)):
            axes.plot([share, share], between, color=SINGLE, linewidth=1.5, solid_capstyle="round")
        axes.plot(share, value, marker="s", color=SINGLE, markersize=4.8, linestyle="none")
    top = max([*y, *(ends[1] for _, (_, ends) in marks if ends is not None and defined(ends[1]))])
    axes.set(xlim=(0, 1.02), ylim=(0, 1.1 * top or 1))
    axes.grid(color=LINE, linewidth=0.7)
    axes.yaxis.get_major_locator().set_params(nbins=5)
    axes.set_xlabel("share of rows answered, the surest first", color=MUTED, size=8)
    axes.set_ylabel("wrong among those", color=MUTED, size=8)
    for axis in (axes.xaxis, axes.yaxis):
        _percent(axis, "accuracy")
    return _svg(figure, "answered", "Share of wrong rows, by the share of rows that is answered, the surest first")


def _figure(width: float, height: float) -> Any:
    return need("matplotlib.figure", "report").Figure(figsize=(width, height), facecolor="none")


def _short(text: str, longest: int = _LONGEST) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _hundredfold(value: Value) -> Value:
    return 100 * value[0], None if value[1] is None else (100 * value[1][0], 100 * value[1][1])


def _percent(axis: Any, measure: str) -> None:
    if is_share(measure):
        axis.set_major_formatter(need("matplotlib.ticker", "report").PercentFormatter(1.0, symbol=" %"))


def _shades(values: Sequence[float], higher: bool, low: float | None = None) -> list[float]:
    """Values -> 0 (pale, worst) to 1 (dark, best)."""
    found = np.asarray(values, float) * (1 if higher else -1)
    if not len(found):
        return []
    start = found.min() if low is None else low
    # Values that are nearly equal must not look far apart.
    span = max(found.max() - start, 0.1 * np.abs(found).max(), 1e-9)
    return list(1 - (found.max() - found) / span)


def _cell(axes: Any, x: float, y: float, width: float, height: float, shade: float | None, text: str) -> None:
    """shade: 0 to 1; None: no colour."""
    if shade is None:
        axes.text(x + width / 2, y + height / 2, text, ha="center", va="center", size=8, color=MUTED)
        return
    colour = need("matplotlib", "report").colormaps["Blues"](0.08 + 0.72 * shade)
    patch = need("matplotlib.patches", "report").Rectangle((x, y), width, height, color=colour, linewidth=0)
    axes.add_patch(patch)
    # Not INK: on a coloured cell the text must not follow the page's theme.
    ink = "#ffffff" if shade > 0.6 else "#12202e"
    axes.text(x + width / 2, y + height / 2, text, ha="center", va="center", size=8, color=ink)


def tagged(svg: str, tag: str) -> str:
    """The figure with a tag before all its ids, which no two on one page may share."""
    return re.sub(r"( id=\"|url\(#|href=\"#)", rf"\g<1>{tag}-", svg)


def _svg(figure: Any, title: str, description: str) -> str:
    """SVG fit to stand in a page: no prologue, no unused or clashing ids, the page's colours."""
    out = StringIO()
    figure.savefig(out, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    text = out.getvalue()
    # The style sheet would reach the whole page; its two rules go to the root below.
    text = re.sub(r"<(metadata|style).*?</\1>", "", text[text.index("<svg") :], flags=re.DOTALL)
    used = set(re.findall(r"(?:url\(#|href=\"#)([^)\"]+)", text))
    text = re.sub(r' id="([^"]+)"', lambda m: m[0] if m[1] in used else "", text)
    text = tagged(text, re.sub(r"\W+", "-", title))
    # CSS pixels, so that the page can set the height by the width it has.
    root = f'width="{figure.get_figwidth() * 96:.0f}" stroke-linejoin="round" stroke-linecap="butt" role="img"'
    text = re.sub(r' width="[\d.]+pt"', f" {root}", text, count=1)
    text = text.replace("<svg", f'<svg aria-label="{escape(description, quote=True)}"', 1)
    text = re.sub(r' height="[\d.]+pt"', "", text, count=1)
    for colour, variable in _THEME.items():
        text = text.replace(f": {colour}", f": var(--{variable}, {colour})")
    return text.replace("'DejaVu Sans'", "var(--font, 'DejaVu Sans')").strip()

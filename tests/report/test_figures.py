import re
import xml.etree.ElementTree as ET

import matplotlib
import numpy as np
import pytest

from plait.report import figures

BINS = [{"confidence": 0.3, "accuracy": 0.4, "rows": 10}, {"confidence": 0.9, "accuracy": 0.8, "rows": 30}]
FALL = {
    "one": {"noise": [(0, (0.9, (0.8, 1.0))), (5, (0.3, (0.2, 0.4)))], "blur": [(0, (0.9, None)), (5, (0.8, None))]},
    "two": {"noise": [(0, (0.7, None)), (5, (0.6, None))]},
}
DRAWN = {
    "answered": lambda: figures.answered([(0.5, 0.0), (1.0, 0.2)], [(0.5, (0.0, (0.0, 0.1))), (1.0, (0.2, None))]),
    "presence": lambda: figures.presence({("a", "b"): 30, ("a",): 5, (): 1}, ["a", "b", "c"]),
    "curves": lambda: figures.curves({"train": [(0, 2.0), (1, 1.0)], "validation": [(0, 2.1), (1, 1.5)]}, "loss", 1),
    "degradation": lambda: figures.degradation(FALL, "accuracy", "strength"),
    "dots": lambda: figures.dots([("all", None, (0.8, (0.7, 0.9))), ("a", (0.6, None), (0.7, None))], "accuracy"),
    "forest": lambda: figures.forest([("one", (0.8, (0.7, 0.9)), "asked"), ("two", (0.6, None), "")], "accuracy", 0.7),
    "grid": lambda: figures.grid([{"present": ["a"], "rows": 60, "r2": 0.123}], ["a", "b"], "r2"),
    "matrix": lambda: figures.matrix(np.array([[np.nan, 0.25], [0.5, np.nan]]), ["a", "b"], "recall@10"),
    "reliability": lambda: figures.reliability(BINS),
    "clouds": lambda: figures.clouds({"a": np.array([[0.0, 0.0], [1.0, 2.0]]), "b$1$": np.array([[3.0, 1.0]])}),
}


def texts(svg):
    return [e.text for e in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


@pytest.mark.parametrize("name", DRAWN)
def test_is_well_formed_repeatable_and_carries_no_date(name):
    svg = DRAWN[name]()
    assert svg == DRAWN[name]()
    root = ET.fromstring(svg)
    assert root.get("role") == "img"
    assert root.get("aria-label")
    assert "metadata" not in svg
    assert "<style" not in svg
    assert not re.search(r"20\d\d-\d\d", svg)


def test_a_callers_settings_of_matplotlib_do_not_matter_and_stay():
    plain = DRAWN["dots"]()
    with matplotlib.rc_context({"font.size": 30, "svg.fonttype": "path", "axes.facecolor": "red"}):
        assert DRAWN["dots"]() == plain
        assert matplotlib.rcParams["font.size"] == 30


def test_presence_counts_rows_and_shares():
    said = texts(DRAWN["presence"]())
    assert {"30", "5", "1"} <= set(said)
    shares = {re.sub(r"\s+", " ", t) for t in said}
    assert {"a 97 %", "b 83 %", "c 0 %"} <= shares


def test_grid_orders_by_value_and_puts_few_rows_last_without_colour():
    entries = [
        {"present": ["a"], "rows": 60, "rmse": 3.0},
        {"present": ["b"], "rows": 60, "rmse": 2.0},
        {"present": ["a", "b"], "rows": 49, "rmse": 1.0},
        {"present": [], "rows": 60, "rmse": float("nan")},
    ]
    svg = figures.grid(entries, ["a", "b"], "rmse", higher=False)
    said = texts(svg)
    assert [t for t in said if t in ("3.00", "2.00", "1.00")] == ["2.00", "3.00", "1.00"]
    assert len(re.findall(r'style="fill: #[0-9a-f]{6}"', svg)) == 2


def test_names_are_text_not_formulas_and_are_cut():
    said = texts(figures.matrix(np.array([[np.nan, 0.25], [0.5, np.nan]]), ["$x$", "a" * 40], "recall@10"))
    assert "$x$" in said
    assert "a" * 13 + "…" in said
    assert "25\N{NO-BREAK SPACE}%" in said


def test_other_scripts_are_drawn_without_a_warning(recwarn):
    assert "画像" in texts(figures.matrix(np.full((1, 1), 0.5), ["画像"], "recall@10"))
    assert not [w for w in recwarn if "Glyph" in str(w.message)]


def test_theme_colours_have_a_fallback():
    svg = DRAWN["reliability"]()
    assert "var(--accent, #0072b2)" in svg
    assert "var(--muted, #5f6b7a)" in svg


def test_nearly_equal_values_look_nearly_equal():
    near, far = figures._shades([0.94, 0.93], True), figures._shades([0.94, 0.2], True)
    assert near[0] == far[0] == 1
    assert near[1] > 0.8
    assert far[1] == pytest.approx(0)
    assert figures._shades([2.0, 3.0], False) == pytest.approx([1, 0])
    assert figures._shades([], True) == []


def test_clouds_name_each_set_and_mark_its_middle():
    points = {"a": np.zeros((5, 2)), "b": np.ones((4, 2))}
    svg = figures.clouds(points)
    assert {"a", "b"} <= set(texts(svg))
    for i, name in enumerate(points):
        # Its points, its middle, and its mark in the legend.
        assert svg.count(f"fill: {'var(--accent, #0072b2)' if i == 0 else '#d55e00'}") >= len(points[name]) + 2


def test_intervals_are_told_with_the_decimals_that_their_width_has_a_use_for():
    rows = [("fine", (0.000488, (-0.000297, 0.00138)), ""), ("coarse", (12345.6, (10999.9, 14000.2)), "")]
    said = re.findall(r"<text[^>]*>([^<]*)<", figures.forest(rows, "log_loss", 0.0))
    assert said[-3].split() == ["0.0005", "-0.0003", "to", "0.0014"]
    assert said[-1].split() == ["12,346", "11,000", "to", "14,000"]


def test_a_forest_has_headings_over_lines_that_share_a_label():
    lines = [
        ("a and b", None, ""),
        ("either", (0.1, (0.0, 5e-06)), ""),
        ("a and c", None, ""),
        ("either", (1, None), ""),
    ]
    said = re.findall(r"<text[^>]*>([^<]*)<", figures.forest(lines, "bits", 0.0, digits=2))
    assert [label for label in said if label in ("a and b", "a and c", "either")] == [label for label, *_ in lines]
    assert said[said.index("either") + 1].split() == ["0.10", "0.00", "to", "0.00"]


@pytest.mark.parametrize("size", [3, 26, 30, 60])
def test_labels_of_a_forest_begin_within_it(size):
    from matplotlib.textpath import TextPath

    label = ("photographs and comments of members " * 2)[:size].strip()
    svg = figures.forest([(label, (0.5, (0.4, 0.6)), "")], "bits", 0.0)
    font, left, said = re.search(r'<text style="font-size: ([\d.]+)px[^>]* x="([\d.]+)"[^>]*>(pho[^<]*)<', svg).groups()
    assert TextPath((0, 0), said, size=float(font)).get_extents().width <= float(left)

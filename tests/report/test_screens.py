import re
from functools import cache

import browser
import numpy as np
import pytest

from plait.report import figures
from plait.report.page import page

pytestmark = pytest.mark.skipif(not browser.available(), reason="no Chromium is installed")

SCORES = [(f"caption and image, model {i}", (0.1 * i, (0.1 * i - 0.3, 0.1 * i + 0.2)), "") for i in range(9)]
WIDE = ("modality", "to this model", "leaving it out", "where it is there", "where all are there", "rows")
PATTERNS = [{"present": ["caption"], "accuracy": 0.5, "rows": 60}]
QUESTIONS = [
    {
        "name": "worth",
        "question": "What is each modality worth?",
        "words": ["All modalities together are worth 60.1 points above answering without looking." * 2, "And more."],
        "drawings": [{"svg": figures.forest(SCORES, "accuracy", 0.0), "caption": "Squares: what each adds."}],
        "grids": [
            {"title": "Worth", "head": WIDE, "lines": [["spoken", *["30.0 [22.9, 37.3]"] * 4, "1,430"]] * 3},
            {"title": "Rows", "head": ("row",), "lines": [["seasonal/halloween/" + "long" * 30]]},
        ],
        "method": "Shares are Shapley values of the measure over all sets of modalities.",
        "account": {},
    },
]


@pytest.fixture(scope="module")
def seen(report, tmp_path_factory):
    """Opens a report with a long, wide and narrow thing of every kind, once for each width."""
    text = page(report("class", questions=QUESTIONS, warnings=["an_id_without_an_end" * 20]))
    folder = tmp_path_factory.mktemp("screens")
    return cache(lambda width: browser.look(text, width, folder))


@pytest.mark.parametrize("width", [browser.DESK, browser.PHONE])
def test_a_page_stays_within_its_width_and_can_be_read(width, seen):
    look = seen(width)
    assert look.width == width
    assert look.scrolled == width, look.outside
    assert look.outside == []
    assert look.letters >= 11
    assert look.broken == 0


@pytest.mark.parametrize("width", [browser.DESK, browser.PHONE])
def test_every_figure_is_drawn(width, seen):
    look = seen(width)
    assert look.pixels.shape == (look.height, width, 3)
    assert len(look.figures) >= 6
    for x, y, wide, high in look.figures:
        assert min(wide / 2, high) > 100
        box = look.pixels[int(y) : int(y + high), max(0, int(x)) : int(min(x + wide, width))]
        ground = box.reshape(-1, 3).astype(int)
        inked = np.abs(ground - np.median(ground, axis=0)).sum(1) > 60
        assert 0.002 < inked.mean() < 0.7


def test_a_desk_has_things_side_by_side_where_a_phone_has_them_below(seen):
    assert seen(browser.DESK).height < 0.8 * seen(browser.PHONE).height


def test_a_phone_makes_the_patterns_no_smaller_than_a_desk(seen):
    """Their letters are small as they are, and more modalities would make them smaller."""
    desk, phone = ([wide for _, _, wide, _ in seen(width).figures] for width in (browser.DESK, browser.PHONE))
    patterns = figures.grid(PATTERNS, ("caption", "image", "sound"), "accuracy")
    natural = float(re.search(r' width="(\d+)"', patterns)[1])
    assert any(abs(wide - natural) < 1 for wide in desk)
    assert any(abs(wide - natural) < 1 for wide in phone)


def test_heads_of_many_words_are_not_as_tall_as_they_have_words(report, tmp_path):
    head = ("modality", *["30.0 [22.9, 37.3]"] * 3, "rows that have the modality at all in this table")
    heights = []
    for last in ("rows", head[-1]):
        grid = {"title": "Worth", "head": (*head[:-1], last), "lines": [["spoken", *["30.0 [22.9, 37.3]"] * 3, "35"]]}
        asked = {**QUESTIONS[0], "grids": [grid]}
        heights.append(browser.look(page(report("class", questions=[asked])), browser.PHONE, tmp_path).height)
    assert heights[1] - heights[0] < 4 * 22

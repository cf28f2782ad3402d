import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from plait.report import figures
from plait.report.page import page
from plait.report.report import Cell, Column, Found, Search
from plait.report.words import SPACE, number

VOID = {"meta", "img", "br", "path", "use", "rect"}


class Checked(HTMLParser):
    """Keeps the tags balanced and collects what a page must not have."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.scripts, self.sources, self.titles, self.heads = [], [], 0, [], [], ""
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.ids += [given["id"]] if "id" in given else []
        self.scripts += tag == "script" or any(key.startswith("on") for key in given)
        self.sources += [given[k] for k in ("src", "href", "xlink:href", "data", "action") if k in given]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "h2":
            self.titles.append(data)
        if self.open and self.open[-1] == "h1":
            self.heads += data


QUESTION = {
    "name": "worth",
    "question": "Is <this> worth it?",
    "words": ["Yes & no.", "It <depends>."],
    "drawings": [
        {"svg": figures.forest([("a", (0.1, (0.0, 0.2)), "")], "accuracy", 0.0), "caption": "One & <two>."},
        {"svg": figures.reliability([{"confidence": 0.3, "accuracy": 0.4, "rows": 10}]), "caption": ""},
    ],
    "grids": [{"title": "All <numbers>", "head": ["of", "value"], "lines": [["<b>", "1"]]}],
    "method": "By <asking>.",
    "account": {},
}


def test_questions_are_answered_in_words_first_and_show_no_markup_of_the_data(report):
    twice = [
        QUESTION,
        {**QUESTION, "name": "trust", "question": "And that?", "method": "", "drawings": QUESTION["drawings"]},
    ]
    text = page(report("class", questions=twice))
    found = Checked(text)
    assert len(found.ids) == len(set(found.ids)) > 0
    references = {s[1:] for s in found.sources if s.startswith("#")} | set(re.findall(r"url\(#([^)]+)\)", text))
    assert references <= set(found.ids)
    part = text[text.index("Is &lt;this&gt; worth it?") : text.index("And that?")]
    places = [
        part.index(said) for said in ("Yes &amp; no.", "It &lt;depends&gt;.", "<svg", "&lt;b&gt;", "By &lt;asking&gt;.")
    ]
    assert places == sorted(places)
    assert "How this was found" not in text[text.index("And that?") : text.index("The table")]


@pytest.mark.parametrize("kind", ["class", "multi_label", "number", "survival", None])
def test_every_kind_of_target_gives_a_sound_page_that_asks_for_nothing(kind, report):
    text = page(report(kind))
    found = Checked(text)
    assert found.scripts == 0
    assert len(found.ids) == len(set(found.ids))
    assert all(source.startswith(("data:", "#")) for source in found.sources)
    references = {s[1:] for s in found.sources if s.startswith("#")} | set(re.findall(r"url\(#([^)]+)\)", text))
    assert references <= set(found.ids)
    urls = set(re.findall(r"https?://[^\s\"'<]+", text))
    assert urls <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert "@import" not in text
    assert "Retrieval" in found.titles
    assert ("Each modality alone" in found.titles) == (kind is not None)
    assert "nan" not in re.sub(r'src="[^"]*"', "", text).lower().replace("\N{NO-BREAK SPACE}", " ").split()


def test_equal_reports_give_equal_text(report):
    assert page(report()) == page(report())
    assert page(report()) != page(report(title="other"))


def test_a_section_stands_only_where_there_is_something_for_it(report):
    full = Checked(page(report())).titles
    assert full == [
        "Each modality alone",
        "When modalities are missing",
        "The table",
        "Retrieval",
        "Searches to look at and listen to",
        "Calibration",
        "Training",
        "Notes",
        "How to repeat it",
    ]
    bare = report(
        None,
        history=(),
        evaluation={},
        searches=(),
        warnings=(),
        quarantine=(),
        recipe="",
        command="",
        seconds={},
        versions={},
    )
    assert Checked(page(bare)).titles == ["The table"]
    for part, title in (("searches", full[4]), ("history", "Training")):
        assert title not in Checked(page(replace(report(), **{part: ()}))).titles


def test_what_is_lost_without_a_modality_stands_on_the_rows_that_have_it(report):
    entry = report().evaluation["without"]["image"]
    text = re.sub(r"<[^>]+>", " ", page(report()))
    values = (number(found["accuracy"], "accuracy") for found in (entry, entry["with"]))
    shown = (*values, f"5.2 to 24.9{SPACE}%", entry["rows"])
    assert re.search(r"without image\s+{}\s+{}\s+{}\s+{}\b".format(*(re.escape(str(value)) for value in shown)), text)


def test_a_tile_has_the_decimals_that_its_interval_has_a_use_for(report):
    found = {"log_loss": (0.1123, [0.0276, 0.2301]), "auc": (0.9961, [0.99, 0.9983])}
    test, intervals = ({name: one[at] for name, one in found.items()} for at in (0, 1))
    text = page(report(evaluation={"rows": 45, "test": test, "intervals": intervals}))
    assert "<b>0.11</b><small>95 %: 0.03 to 0.23</small>" in text
    assert "<b>0.9961</b><small>95 %: 0.9900 to 0.9983</small>" in text


def test_what_a_user_wrote_is_never_markup(report):
    evil = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&$\\frac"
    base = report()
    have = np.ones((5, 2), bool)
    single = {evil: {"accuracy": 0.5, "rows": 60, "fused": {"accuracy": 0.6}}, "b": {"accuracy": 0.4, "rows": 60}}
    text = page(
        replace(
            base,
            title=evil,
            modalities={evil: Column(evil, 5), "b": Column("text", 5)},
            targets={evil: Column("class", 5)},
            target=evil,
            presence=have,
            evaluation={
                "test": {"accuracy": 0.6},
                "rows": 60,
                "single": single,
                "patterns": [{"present": [evil, "b"], "rows": 60, "accuracy": 0.6}],
                "retrieval": {
                    f"{evil}->b": {"recall@1": 0.1, "recall@10": 0.2, "gallery": 60, "chance": {"recall@10": 0.2}}
                },
            },
            searches=[
                Search(
                    [Cell(evil, evil)],
                    [Found(evil, 1.0, [Cell(evil, evil), Cell(evil, np.zeros((2, 2, 3), np.uint8))])],
                )
            ],
            warnings=[evil],
            quarantine=[(1, evil, evil)],
            recipe=evil,
            command=evil,
            seconds={evil: 1.0},
            versions={evil: evil},
        )
    )
    found = Checked(text)
    assert found.scripts == 0
    assert "<script" not in text
    assert "<img src=x" not in text
    assert "default-src 'none'" in text


def test_pictures_are_made_small_and_sounds_kept_within_bounds(report):
    big = np.zeros((900, 600, 3), np.uint8)
    sounds = [b"OggS" + bytes(100), b"RIFF" + bytes(500_000), b"what is this"]
    cells = [Cell("image", big), *(Cell("sound", s) for s in sounds)]
    text = page(report(searches=[Search(cells, [])]))
    assert "data:image/webp" in text
    assert text.count("<audio") == 1
    assert "data:audio/ogg" in text
    assert text.count("not embedded") == 2


def test_long_lists_are_cut_and_counted(report):
    text = page(report(quarantine=[(i, "image", f"bad {i}") for i in range(35)]))
    assert "set aside: 35." in text
    assert "and 15 more" in text
    assert "bad 19<" in text
    assert "bad 20<" not in text


def test_a_table_without_rows_or_modalities_still_has_a_page(report):
    empty = report(None, rows=0, modalities={}, presence=np.zeros((0, 0), bool), evaluation={}, searches=(), history=())
    Checked(page(empty))

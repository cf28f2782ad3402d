import xml.etree.ElementTree as ET

import pytest

from plait.report.drawings import drawings, save_drawings

ALL = {"presence", "singles", "patterns", "retrieval", "calibration", "loss", "measure"}


@pytest.mark.parametrize(
    ("kind", "absent"),
    [("class", set()), ("number", {"calibration"}), (None, {"singles", "patterns", "calibration", "measure"})],
)
def test_drawn_is_what_there_is_something_for(kind, absent, report):
    assert set(drawings(report(kind))) == ALL - absent


def test_saved_figures_stand_alone_and_show_no_cell(tmp_path, report):
    paths = save_drawings(tmp_path, report())
    assert {p.stem for p in paths} == ALL
    for path in paths:
        text = path.read_text(encoding="utf-8")
        ET.fromstring(text)
        assert "red bird" not in text
        assert "<image" not in text


def test_the_kept_epoch_is_marked(report):
    history = [{"epoch": i, "validation/accuracy": v, "train/loss": 1.0} for i, v in enumerate((0.2, 0.9, 0.9, 0.3))]
    best, last = (drawings(report(history=history, kept=at)) for at in (1, 3))
    assert "kept" in best["measure"]
    assert best["loss"] != last["loss"]
    assert "kept" not in drawings(report(history=history))["loss"]

"""docs/catalogue.md is what the entries say."""

import pytest
import scripts
import yaml
from sound import SOUND

from plait.catalogue import entry as entries
from plait.catalogue import evidence

script = scripts.load("docs/catalogue.py")


def test_the_page_is_up_to_date():
    assert script.PAGE.read_text(encoding="utf-8") == script.page(), "write it with: python docs/catalogue.py"


def test_published_and_seen_stand_side_by_side(tmp_path, monkeypatch):
    monkeypatch.setattr(entries, "ENTRIES", tmp_path)
    (tmp_path / "gate.yaml").write_text(yaml.safe_dump(SOUND))
    claim = {
        "says": "It does.",
        "kind": "compare",
        "verdict": "unclear",
        "reason": "underpowered",
        "difference": 0.01,
        "interval": [-0.02, 0.04],
        "resolution": 0.043,
        "data": "mfeat",
        "regime": "train 100",
        "baseline": 0.9,
        "p": 0.3,
        "gates": {"control": {"passed": False, "seen": "on planted data it was not seen to gain"}},
        "replication": None,
    }
    recorded = {"fingerprint": "", "claims": [claim]}
    monkeypatch.setattr(evidence, "read", lambda name: recorded)
    first = (
        "| Beats concatenation. | It does. | compare | **unclear**, underpowered (stale): +0.010 [-0.020, +0.040], "
        "seen from 0.043 (mfeat: train 100; 0.900 without) |"
    )
    assert first in script.page()
    recorded["fingerprint"] = evidence.depends_on(entries.load("gate"))
    assert first.replace(" (stale)", "") in script.page()
    assert "|  | Where one is noise. | planted | unchecked |" in script.page()
    claim |= {"verdict": "holds", "reason": "", "p": 0.001, "replication": {"verdict": "unclear"}}
    page = script.page()
    assert "**holds**, one-sided: +0.010" in page
    assert "1 of those that hold are one-sided" in page
    assert "Of 2 claims: 1 `holds`, 1 `unchecked`." in page
    assert "Of 1 claims of a gain, 1 stand" in page
    assert "Of 1 verdicts looked for again with fresh seeds, 0 came again." in page


@pytest.mark.parametrize("text", ["a | b", "a\nb"])
def test_text_cannot_break_the_table(text):
    assert "\n" not in script._flat(text)
    assert "|" not in script._flat(text).replace("\\|", "")

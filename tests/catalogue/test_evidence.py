import json

import pytest
import yaml
from sound import SOUND

from plait.catalogue import entry as entries
from plait.catalogue import evidence
from plait.core.errors import RunError


@pytest.fixture
def catalogue(tmp_path, monkeypatch):
    """One sound entry, and a function that records verdicts of its claims."""
    monkeypatch.setattr(entries, "ENTRIES", tmp_path / "entries")
    monkeypatch.setattr(evidence, "EVIDENCE", tmp_path / "evidence")
    for folder in ("entries", "evidence"):
        (tmp_path / folder).mkdir()
    (tmp_path / "entries/gate.yaml").write_text(yaml.safe_dump(SOUND))

    def record(*verdicts, fingerprint=None):
        claims = [{"says": str(i), "verdict": verdict} for i, verdict in enumerate(verdicts)]
        told = fingerprint or evidence.depends_on(entries.load("gate"))
        (tmp_path / "evidence/gate.json").write_text(json.dumps({"fingerprint": told, "claims": claims}))

    return record


def test_an_entry_that_was_never_checked_says_so(catalogue):
    assert evidence.overview() == [
        {
            "name": "gate", "title": "A gate", "family": "fusion", "component": "fusion/gated", "scale": "full",
            "verdict": "unchecked", "stale": False,
        }
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("verdicts", "word"),
    [(["holds", "holds"], "holds"), (["holds", "unclear"], "unclear"), (["holds", "contradicted"], "contradicted")],
)
def test_one_word_for_all_claims(catalogue, verdicts, word):
    catalogue(*verdicts)
    (found,) = evidence.overview()
    assert (found["verdict"], found["stale"]) == (word, False)


def test_a_verdict_of_other_code_or_of_another_entry_is_stale(catalogue, tmp_path):
    catalogue("holds", fingerprint="0" * 32)
    assert evidence.overview()[0]["stale"]
    catalogue("holds")
    assert not evidence.overview()[0]["stale"]
    path = tmp_path / "entries/gate.yaml"
    path.write_text(yaml.safe_dump({**SOUND, "notes": "A better word.", "title": "The gate"}))
    assert not evidence.overview()[0]["stale"]
    path.write_text(yaml.safe_dump({**SOUND, "recipe": {"fusion": {"gated": {}}, "width": 64}}))
    assert evidence.overview()[0]["stale"]


def test_an_entry_that_is_not_sound_does_not_hide_the_others(catalogue, tmp_path):
    (tmp_path / "entries/broken.yaml").write_text(yaml.safe_dump({**SOUND, "carried_by": "fusion/nothing"}))
    broken, sound = evidence.overview()
    assert (broken["name"], broken["verdict"]) == ("broken", "unsound")
    assert "nothing" in broken["title"]
    assert broken.keys() == sound.keys()
    assert sound["verdict"] == "unchecked"


def test_damaged_evidence_is_said(catalogue, tmp_path):
    (tmp_path / "evidence/gate.json").write_text("{")
    with pytest.raises(RunError, match="is damaged"):
        evidence.overview()


def _claim(verdict, reason="", control=None):
    gates = {} if control is None else {"control": {"passed": control == "gains", "seen": control}}
    return {"verdict": verdict, "reason": reason, "gates": gates, "p": None, "replication": None}


@pytest.mark.parametrize(
    ("claim", "words"),
    [
        (_claim("holds", control="gains"), ""),
        (_claim("holds", control="never seen to gain"), "one-sided"),
        (_claim("holds"), ""),
        (_claim("unclear", "gate control", control="never seen to gain"), "gate control"),
        (_claim("contradicted", control="gains"), ""),
    ],
)
def test_what_holds_where_it_could_not_be_contradicted_is_said_to_be_one_sided(claim, words):
    assert evidence.qualified(claim) == words


def test_the_summary_counts_what_is_one_sided(catalogue, tmp_path):
    claims = [_claim("holds", control=seen) for seen in ("gains", "never")] + [_claim("unclear", "reversed", "never")]
    (tmp_path / "evidence/gate.json").write_text(json.dumps({"fingerprint": "", "claims": claims}))
    assert evidence.summary()["one_sided"] == 1

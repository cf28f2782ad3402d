import json
import os

import pytest

from plait.catalogue.ledger import LEDGER, attempt_of, lines, note
from plait.core.errors import DataError, RunError


def begun(folder, entry="gate", says="It does.", fingerprint="f1", state="begun", again=False, **more):
    attempt = attempt_of(folder, entry, says, again)
    note(folder, state, entry, says, fingerprint, attempt, **more)
    return attempt


def test_a_check_is_the_same_attempt_until_another_one_is_asked_for(tmp_path):
    """Also by other code: new draws for every change would be lottery tickets."""
    found = [begun(tmp_path, fingerprint=f, again=again) for f, again in (("f1", 0), ("f2", 0), ("f2", 1), ("f1", 0))]
    assert found == [1, 1, 2, 2]


def test_each_claim_of_each_entry_has_attempts_of_its_own(tmp_path):
    begun(tmp_path)
    begun(tmp_path, again=True)
    assert attempt_of(tmp_path, "gate", "Another.") == 1
    assert attempt_of(tmp_path, "other", "It does.") == 1
    assert attempt_of(tmp_path, "gate", "It does.") == 2


def test_a_check_that_was_begun_and_never_done_counts(tmp_path):
    """Else a check could be stopped until it turns out well."""
    begun(tmp_path)
    assert attempt_of(tmp_path, "gate", "It does.", again=True) == 2


def test_lines_are_only_added(tmp_path):
    begun(tmp_path)
    before = (tmp_path / LEDGER).read_bytes()
    begun(tmp_path, state="done", verdict="holds", difference=0.1)
    begun(tmp_path, fingerprint="f2")
    after = (tmp_path / LEDGER).read_bytes()
    assert after.startswith(before)
    assert len(after.splitlines()) == 3
    assert [line["state"] for line in lines(tmp_path)] == ["begun", "done", "begun"]
    assert lines(tmp_path)[1]["verdict"] == "holds"


def test_what_is_not_finite_is_null(tmp_path):
    begun(tmp_path, state="done", difference=float("nan"), interval=(float("-inf"), 1.0))

    def refuse(constant):
        raise AssertionError(constant)

    (line,) = (tmp_path / LEDGER).read_text().splitlines()
    found = json.loads(line, parse_constant=refuse)
    assert (found["difference"], found["interval"]) == (None, [None, 1.0])


def test_a_line_break_in_a_claim_stays_in_its_line(tmp_path):
    for says in ("One\ntwo.", "One\u2028two \u00e9."):
        begun(tmp_path, says=says)
        assert attempt_of(tmp_path, "gate", says, again=True) == 2
    assert len(lines(tmp_path)) == 2


@pytest.mark.parametrize("bad", ['{"entry": "ga', "[]", "3", '{"entry": "gate", "says": "It does."}', "", "\udcff"])
def test_a_damaged_line_is_said_with_its_place(tmp_path, bad):
    begun(tmp_path)
    with (tmp_path / LEDGER).open("a", encoding="utf-8", errors="surrogateescape") as file:
        file.write(bad + "\n")
    with pytest.raises(RunError, match=r"ledger.jsonl, line 2, is damaged"):
        attempt_of(tmp_path, "gate", "It does.")


def test_no_ledger_is_an_empty_one(tmp_path):
    assert lines(tmp_path / "nowhere") == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(DataError, match="Cannot write"):
        begun(tmp_path / "new")
    tmp_path.chmod(0o700)


def test_a_folder_that_is_a_file_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="Cannot write"):
        note(tmp_path / "file", "begun", "gate", "It does.", "f1", 1)

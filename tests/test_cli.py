from __future__ import annotations

import json
import shutil

import items
import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from plait.cli import app
from plait.core.recipe import Recipe


def call(*arguments, status=0):
    """Run a command; -> what it said."""
    done = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=True)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == status, done.output
    return done


def said(*arguments):
    """Run a command with --json; -> its object, which is all that stdout holds."""
    return json.loads(call(*arguments, "--json").stdout)


def refused(*arguments):
    """Run a command that a user got wrong; -> the message, the only thing said."""
    done = call(*arguments, status=2)
    assert done.stdout == ""
    assert done.stderr.count("Error: ") == 1
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with the table, its recipe and a finished run; the cache is there too."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PLAIT_CACHE", str(folder / "cache"))
        table = items.write(folder)
        learn = ("--target", "colour", "--recipe", folder / "recipe.yaml", "--seed", 3)
        (folder / "fit-said.json").write_text(json.dumps(said("fit", table, *learn, "--out", folder / "run")))
        yield folder


def fit(home, out, *more, data="items.csv"):
    return ("fit", home / data, "--out", home / out, "--recipe", home / "recipe.yaml", *more)


def test_fit_says_what_it_made(home):
    account = json.loads((home / "fit-said.json").read_text())
    assert account["run"] == str(home / "run")
    assert set(account["metrics"]) == {"test", "validation"}
    assert {"decode", "encode", "train", "total"} <= set(account["seconds"])
    assert account["samples"]["train"] + account["samples"]["validation"] + account["samples"]["test"] == 48
    assert account["modalities"]["photo"] == {"kind": "image", "columns": ["photo"], "present": 38}
    assert account["recipe"]["fusion"] == {"mean": {}}
    assert account["evaluation"]["test"] == account["metrics"]["test"]
    assert (home / "run" / "report.html").exists()


def test_fit_shows_people_the_same(home):
    done = call(*fit(home, "shown", "--target", "colour", "--set", "training.epochs=1"))
    for word in (
        "Modalities",
        "photo",
        "Targets",
        "Recipe",
        "Validation: accuracy",
        "Test, ",
        "Took",
        str(home / "shown" / "report.html"),
    ):
        assert word in done.stdout


def test_options_may_stand_before_the_argument_and_set_wins_over_the_recipe(home):
    account = said("fit", "--set", "training.epochs=1", *fit(home, "before", "--target", "colour")[1:])
    assert account["recipe"]["training"]["epochs"] == 1
    assert Recipe.parse(account["recipe"]).width == 16


def test_fit_without_a_target_aligns(home):
    account = said(*fit(home, "aligned", "--set", "training.epochs=1", "--ignore", "colour"))
    assert account["targets"] == {}
    assert account["metrics"]["test"] == {}
    assert "use embed" not in refused("embed", home / "aligned", home / "items.csv", "--out", home / "x.csv")
    assert "without a target" in refused("predict", home / "aligned", home / "items.csv", "--out", home / "x.parquet")


def test_fit_goes_on_with_an_interrupted_run_only(home):
    assert "finished" in refused("fit", "--resume", home / "run")
    assert "is not a run" in refused("fit", "--resume", home / "nothing")
    assert "--target" in refused("fit", "--resume", home / "run", "--target", "colour")


def test_an_interrupted_fit_says_how_to_go_on_and_does(home, monkeypatch):
    from plait.training import loop

    observe = loop._Loop._observe

    def interrupted(self, line):
        observe(self, line)
        if self.clock.epoch == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(loop._Loop, "_observe", interrupted)
    done = CliRunner().invoke(app, [str(a) for a in fit(home, "broken", "--target", "colour", "--seed", "3")])
    assert done.exit_code == 130
    assert f"plait fit --resume {home / 'broken'}" in done.stderr
    monkeypatch.undo()
    assert said("fit", "--resume", home / "broken")["run"] == str(home / "broken")
    weights = [(home / run / "model.safetensors").read_bytes() for run in ("run", "broken")]
    assert weights[0] == weights[1]


def test_a_second_fit_into_a_run_is_refused(home):
    assert "already holds a run" in refused(*fit(home, "run", "--target", "colour"))


def test_fit_finds_what_encode_has_stored(home, tmp_path, monkeypatch):
    monkeypatch.setenv("PLAIT_CACHE", str(tmp_path / "cache"))
    how = ("--target", "colour", "--recipe", home / "recipe.yaml")
    stored = said("encode", home / "items.csv", *how)
    assert stored["made"] == {"photo": 3, "caption": 41, "shape": 0, "tabular": 45}
    assert stored["cache"] == str(tmp_path / "cache")
    assert stored["workers"] is None
    assert stored["modalities"]["photo"] == {"kind": "image", "columns": ["photo"], "present": 38}
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.cells")}
    assert said(*fit(home, tmp_path / "run", *how, "--set", "training.epochs=1"))["seconds"]["encode"] == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.cells")} == before
    shown = call("encode", home / "items.csv", *how).stdout
    assert "The cache had every cell already" in shown
    assert str(tmp_path / "cache") in shown


def test_evaluate_has_the_promised_keys(home):
    found = said("evaluate", home / "run")
    assert "accuracy" in found["test"]
    assert set(found["single"]) == {"photo", "caption", "shape", "tabular"}
    assert all("accuracy" in single for single in found["single"].values())
    assert all({"present", "accuracy"} <= set(pattern) for pattern in found["patterns"])
    assert {"recall@1", "recall@5", "recall@10", "gallery"} <= set(found["retrieval"]["photo->caption"])
    assert {"ece", "brier"} <= set(found["calibration"])


def test_evaluate_shows_people_tables_and_takes_other_rows(home):
    done = call("evaluate", home / "run", home / "items.csv", "--no-single", "--seed", 1)
    for word in ("Test, 7 rows", "accuracy", "photo, caption", "Retrieval", "photo->caption", "ECE", "fitted on this"):
        assert word in done.stdout
    some = home / "some.csv"
    some.write_text("".join((home / "items.csv").read_text().splitlines(keepends=True)[:31]))
    done = call("evaluate", home / "run", some, "--no-single", "--seed", 1)
    for word in ("Test, 30 rows", "accuracy", "training row"):
        assert word in done.stdout


def test_predict_writes_a_row_each_with_probabilities(home):
    out = home / "made" / "predictions.parquet"
    account = said("predict", home / "run", home / "items.csv", "--out", out)
    table = pq.read_table(out)
    shares = ["probability_blue", "probability_green", "probability_red"]
    assert account["rows"] == table.num_rows == 48
    assert account["columns"] == table.column_names == ["id", "row", "prediction", *shares]
    values = np.stack([table[name].to_numpy() for name in shares], 1)
    np.testing.assert_allclose(values.sum(1), 1, rtol=1e-5)
    assert table["prediction"].to_pylist() == [shares[i].removeprefix("probability_") for i in values.argmax(1)]


def test_embed_writes_null_where_a_cell_is_absent(home):
    out = home / "embeddings.parquet"
    assert "embeddings.parquet: 48 rows" in call("embed", home / "run", home / "items.csv", "--out", out).stdout
    table = pq.read_table(out)
    assert table.column_names == ["id", "row", "photo", "caption", "shape", "tabular", "joint"]
    assert [cell is None for cell in table["photo"].to_pylist()] == [not row["photo"] for row in items.rows()]
    assert table["joint"].null_count == 0
    np.testing.assert_allclose(np.linalg.norm(table["joint"].to_pylist(), axis=1), 1, rtol=1e-5)


def test_predict_and_embed_say_what_they_write(home):
    assert ".parquet or .csv" in refused("predict", home / "run", home / "items.csv", "--out", home / "x.txt")
    assert "in .parquet." in refused("embed", home / "run", home / "items.csv", "--out", home / "x.csv")


def test_search_by_text_image_and_both(home):
    hits = said("search", home / "run", "--text", "a red thing", "-k", 4)["hits"]
    assert len(hits) == 4
    assert {"row", "id", "score", "modalities"} <= set(hits[0])
    assert [hit["score"] for hit in hits] == sorted((hit["score"] for hit in hits), reverse=True)
    own = said("search", home / "run", "--image", home / "1.png", "--among", "photo", "-k", 3)["hits"]
    assert all(list(hit["modalities"]) == ["photo"] for hit in own)
    both = call("search", home / "run", "--text", "blue", "--query", f"photo={home / '2.png'}")
    assert "score" in both.stdout
    blue = said("search", home / "run", "--query", "tabular={size: 2.0}", "--query", "shape=[0, 0, 3, 0]")["hits"]
    assert len(blue) == 10


def test_search_says_what_is_wrong_with_a_query(home):
    assert "no audio modality" in refused("search", home / "run", "--audio", home / "x.wav")
    assert "no modality 'foto'" in refused("search", home / "run", "--query", "foto=x.png")
    assert "NAME=VALUE" in refused("search", home / "run", "--query", "photo")
    assert "nothing to search with" in refused("search", home / "run")
    assert "There is no file" in refused("search", home / "run", "--image", "gone.png")


def test_search_ranks_again(home):
    asked = ("search", home / "run", "--text", "a red thing", "-k", 3, "--among", "caption")
    by_name = said(*asked, "--rerank", "late_interaction", "--depth", 20)["hits"]
    assert by_name == said(*asked, "--rerank", "{late_interaction: {modalities: [caption]}}", "--depth", 20)["hits"]
    assert [hit["score"] for hit in by_name] == sorted((hit["score"] for hit in by_name), reverse=True)
    assert "'late_interaction'" in refused(*asked, "--rerank", "late_interactoin")
    assert "{name: {argument: value, ...}}" in refused(*asked, "--rerank", "{late_interaction")


def test_index_of_other_rows_and_of_its_own(home):
    run = home / "indexed"
    shutil.copytree(home / "run", run)
    account = said("index", run)
    assert account["rows"] == 48
    assert set(account["cells"]) == {"photo", "caption", "shape", "tabular"}
    assert "48 rows, with cells:" in call("index", run, home / "items.csv").stdout
    assert "milvus://HOST:PORT/NAME" in refused("index", run, "--to", "http://localhost/items")
    assert "MILVUS_TOKEN" in refused("index", run, "--to", "milvus://me:secret@localhost/items")


def test_components_lists_slots_and_says_arguments():
    assert "self_attention" in said("components")["components"]["fusion"]
    assert list(said("components", "projection")["components"]) == ["projection"]
    found = said("components", "fusion", "self_attention")
    assert found["arguments"]["layers"] == {"type": "Count", "default": 2}
    assert "transformer" in found["doc"]
    assert "Arguments" in call("components", "encoders", "frozen").stdout
    assert found["arguments"] != {}
    assert "default" not in said("components", "encoders", "frozen")["arguments"]["model"]


def test_components_says_what_was_meant():
    assert "'fusion'" in refused("components", "fusio")
    assert "'gated'" in refused("components", "fusion", "gate")


def test_inspect_writes_a_schema_that_fit_takes(home):
    schema = home / "schema.yaml"
    account = said("inspect", home / "items.csv", "--target", "colour", "--ignore", "name", "--schema-out", schema)
    assert account["schema"]["ignored"] == ["name"]
    fitted = said(*fit(home, "with-schema", "--schema", schema, "--set", "training.epochs=0"))
    assert fitted["targets"] == {"colour": {"kind": "class", "labelled": 48}}


def test_inspect_shows_bad_cells(home):
    folder = home / "bad"
    table = items.write(folder)
    (folder / "1.png").write_bytes(b"no picture")
    done = call("inspect", table, "--target", "colour")
    for word in ("48 rows", "Bad cells", "not an image", "photo, caption, shape, tabular", "Split as"):
        assert word in done.stdout
    assert any(line.split()[:3] == ["tabular", "tabular", "size"] for line in done.stdout.splitlines())
    assert "the first bad cell" in refused("inspect", table, "--strict")
    assert said("inspect", table, "--no-decode")["quarantined"] == []


def test_kinds_given_by_hand(home):
    account = said("inspect", home / "items.csv", "--kind", "colour=text", "--no-decode")
    assert account["modalities"]["colour"]["kind"] == "text"
    assert "'text'" in refused("inspect", home / "items.csv", "--kind", "colour=texd")
    assert "NAME=VALUE" in refused("inspect", home / "items.csv", "--kind", "colour")


def test_fetch_says_where_it_is_from(home, monkeypatch):
    import pyarrow as pa

    from plait.data.schema import Modality, Schema
    from plait.data.sets import Built, genes

    def build(folder, scratch):
        schema = Schema(modalities={"x": Modality(kind="tabular", columns=("x",))})
        return Built(pa.table({"x": [1.0, 2.0]}), schema, "some", "1.0", "abc", "free", notes=("small",))

    monkeypatch.setattr(genes, "build", build)
    found = said("fetch", "genes", "--into", home / "genes")
    assert (found["folder"], found["rows"], found["notes"]) == (str(home / "genes"), 2, ["small"])
    shown = call("fetch", "genes", "--into", home / "genes").stdout
    assert all(word in shown for word in ("licence", "free", "small", "some"))
    assert said("inspect", home / "genes")["rows"] == 2
    assert "There is no data set 'gene'" in refused("fetch", "gene")


def test_tune_writes_a_recipe_that_fit_takes(home):
    learn = ("--target", "colour", "--recipe", home / "recipe.yaml", "--set", "training.epochs=1")
    tune = ("tune", home / "items.csv", *learn, "--trials", 2, "--folds", 2, "--out", home / "tuned.yaml")
    account = said(*tune)
    assert (account["measure"], len(account["trials"])) == ("accuracy", 2)
    assert account["trials"][0]["settings"] == []
    assert Recipe.load(home / "tuned.yaml").dump() == account["recipe"]
    shown = call(*tune).stdout
    assert "the recipe as it is" in shown
    assert "--recipe" in shown


def test_compare_answers_in_words_and_keeps_them(home, tmp_path):
    small = ("--set", "training.epochs=1", "--set", "width=8", "--ignore", "photo", "--ignore", "caption")
    folds = ("--trials", 1, "--folds", 2, "--out", tmp_path / "found")
    compare = ("compare", home / "items.csv", "--target", "colour", *small, *folds)
    account = said(*compare)
    assert {"recipe", "mean", "interval", "cost"} <= set(account["rows"][0])
    assert {"a", "b", "difference", "interval", "p", "p_corrected"} <= set(account["tests"][0])
    assert account["words"].startswith("Fusion ")
    assert json.loads((tmp_path / "found" / "compare.json").read_text())["words"] == account["words"]
    assert (tmp_path / "found" / "forest.svg").read_text().startswith("<svg")
    shown = call(*compare).stdout
    assert all(word in shown for word in ("p (Holm)", "late fusion", "concatenation", "Written"))
    assert "one of them" in refused(*compare, "--family", "fusion", "--all-quick")
    assert "There is no family 'fusio'" in refused(*compare, "--family", "fusio")


def test_a_figure_that_is_not_defined_is_null(home, tmp_path):
    parts = ["train"] * 40 + ["validation"] * 7 + ["test"]
    rows = [{**row, "split": part} for row, part in zip(items.rows(), parts, strict=True)]
    shutil.copy(home / "recipe.yaml", tmp_path)
    items.write_csv(tmp_path / "t.csv", rows)
    account = said(*fit(tmp_path, "run", "--target", "size", "--ignore", "photo", data="t.csv"))
    assert account["metrics"]["test"]["r2"] is None
    assert account["metrics"]["test"]["mae"] > 0


def test_version():
    assert call("--version").stdout.startswith("plait 0.")


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ({"colour": lambda i: "red"}, "one class"),
        ({"colour": lambda i: ""}, "label"),
        ({"photo": lambda i: "", "caption": lambda i: "", "shape": lambda i: "", "size": lambda i: ""}, "modality"),
    ],
    ids=["one class", "no labels", "all empty"],
)
def test_a_table_that_cannot_be_learned_from(home, tmp_path, cells, message):
    rows = [{**row, **{name: cell(i) for name, cell in cells.items()}} for i, row in enumerate(items.rows())]
    items.write_csv(tmp_path / "t.csv", rows)
    shutil.copy(home / "recipe.yaml", tmp_path)
    assert message in refused(*fit(tmp_path, "run", "--target", "colour", data="t.csv"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("inspect", "gone.csv"), "no file or folder gone.csv"),
        (("inspect", "recipe.yaml"), "no table known here"),
        (("inspect", "items.csv", "--target", "color"), "'colour'"),
        (("inspect", "items.csv", "--schema", "gone.yaml"), "gone.yaml"),
        (("inspect", "items.csv", "--split", "size"), "train, validation or test"),
        (("inspect", "empty.csv"), "empty.csv"),
        (("fit", "items.csv", "--out", "r", "--set", "training.epoch=2"), "epoch"),
        (("fit", "items.csv", "--out", "r", "--set", "epochs"), "slot.key=value"),
        (("fit", "items.csv", "--out", "r", "--recipe", "wrong.yaml"), "'fusion'"),
        (("fit", "items.csv", "--out", "r", "--recipe", "defalt"), "'default'"),
        (("fit", "items.csv", "--out", "r", "--kind", "name=image", "--strict"), "strict"),
        (("encode", "items.csv", "--workers", "2"), "--ray"),
        (("encode", "items.csv", "--ray", "auto", "--workers", "0"), "'--workers'"),
        (("encode", "header.csv"), "no rows"),
        (("fit", "header.csv", "--out", "r"), "no rows"),
        (("fit", "items.csv"), "--out"),
        (("fit", "--out", "r"), "DATA"),
        (("evaluate", "gone"), "is not a run"),
        (("evaluate",), "RUN"),
        (("predict", "run", "items.csv"), "--out"),
        (("search", "run", "-k", "0", "--text", "x"), "'-k'"),
        (("search", "run", "--query", "tabular=7"), "{column: value"),
        (("inspct", "items.csv"), "inspct"),
        (("inspect", "items.csv", "--tarket", "x"), "--tarket"),
    ],
)
def test_mistakes_get_one_message(home, monkeypatch, arguments, message):
    monkeypatch.chdir(home)
    (home / "empty.csv").write_text("")
    (home / "wrong.yaml").write_text("fusio: mean\n")
    items.write_csv(home / "header.csv", [])
    assert message in refused(*arguments)
    assert not (home / "r" / "model.safetensors").exists()


def test_a_mistake_with_json_leaves_stdout_empty(home):
    assert "no file or folder" in refused("inspect", home / "gone.csv", "--json")


def test_one_row_can_be_looked_at_but_not_learned_from(home, tmp_path):
    items.write_csv(tmp_path / "t.csv", items.rows(1))
    shutil.copy(home / "recipe.yaml", tmp_path)
    assert said("inspect", tmp_path / "t.csv", "--target", "colour", "--no-decode")["rows"] == 1
    assert refused(*fit(tmp_path, "run", "--target", "colour", data="t.csv"))


def test_a_fault_of_the_program_keeps_its_traceback(home, monkeypatch, tmp_path):
    monkeypatch.setenv("PLAIT_CACHE", str(tmp_path))

    def broken(raw, **options):
        raise TypeError("planted")

    monkeypatch.setattr("plait.data.kinds.image.decode", broken)
    done = CliRunner().invoke(app, ["inspect", str(home / "items.csv")])
    assert isinstance(done.exception, TypeError)


def test_what_others_print_does_not_reach_the_json(home, monkeypatch, tmp_path):
    monkeypatch.setenv("PLAIT_CACHE", str(tmp_path))
    from plait.data.kinds import image

    decode = image.decode
    monkeypatch.setattr(image, "decode", lambda raw, **options: print("chatter") or decode(raw, **options))
    done = call("inspect", home / "items.csv", "--json")
    assert json.loads(done.stdout)["rows"] == 48
    assert "chatter" in done.stderr


def test_of_several_processes_the_first_one_tells(home, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    assert call("inspect", home / "items.csv", "--json").stdout == ""
    monkeypatch.setenv("RANK", "0")
    assert json.loads(call("inspect", home / "items.csv", "--json").stdout)["rows"] == 48


def test_names_with_markup_are_shown_as_they_are(tmp_path):
    items.write_csv(tmp_path / "t.csv", [{"[red]x[/red]": float(i), "y": str(i % 2)} for i in range(20)])
    assert "[red]x[/red]" in call("inspect", tmp_path / "t.csv", "--kind", "[red]x[/red]=number", "--json").stdout
    shown = call("inspect", tmp_path / "t.csv", "--target", "[red]x[/red]").stdout
    assert "[red]x[/red]" in shown


def test_bad_cells_are_set_aside_and_the_run_goes_on(home, tmp_path):
    table = items.write(tmp_path)
    rows = items.rows()
    (tmp_path / "1.png").write_bytes((tmp_path / "1.png").read_bytes()[:50])
    (tmp_path / "2.png").write_text("<svg")
    rows[3]["photo"], rows[4]["photo"] = "../secret.png", "gone.png"
    rows[6]["shape"], rows[7]["shape"], rows[8]["shape"] = "[1, 2]", "[1, 2, Infinity, 4]", "junk"
    rows[9]["size"], rows[10]["size"] = float("inf"), float("nan")
    rows[11]["name"] = "item-1"
    items.write_csv(table, rows)
    learn = ("--target", "colour", "--kind", "shape=vector")
    account = said(*fit(tmp_path, "run", *learn, "--set", "training.epochs=1"))
    bad = {(cell["row"], cell["column"]) for cell in account["quarantined"]}
    assert bad == {*((row, "photo") for row in (1, 2, 3, 4)), *((row, "shape") for row in (6, 7, 8)), (9, "size")}
    assert all(cell["reason"] for cell in account["quarantined"])
    assert bad == {(c["row"], c["column"]) for c in said("inspect", table, *learn)["quarantined"]}
    assert "strict" in refused(*fit(tmp_path, "strict", *learn, "--strict"))


def test_a_modality_that_no_training_row_has_may_come_later(home, tmp_path):
    rows = [{**row, "photo": ""} for row in items.rows()]
    shutil.copy(home / "recipe.yaml", tmp_path)
    items.write_csv(tmp_path / "t.csv", rows)
    run = ("--target", "colour", "--kind", "photo=image", "--set", "training.epochs=1")
    assert any("photo" in warning for warning in said(*fit(tmp_path, "run", *run, data="t.csv"))["warnings"])
    account = said("predict", tmp_path / "run", home / "items.csv", "--out", tmp_path / "p.parquet")
    assert account["rows"] == 48


def test_a_modality_that_new_rows_lack_is_absent(home, tmp_path):
    rows = [{"caption": row["caption"]} for row in items.rows()]
    table = items.write_csv(tmp_path / "t.csv", rows)
    call("predict", home / "run", table, "--out", tmp_path / "p.parquet")
    assert pq.read_table(tmp_path / "p.parquet")["prediction"].null_count == 0
    other = items.write_csv(tmp_path / "u.csv", [{"unknown": 1}])
    assert "no column of any modality" in refused("predict", home / "run", other, "--out", tmp_path / "p.parquet")

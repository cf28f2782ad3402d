import json
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import made
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from made import CLASSES, RECIPE, columns, quick, splits

from plait.core.errors import DataError, RecipeError, RunError
from plait.workflow.fit import fit, resume
from plait.workflow.inspect import inspect
from plait.workflow.model import Model
from plait.workflow.run import read_splits

SUPPORT = Path(made.__file__).parent
FILES = {
    "config.yaml", "schema.yaml", "data.json", "splits.parquet", "metrics.jsonl", "model.safetensors", "fit.json",
    "evaluation.json", "embeddings.safetensors", "rows.parquet", "report.html", "README.md", "refit",
}  # fmt: skip


def untimed(history):
    return [{key: value for key, value in line.items() if key != "seconds"} for line in history]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "items.parquet"
    pq.write_table(pa.table({**columns(), "part": splits(120)}), path)
    return path


@pytest.fixture(scope="module")
def run(table, tmp_path_factory):
    return quick(table, out=tmp_path_factory.mktemp("runs") / "run", split="part")


def test_a_run_folder_is_whole(run):
    folder = run.model.folder
    assert {path.name for path in folder.iterdir()} == {*FILES, ".lock"}
    assert json.loads((folder / "fit.json").read_text()) == json.loads(json.dumps(run.account()))
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == len(run.history)
    account = run.account()
    assert set(account["metrics"]) == {"test", "validation"}
    assert {"decode", "encode", "train", "total"} <= set(account["seconds"])
    assert account["samples"]["train"] == 72
    assert run.metrics["test"]["accuracy"] > 0.6


def test_a_training_that_breaks_down_ends_at_once_with_words(table, tmp_path):
    wild = ("training.optimizer.adamw.lr=1e30", "training.warmup=0")
    seen = []
    with pytest.raises(
        RecipeError, match=r"broke down in epoch \d: the loss supervised/label is not finite.*learning rate"
    ):
        quick(table, settings=wild, out=tmp_path / "run", split="part", watch=seen.append)
    assert 1 <= len(seen) < 8


def test_changing_the_test_labels_leaves_every_byte_of_the_model(run, tmp_path):
    changed = {**columns(), "part": splits(120)}
    changed["label"] = [
        CLASSES[(CLASSES.index(label) + 1) % 3] if part == "test" else label
        for label, part in zip(changed["label"], changed["part"], strict=True)
    ]
    other = quick(changed, out=tmp_path / "run", split="part")
    assert (tmp_path / "run/model.safetensors").read_bytes() == (run.model.folder / "model.safetensors").read_bytes()
    assert untimed(other.history) == untimed(run.history)
    assert other.metrics["test"] != run.metrics["test"]
    assert other.metrics["validation"] == run.metrics["validation"]


def test_changing_a_training_label_changes_the_model(run, tmp_path):
    changed = {**columns(), "part": splits(120)}
    changed["label"][0] = "dog"
    quick(changed, out=tmp_path / "run", split="part")
    assert (tmp_path / "run/model.safetensors").read_bytes() != (run.model.folder / "model.safetensors").read_bytes()


def test_shuffled_training_labels_give_about_the_majority_rate():
    data = columns(300, missing=0.0)
    rng = np.random.default_rng(1)
    data["label"] = [CLASSES[0] if rng.random() < 0.6 else CLASSES[1] for _ in range(300)]
    found = quick(data).metrics["test"]
    assert found["accuracy"] < 0.6 + 0.15
    assert found["auc"] == pytest.approx(0.5, abs=0.25)


def test_no_group_crosses_a_split(tmp_path):
    data = columns(90)
    groups = [f"g{i // 3}" for i in range(90)]
    quick({**data, "family": groups}, group="family", out=tmp_path / "run", settings=("training.epochs=1",))
    parts = read_splits(tmp_path / "run")
    assert sorted(np.concatenate(list(parts.values()))) == list(range(90))
    of = {part: {groups[row] for row in rows} for part, rows in parts.items()}
    assert all(of.values())
    assert not (of["train"] & of["test"] | of["train"] & of["validation"] | of["validation"] & of["test"])


def test_no_copies_cross_a_split_and_inspect_says_the_same(tmp_path):
    """Without a group column: every fourth row has the caption of the row before it."""
    data = columns(120, missing=0.0)
    for row in range(3, 120, 4):
        data["caption"][row] = data["caption"][row - 1]
    parts = quick(data, out=tmp_path / "run", settings=("training.epochs=1",)).splits
    of = {part: {data["caption"][row] for row in rows} for part, rows in parts.items()}
    assert not (of["train"] & of["test"] | of["train"] & of["validation"] | of["validation"] & of["test"])
    assert min(map(len, of.values())) > 5
    found = inspect(data, target="label")
    assert (found.duplicates["caption"].repeated, found.duplicates["caption"].across) == (30, 0)
    assert {part: rows.tolist() for part, rows in found.splits.items()} == {
        part: rows.tolist() for part, rows in parts.items()
    }


def test_equal_seeds_give_equal_weights_and_others_do_not(run, table, tmp_path):
    quick(table, out=tmp_path / "same", split="part")
    quick(table, out=tmp_path / "other", split="part", seed=1)
    weights = [(path / "model.safetensors").read_bytes() for path in (run.model.folder, tmp_path / "same")]
    assert weights[0] == weights[1]
    assert weights[0] != (tmp_path / "other/model.safetensors").read_bytes()


@pytest.mark.parametrize("again", [False, True], ids=["in the first training", "in the second"])
def test_a_run_that_was_killed_goes_on_to_the_same_weights(table, run, tmp_path, again):
    script = f"""
        import os, signal
        from made import quick
        here = lambda line: line["epoch"] == 1 and {again} == (not line["validation"])
        quick({str(table)!r}, out={str(tmp_path / "run")!r}, split="part",
              watch=lambda line: os.kill(os.getpid(), signal.SIGKILL) if here(line) else None)
    """
    killed = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], cwd=SUPPORT, check=False)
    assert killed.returncode == -signal.SIGKILL
    with pytest.raises(RunError, match="not finished"):
        Model.load(tmp_path / "run")
    with pytest.raises(RunError, match="already holds a run"):
        quick(table, out=tmp_path / "run", split="part")
    resume(tmp_path / "run")
    assert (tmp_path / "run/model.safetensors").read_bytes() == (run.model.folder / "model.safetensors").read_bytes()
    assert {path.name for path in (tmp_path / "run").iterdir()} == {*FILES, ".lock"}
    assert [path.name for path in (tmp_path / "run/refit").iterdir()] == ["metrics.jsonl"]
    with pytest.raises(RunError, match="finished"):
        resume(tmp_path / "run")


@pytest.fixture
def at_once(monkeypatch):
    """Both trainings side by side, with a thread each."""
    monkeypatch.setattr("plait.workflow.aside.WORTH_IT", 0)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_both_trainings_at_once_give_the_weights_of_one_after_the_other(table, tmp_path, at_once):
    settings = ("training.monitor=last",)
    quick(table, out=tmp_path / "at once", split="part", settings=settings)
    torch.set_num_threads(1)
    seen: list[dict] = []
    quick(table, out=tmp_path / "after", split="part", settings=settings, watch=seen.append)
    assert not all(line["validation"] for line in seen)
    one, other = (tmp_path / name / "model.safetensors" for name in ("at once", "after"))
    assert one.read_bytes() == other.read_bytes()
    one, other = ((path.parent / "refit/metrics.jsonl").read_text().splitlines() for path in (one, other))
    assert untimed(map(json.loads, one)) == untimed(map(json.loads, other))


@pytest.mark.slow
def test_a_run_that_was_killed_with_both_trainings_under_way_goes_on_to_the_same_weights(table, tmp_path, at_once):
    settings = ("training.monitor=last", "training.epochs=40")
    quick(table, out=tmp_path / "whole", split="part", settings=settings)
    script = f"""
        import os, signal, time
        import torch
        from pathlib import Path
        from made import quick
        import plait.workflow.aside
        plait.workflow.aside.WORTH_IT = 0
        torch.set_num_threads(2)
        begun = Path({str(tmp_path / "run/refit/metrics.jsonl")!r})
        def watch(line):
            if line["epoch"] == 3:
                while not (begun.exists() and len(begun.read_text().splitlines()) > 1):
                    time.sleep(0.01)
                os.kill(os.getpid(), signal.SIGKILL)
        quick({str(table)!r}, out={str(tmp_path / "run")!r}, split="part", settings={settings!r}, watch=watch)
    """
    killed = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], cwd=SUPPORT, check=False, timeout=120)
    assert killed.returncode == -signal.SIGKILL
    assert (tmp_path / "run/checkpoint.safetensors").exists()
    resume(tmp_path / "run")
    one, other = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "run"))
    assert one == other


def test_a_refit_learns_from_all_rows_what_validation_chose(run):
    """Training and validation rows are as many as training rows alone, and no more is chosen."""
    both = np.sort(np.concatenate([run.splits["train"], run.splits["validation"]]))
    alone = quick(run.table, splits={"train": both, "test": run.splits["test"]}, target="label")
    once = quick(run.table, target="label", settings=("training.refit=false",), splits=run.splits)
    found, whole, first = (fitted.model.network.state_dict() for fitted in (run, alone, once))
    trusted = [name for name in found if "trust" in name]
    assert any((found[name] != whole[name]).any() for name in trusted)
    assert all(torch.equal(found[name], first[name]) for name in trusted)
    assert all(torch.equal(found[name], whole[name]) for name in found if name not in trusted)
    assert run.metrics["validation"] == once.metrics["validation"]
    assert run.metrics["test"] != once.metrics["test"]


def test_a_refit_stops_where_validation_was_best(table):
    settings = ("training.epochs=40", "training.monitor=label/accuracy", "training.early_stopping=2")
    seen: list[dict] = []
    fitted = quick(table, split="part", settings=settings, watch=seen.append)
    first = [line for line in seen if line["validation"]]
    assert len(seen) - len(first) == fitted.model.info["best"]["epoch"] + 1 < len(first)


def test_a_run_is_not_gone_on_with_on_other_data(table, tmp_path):
    def stop(line):
        raise KeyboardInterrupt

    path = tmp_path / "items.parquet"
    path.write_bytes(table.read_bytes())
    with pytest.raises(KeyboardInterrupt):
        quick(path, out=tmp_path / "run", watch=stop)
    data = {**columns(), "part": splits(120)}
    data["caption"][5] = "another"
    pq.write_table(pa.table(data), path)
    with pytest.raises(RunError, match="other content"):
        resume(tmp_path / "run")


def test_unlabelled_rows_are_used():
    data = columns(100)
    labelled = {**data, "label": [label if i % 2 else None for i, label in enumerate(data["label"])]}
    found = quick(labelled)
    assert found.samples["train"] + found.samples["validation"] + found.samples["test"] == 100
    without = {name: [v for i, v in enumerate(values) if i % 2] for name, values in labelled.items()}
    pairs = [line["train"] for line in found.history]
    assert any(term.startswith("info_nce") for term in pairs[0])
    # The alignment objective sees twice as many rows as there are labels.
    assert found.samples["train/sensor"] > 1.5 * quick(without).samples["train/sensor"]


def test_without_a_target_there_is_alignment_alone(tmp_path):
    data = columns(80)
    del data["label"]
    found = quick(data, None, out=tmp_path / "run")
    assert found.metrics == {"test": {}, "validation": {}}
    with pytest.raises(TypeError, match="without a target"):
        found.model.predict(data)
    assert found.model.embed(data).shape == (80, 8)
    assert json.loads((tmp_path / "run/evaluation.json").read_text())["retrieval"]


def test_a_recipe_that_finds_nothing_to_learn_says_so():
    plain = {name: column for name, column in columns(60).items() if name != "label"}
    with pytest.raises(RecipeError, match=r"Nothing was learned: .*--target COLUMN"):
        quick(plain, None, ("objectives.info_nce=null",))


def test_targets_of_every_kind_at_once(tmp_path):
    data = columns(120)
    rng = np.random.default_rng(0)
    code = np.array([CLASSES.index(label) for label in data["label"]])
    data["tags"] = [[*(["big"] if c > 0 else []), *(["wet"] if c < 2 else [])] for c in code]
    data["price"] = (100 + 10 * code + rng.normal(size=120)).tolist()
    data["price"][3] = None
    data["time"] = (10.0 - 3 * code + rng.random(120)).tolist()
    data["event"] = [int(v) for v in rng.random(120) < 0.8]
    found = quick(data, ["label", "tags", "price", "time,event"], out=tmp_path / "run", settings=("training.epochs=6",))
    kinds = {name: target.kind for name, target in found.model.targets.items()}
    assert sorted(kinds.values()) == ["class", "multi_label", "number", "survival"]
    survival = next(name for name, kind in kinds.items() if kind == "survival")
    assert found.metrics["test"]["label/accuracy"] > 0.5
    assert found.metrics["test"][f"{survival}/c_index"] > 0.6
    predicted = Model.load(tmp_path / "run").predict(data)
    assert predicted["tags"].shape == (120, 2)
    assert predicted["tags"].dtype == bool
    # Numbers come back in the target's own unit.
    assert abs(predicted["price"].mean() - 110) < 15
    assert np.corrcoef(predicted["price"], code)[0, 1] > 0.5
    evaluation = json.loads((tmp_path / "run/evaluation.json").read_text())
    assert set(evaluation["intervals"]) == set(evaluation["test"]) == set(found.metrics["test"])


def test_a_modality_that_training_never_saw_is_left_out_and_said_so():
    data = {**columns(60), "part": splits(60)}
    data["sensor"] = [v if part == "test" else None for v, part in zip(data["sensor"], data["part"], strict=True)]
    found = quick(data, split="part")
    assert "sensor" not in found.model.names
    assert any("'sensor' is left out" in warning for warning in found.warnings)
    assert len(found.model.predict(data)) == 60


def test_the_decoder_of_a_modality_that_is_left_out_goes_with_it(tmp_path):
    data = {**columns(60), "part": splits(60)}
    recipe = {
        **RECIPE,
        "heads": {"sensor": {"foreign:Decoder": {}}},
        "objectives": {"supervised": {}, "again": {"use": "foreign:Reconstruct"}},
    }
    with_it = quick(data, split="part", recipe=recipe)
    assert any(name.startswith("heads.sensor.") for name, _ in with_it.model.network.named_parameters())
    assert with_it.history[-1]["train"]["again/sensor"] < with_it.history[0]["train"]["again/sensor"]
    data["sensor"] = [None] * 48 + data["sensor"][48:]
    data["part"] = ["train"] * 40 + ["validation"] * 8 + ["test"] * 12
    without = quick(data, split="part", recipe=recipe, out=tmp_path / "run")
    assert set(without.model.network.heads) == {"label"}
    assert len(Model.load(tmp_path / "run").predict(data)) == 60


def test_a_column_that_is_all_empty_does_no_harm():
    found = quick({**columns(60), "nothing": [None] * 60})
    assert "nothing" not in found.model.names


def test_one_class_only_is_said():
    data = columns(40)
    data["label"] = ["cat"] * 40
    with pytest.raises(DataError, match="one class"):
        quick(data)


def test_a_class_that_only_test_has_is_no_class_and_its_labels_are_set_aside():
    data = {**columns(60), "part": splits(60)}
    data["label"] = ["dog" if p == "test" else "cat" if i % 2 else "cow" for i, p in enumerate(data["part"])]
    found = quick(data, split="part")
    assert found.model.targets["label"].classes == ("cat", "cow")
    assert found.metrics["test"] == {}
    assert {cell.row for cell in found.table.quarantine} == set(found.splits["test"].tolist())


@pytest.mark.parametrize("size", [0, 1])
def test_a_table_of_hardly_any_rows_gets_one_message(size):
    data = {name: values[:size] for name, values in columns(9, missing=0.0).items()}
    with pytest.raises(DataError):
        quick(data)


def test_no_training_cell_at_all_is_said():
    data = {**columns(30), "part": splits(30)}
    for name in ("sensor", "caption", "size"):
        data[name] = [None if p == "train" else v for v, p in zip(data[name], data["part"], strict=True)]
    with pytest.raises(DataError, match="single usable cell"):
        quick(data, split="part")


def test_given_splits_may_leave_parts_out():
    rows = {"train": np.arange(40), "validation": np.arange(40, 60)}
    found = quick(columns(60), splits=rows, settings=("training.epochs=1",))
    assert found.metrics["test"] == {}
    with pytest.raises(DataError, match="'train'"):
        quick(columns(60), splits={"trian": np.arange(40)})


def test_two_processes_cannot_write_one_run(run, table, tmp_path):
    from plait.workflow.run import locked

    with locked(tmp_path / "run"), pytest.raises(RunError, match="Another process"):
        quick(table, out=tmp_path / "run")


def test_without_a_folder_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert fit(columns(40), "label", recipe={"encoders": {"text": "hashed_text"}}, settings=("training.epochs=1",))
    assert list(tmp_path.iterdir()) == []


def test_a_fit_that_could_not_begin_leaves_the_folder_to_the_next(tmp_path):
    data = columns(40)
    with pytest.raises(RecipeError, match="not a multiple of 3"):
        quick(data, out=tmp_path / "run", settings=("fusion.self_attention.heads=3",))
    labels = [None if part == "train" else label for part, label in zip(splits(40), data["label"], strict=True)]
    with pytest.raises(DataError, match="No training row has a label"):
        quick({**data, "label": labels, "part": splits(40)}, out=tmp_path / "run", split="part")
    assert quick(data, out=tmp_path / "run", settings=("training.epochs=1",)).metrics["test"]

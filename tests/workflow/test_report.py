import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made import columns, quick, splits

from plait.core import extras
from plait.core.errors import RunError
from plait.workflow import report
from plait.workflow.evaluate import evaluate
from plait.workflow.fit import fit
from plait.workflow.model import Model


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    image = pytest.importorskip("PIL.Image")
    folder = tmp_path_factory.mktemp("runs")
    data = {**columns(100), "part": splits(100)}
    rng = np.random.default_rng(0)
    data["photo"] = []
    for i in range(100):
        pixels = rng.integers(0, 90, (8, 8, 3), dtype=np.uint8)
        pixels[..., i % 3] += 100
        image.fromarray(pixels).save(folder / f"{i}.png")
        data["photo"].append(f"{i}.png" if i % 4 else None)
    (folder / "8.png").write_bytes(b"broken")
    data["photo"][8] = "8.png"
    pq.write_table(pa.table(data), folder / "items.parquet")
    recipe = {"encoders": {"text": {"hashed_text": {}}, "image": {"conv_image": {}}}, "width": 16, "embedding": 8}
    return quick(folder / "items.parquet", out=folder / "run", split="part", recipe=recipe)


def built(run):
    return report.build(run.model.folder, run.model, run.table, run.encoded.dataset, run.account())


def test_a_report_says_what_the_run_was(run):
    found = built(run)
    assert (found.rows, found.target, found.kind) == (100, "label", "class")
    assert found.presence.shape == (100, 4)
    assert {name: column.count for name, column in found.modalities.items()}["photo"] == 75
    assert found.modalities["photo"].quarantined == 1
    assert [cell[:2] for cell in found.quarantine] == [(8, "photo")]
    assert found.targets["label"].count == 100
    assert found.evaluation == json.loads((run.model.folder / "evaluation.json").read_text())
    assert found.evaluation["single"] == {}
    assert [line["epoch"] for line in found.history] == list(range(8))
    assert "validation/label/accuracy" in found.history[0]


@pytest.mark.parametrize("monitor", ["last", "label/accuracy"])
def test_the_kept_epoch_is_the_one_whose_weights_the_model_has(tmp_path, monitor):
    settings = (f"training.monitor={monitor}", "training.refit=false", "training.epochs=6")
    fitted = quick({**columns(60), "part": splits(60)}, split="part", out=tmp_path / "run", settings=settings)
    found = built(fitted)
    if monitor == "last":
        assert found.kept == 5
        return
    seen = [(line["validation/label/accuracy"], -line["validation/loss"]) for line in found.history]
    assert found.kept == seen.index(max(seen))
    assert fitted.metrics["validation"]["accuracy"] == pytest.approx(seen[found.kept][0])


def test_queries_are_chosen_without_looking_at_what_is_found(run):
    found = built(run).searches
    assert [[cell.modality for cell in search.query] for search in found] == [["caption"], ["photo"]]
    for search in found:
        assert len(search.hits) == report.HITS
        values = [hit.score for hit in search.hits]
        assert values == sorted(values, reverse=True)
        assert all(isinstance(hit.relevant, bool) for hit in search.hits)
    test = {run.table.ids[row] for row in run.splits["test"]}
    assert {hit.id for search in found for hit in search.hits} <= test
    assert report.searches(run.model, run.table, run.encoded.dataset, run.splits["test"][:0], 0) == []


def test_another_model_is_asked_the_same(run):
    twin = Model.load(run.model.folder)
    for tensor in twin.network.parameters():
        tensor.data.mul_(-1.5)
    queries = [
        [search.query[0].value for search in report.searches(m, run.table, run.encoded.dataset, run.splits["test"], 0)]
        for m in (run.model, twin)
    ]
    assert queries[0][0] == queries[1][0]
    assert np.array_equal(queries[0][1], queries[1][1])


def test_the_page_stands_alone_and_is_the_same_written_anew(run):
    page = run.model.folder / report.REPORT
    before = page.read_text()
    assert "data:image/webp" in before
    assert "drawn by chance" in before
    assert not re.search(r'(src|href)="(?!data:|#)', before)
    path = report.write(run.model.folder)
    assert path == page
    # The time that writing takes is known only afterwards.
    untimed = [re.sub(r"total [\d.]+.(s|min)", "", text) for text in (before, page.read_text())]
    assert untimed[0] == untimed[1]


def test_evaluating_brings_single_models_into_the_report(run):
    evaluate(Model.load(run.model.folder))
    page = (run.model.folder / report.REPORT).read_text()
    assert "Each modality alone" in page
    assert "alone" in page


def test_the_command_repeats_the_run(run, tmp_path):
    folder = run.model.folder
    said = built(run).command
    assert said.startswith(f"plait.fit({str(folder.parent / 'items.parquet')!r}, recipe=recipe, target='label', ")
    call = said.removeprefix("plait.").replace(f"out={str(folder)!r}", f"out={str(tmp_path / 'again')!r}")
    again = eval(call, {"fit": fit, "recipe": run.model.recipe})
    assert (tmp_path / "again/model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
    assert again.model.recipe == run.model.recipe


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (
            {"source": "a b.csv", "seed": 3, "arguments": {"target": ["x", "t,e"], "settings": ["training.epochs=2"]}},
            "plait fit 'a b.csv' --target x --target t,e --set training.epochs=2 --seed 3 --out run",
        ),
        (
            {"source": "a.csv", "seed": 0, "arguments": {"kinds": {"c": "text"}, "ignore": ["d"], "strict": True}},
            "plait fit a.csv --kinds c=text --ignore d --strict --seed 0 --out run".replace("--kinds", "--kind"),
        ),
        (
            {"source": None, "seed": 0, "arguments": {"target": "y"}},
            "plait.fit(table, target='y', seed=0, out='run')",
        ),
        (
            {"source": "a.csv", "seed": 1, "arguments": {"group": "g", "in_memory": ["recipe"]}},
            "plait.fit('a.csv', recipe=recipe, group='g', seed=1, out='run')",
        ),
    ],
)
def test_commands(config, said, tmp_path):
    assert report.command(config, Path("run")) == said


def test_of_several_targets_the_first_is_reported(tmp_path):
    data = columns(60)
    data["price"] = [float(i) for i in range(60)]
    found = quick(data, ["label", "price"], out=tmp_path / "run")
    made = built(found)
    assert set(made.evaluation["test"]) == {"accuracy", "log_loss", "balanced_accuracy", "macro_f1", "auc"}
    assert "accuracy" in made.evaluation["patterns"][0]
    assert set(made.targets) == {"label", "price"}


def test_data_in_memory_is_reported_at_the_fit_alone(tmp_path):
    folder = quick(columns(40), out=tmp_path / "run", settings=("training.epochs=1",)).model.folder
    assert (folder / report.REPORT).exists()
    with pytest.raises(RunError, match="in memory"):
        report.write(folder)


def test_without_matplotlib_a_fit_says_so_and_the_card_is_there(tmp_path, monkeypatch):
    real = extras.importlib.import_module

    def lacking(name, *rest):
        if name.split(".")[0] == "matplotlib":
            raise ModuleNotFoundError(name, name="matplotlib")
        return real(name, *rest)

    monkeypatch.setattr(extras.importlib, "import_module", lacking)
    found = quick(columns(40), out=tmp_path / "run", settings=("training.epochs=1",))
    assert any("plait[report]" in warning for warning in found.warnings)
    assert not (tmp_path / "run" / report.REPORT).exists()
    assert (tmp_path / "run" / report.CARD).exists()

import numpy as np
import pyarrow.parquet as pq
import pytest
from made import columns, quick

from plait.core import extras
from plait.core.errors import DataError, PlaitError, RunError
from plait.workflow import search as module
from plait.workflow.model import Model
from plait.workflow.rows import LONGEST
from plait.workflow.search import embed, read_query, search


@pytest.fixture(scope="module")
def data():
    found = columns()
    found["caption"][0] = "a red bird " + "on and on " * 60
    return found


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    return quick(data, out=tmp_path_factory.mktemp("runs") / "run")


def test_a_rows_own_cell_finds_it(run, data):
    for name in ("caption", "sensor"):
        row = next(i for i, cell in enumerate(data[name]) if cell is not None and i > 0)
        best = search(run.model.folder, {name: data[name][row]}, k=3, among=[name])[0]
        assert best["row"] == row
        assert best["modalities"][name]["score"] == pytest.approx(1, abs=1e-5)


def test_hits_are_plain_and_say_what_a_row_is(run, data):
    hits = search(run.model.folder, {"caption": "a blue fish"}, k=120)
    scores = [hit["score"] for hit in hits]
    assert scores == sorted(scores, reverse=True)
    assert len({hit["row"] for hit in hits}) == len(hits) == 120
    for hit in hits:
        assert set(hit) == {"row", "id", "score", "modalities"}
        assert hit["id"] == run.table.ids[hit["row"]]
        for name, found in hit["modalities"].items():
            assert data["size" if name == "tabular" else name][hit["row"]] is not None
            assert -1.001 <= found["score"] <= 1.001
        if "caption" in hit["modalities"]:
            assert hit["modalities"]["caption"]["value"] == data["caption"][hit["row"]][:LONGEST]
        if "tabular" in hit["modalities"]:
            assert hit["modalities"]["tabular"]["value"] == f"size {data['size'][hit['row']]:g}"
        if "sensor" in hit["modalities"]:
            assert hit["modalities"]["sensor"]["value"] == "6 numbers"


def test_a_query_of_several_cells_asks_for_their_weighed_mean(run, data):
    row = next(i for i in range(1, 120) if data["caption"][i] and data["sensor"][i])
    both = {"caption": data["caption"][row], "sensor": data["sensor"][row]}
    alone = search(run.model.folder, {"caption": both["caption"]}, k=5)
    weighed = search(run.model.folder, both, k=5, weights={"sensor": 0.0})
    assert [hit["row"] for hit in weighed] == [hit["row"] for hit in alone]
    assert search(run.model.folder, {"tabular": {"size": 1.5}}, k=1)


def test_a_query_is_embedded_as_the_models_own_rows(run, data):
    row = next(i for i in range(1, 120) if data["caption"][i])
    expected = run.model.embed(data, "caption")[row]
    assert embed(run.model, read_query(run.model, {"caption": data["caption"][row]}))["caption"] == pytest.approx(
        expected, abs=1e-5
    )


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"size": 3}, r"no modality 'size'.*column of 'tabular': give .* a mapping, --query 'tabular=\{size: ...\}'"),
        ({"captoin": "x"}, r"captoin.*sensor, caption, tabular.*Did you mean 'caption'"),
        ({"caption": "  "}, "caption is empty"),
        ({"sensor": [1.0, 2.0]}, "width 2, expected 6"),
        ({"sensor": [1.0, float("inf"), 0, 0, 0, 0]}, "infinity"),
        ({"tabular": 3}, "mapping of its columns size"),
        ({}, "query is empty"),
    ],
)
def test_a_query_that_cannot_be_read_says_why(run, query, said):
    with pytest.raises(PlaitError, match=said):
        search(run.model.folder, query)


def test_a_category_that_no_row_has_is_said_and_not_taken_for_an_absent_cell(tmp_path):
    data = {**columns(40), "town": ["Bern", "Oslo"] * 20}
    quick(data, out=tmp_path / "run")
    assert search(tmp_path / "run", {"tabular": {"town": "Oslo"}}, k=1)
    for query in ({"town": "Olso"}, {"town": "Olso", "size": 1.0}):
        with pytest.raises(DataError, match=r"'Olso' in town\. Did you mean 'Oslo'"):
            search(tmp_path / "run", {"tabular": query})


def test_a_file_that_cannot_be_decoded_says_why(tmp_path):
    image = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(0)
    data = columns(40)
    data["photo"] = []
    for i in range(40):
        path = tmp_path / f"{i}.png"
        image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(path)
        data["photo"].append(str(path))
    recipe = {"encoders": {"text": {"hashed_text": {}}, "image": {"conv_image": {}}}, "width": 16, "embedding": 8}
    folder = quick(data, out=tmp_path / "run", recipe=recipe, settings=("training.epochs=1",)).model.folder
    hit = search(folder, {"photo": data["photo"][7]}, among=["photo"], k=1)[0]
    assert (hit["row"], hit["modalities"]["photo"]["value"]) == (7, data["photo"][7])
    as_bytes = search(folder, {"photo": (tmp_path / "7.png").read_bytes()}, among=["photo"], k=1)[0]
    assert as_bytes["row"] == 7
    with pytest.raises(DataError, match=r"photo.*not an image"):
        search(folder, {"photo": b"no picture"})
    with pytest.raises(DataError, match=r"photo.*cannot be read"):
        search(folder, {"photo": str(tmp_path / "none.png")})


def test_queries_leave_nothing_in_the_cache(run, tmp_path, monkeypatch):
    monkeypatch.setenv("PLAIT_CACHE", str(tmp_path))
    search(run.model.folder, {"caption": "something new"})
    assert list(tmp_path.rglob("*")) == []


def test_the_rows_say_their_split(run):
    rows = pq.read_table(run.model.folder / "rows.parquet")
    assert rows.column_names == ["row", "id", "split", "cells", "key"]
    found = np.array(rows["split"].to_pylist())
    assert {part: np.flatnonzero(found == part).tolist() for part in run.splits} == {
        part: where.tolist() for part, where in run.splits.items()
    }


def test_a_model_is_loaded_once_and_again_when_it_changed(run, tmp_path, monkeypatch):
    folder = Model.load(run.model.folder).save(tmp_path / "run")
    with pytest.raises(RunError, match="no index"):
        search(folder, {"caption": "x"})
    for name in (module.EMBEDDINGS, module.ROWS):
        (folder / name).write_bytes((run.model.folder / name).read_bytes())
    first = module.loaded(folder)
    assert module.loaded(folder)[0] is first[0]
    Model.load(run.model.folder).save(folder)
    assert module.loaded(folder)[0] is not first[0]


def test_without_faiss_a_fit_says_so_and_goes_on(tmp_path, monkeypatch):
    real = extras.importlib.import_module

    def lacking(name, *rest):
        if name.split(".")[0] == "faiss":
            raise ModuleNotFoundError(name, name="faiss")
        return real(name, *rest)

    monkeypatch.setattr(extras.importlib, "import_module", lacking)
    found = quick(columns(40), out=tmp_path / "run", settings=("training.epochs=1",))
    assert any("plait[search]" in warning for warning in found.account()["warnings"])
    assert not (tmp_path / "run" / module.EMBEDDINGS).exists()
    monkeypatch.undo()
    assert len(Model.load(tmp_path / "run").predict(columns(5))) == 5


def test_no_projection_no_index(tmp_path):
    found = quick(
        columns(40),
        out=tmp_path / "run",
        settings=("training.epochs=1", "projection=null", "objectives.info_nce=null"),
    )
    with pytest.raises(RunError, match="no index"):
        search(found.model.folder, {"caption": "x"})

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made import columns, quick

from plait.core.errors import DataError, MissingExtra, RunError
from plait.data.read import read
from plait.workflow import rows as rows_module
from plait.workflow.indexing import EMBEDDINGS, index
from plait.workflow.rows import ROWS, Rows
from plait.workflow.run import locked
from plait.workflow.search import search

QUERY = {"caption": "a blue fish"}


def write(path, size=120, seed=0):
    pq.write_table(pa.table(columns(size, seed)), path)
    return path


@pytest.fixture
def run(tmp_path):
    source = write(tmp_path / "t.parquet")
    return quick(source, out=tmp_path / "run", settings=("training.epochs=1",)).model.folder


def written(run):
    return {name: (run / name).read_bytes() for name in (EMBEDDINGS, ROWS)}


def test_indexed_again_a_run_finds_the_same(run):
    before, hits = written(run), search(run, QUERY, k=50)
    account = index(run)
    present = {name: sum(cell is not None for cell in cells) for name, cells in columns().items()}
    assert account["cells"] == {"sensor": present["sensor"], "caption": present["caption"], "tabular": present["size"]}
    assert account | {"cells": 0} == {
        "run": str(run),
        "rows": 120,
        "cells": 0,
        "to": str(run / EMBEDDINGS),
        "quarantined": [],
    }
    assert search(run, QUERY, k=50) == hits
    assert pq.read_table(run / ROWS).equals(pq.read_table(pa.BufferReader(before[ROWS])))


def test_rows_are_known_by_their_dates_as_dates():
    said = [
        "2024-05-17",
        "1899-12-31T23:30:00+01:00",
        "2024-05-17 10:30:05.4",
        None,
        "2024-05-17T00:00:00",
        "0001-01-01T00:00+02:00",
    ]
    made = read({"day": said, "size": [1.5, 2.25, None, 3.0, 4.0, None]})
    assert rows_module.short(made, "tabular").to_pylist() == [
        "day 2024-05-17, size 1.5",
        "day 1899-12-31 22:30:00, size 2.25",
        "day 2024-05-17 10:30:05",
        "size 3",
        "day 2024-05-17, size 4",
        "day -6.21356e+10 seconds after 1970",
    ]


def test_other_rows_take_the_place_of_the_runs_own(run, tmp_path):
    other = write(tmp_path / "other.parquet", 30, seed=5)
    assert index(run, other)["rows"] == 30
    hits = search(run, QUERY, k=100)
    assert len(hits) == 30
    captions = columns(30, 5)["caption"]
    assert {hit["row"]: hit["modalities"].get("caption", {}).get("value") for hit in hits} == dict(enumerate(captions))
    assert set(pq.read_table(run / ROWS)["split"].to_pylist()) == {None}


def test_the_same_rows_from_elsewhere_keep_their_splits(run, tmp_path):
    before = pq.read_table(run / ROWS)["split"]
    (tmp_path / "t.parquet").rename(tmp_path / "moved.parquet")
    with pytest.raises(RunError, match=r"There is no file.*If it was moved"):
        index(run)
    index(run, tmp_path / "moved.parquet")
    assert pq.read_table(run / ROWS)["split"].equals(before)
    assert Rows(run / ROWS).source == str(tmp_path / "moved.parquet")


def test_what_cannot_be_indexed_leaves_the_old_index(run, tmp_path, monkeypatch):
    before = written(run)
    with pytest.raises(DataError, match="nothing to index"):
        index(run, {"caption": [None, ""], "sensor": [None, None]})
    with locked(run), pytest.raises(RunError, match="Another process"):
        index(run)
    monkeypatch.setitem(__import__("sys").modules, "pymilvus", None)
    with pytest.raises(MissingExtra, match=r"plait\[milvus\]"):
        index(run, to="milvus://localhost/items")
    assert written(run) == before


def test_without_a_projection_there_is_nothing_to_index(tmp_path):
    lacking = ("training.epochs=1", "projection=null", "objectives.info_nce=null")
    folder = quick(write(tmp_path / "t.parquet"), out=tmp_path / "run", settings=lacking).model.folder
    with pytest.raises(RunError, match="no projection"):
        index(folder)


def test_on_a_server_a_run_finds_the_same(run, tmp_path):
    pytest.importorskip("pymilvus", reason="pymilvus is not installed: pip install 'plait[milvus]'")
    pytest.importorskip("milvus_lite", reason="milvus-lite, which stands in for a server, is not installed")
    hits, address = search(run, QUERY, k=50), f"milvus://{tmp_path}/m.db/items"
    for _ in range(2):
        assert index(run, to=address)["to"] == address
        found = search(run, QUERY, k=50)
        assert [(hit["row"], hit["id"], hit["modalities"]) for hit in found] == [
            (hit["row"], hit["id"], hit["modalities"]) for hit in hits
        ]
        assert [hit["score"] for hit in found] == pytest.approx([hit["score"] for hit in hits], rel=1e-9)
    before = written(run)
    with pytest.raises(RunError, match="No Milvus server"):
        index(run, to="milvus://localhost:1/items")
    assert written(run) == before
    index(run)
    assert search(run, QUERY, k=50) == hits
    from milvus_lite.server_manager import server_manager_instance

    server_manager_instance.release_all()


def test_rows_are_read_group_by_group(run, monkeypatch):
    whole = pq.read_table(run / ROWS)
    monkeypatch.setattr(rows_module, "_GROUP", 16)
    index(run)
    rows = Rows(run / ROWS)
    assert rows._file.num_row_groups == 8
    where = np.random.default_rng(0).permutation(120).tolist()
    assert rows.of(where, "id") == [whole["id"][row].as_py() for row in where]
    assert rows.of([5, 5, 119], "cells") == [whole["cells"][row].as_py() for row in (5, 5, 119)]
    (run / ROWS).write_bytes(b"no table")
    with pytest.raises(RunError, match="plait index"):
        Rows(run / ROWS)

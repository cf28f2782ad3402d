import json

import numpy as np
import pytest
import torch
from made import columns

from plait.core.errors import RunError
from plait.core.plain import plain
from plait.data.read import read
from plait.workflow.run import again, begin, locked, read_splits, versions, write_json, write_splits


@pytest.fixture
def table():
    return read(columns(10), target="label")


def test_splits_come_back(tmp_path, table):
    splits = {"train": np.array([1, 4, 9]), "validation": np.array([0]), "test": np.zeros(0, np.int64)}
    write_splits(tmp_path, table, splits)
    found = read_splits(tmp_path)
    assert {part: rows.tolist() for part, rows in found.items()} == {part: r.tolist() for part, r in splits.items()}


def test_a_run_is_begun_once(tmp_path, table):
    begin(tmp_path, {"seed": 0}, table.schema, table)
    with pytest.raises(RunError, match="already holds a run"):
        begin(tmp_path, {"seed": 0}, table.schema, table)


def test_damaged_files_of_a_run_are_named(tmp_path, table):
    begin(tmp_path, {"seed": 0}, table.schema, table)
    write_splits(tmp_path, table, {"train": np.arange(10)})
    (tmp_path / "data.json").write_text("{")
    with pytest.raises(RunError, match=r"data.json cannot be read"):
        again(tmp_path, table)
    (tmp_path / "splits.parquet").write_bytes((tmp_path / "splits.parquet").read_bytes()[:50])
    with pytest.raises(RunError, match=r"splits.parquet cannot be read"):
        read_splits(tmp_path)


def test_a_run_goes_on_with_its_data_and_thread_count_alone(tmp_path, table):
    begin(tmp_path, {"seed": 0}, table.schema, table)
    said = json.loads((tmp_path / "data.json").read_text())
    threads = torch.get_num_threads()
    (tmp_path / "data.json").write_text(json.dumps({**said, "threads": threads + 1}))
    try:
        again(tmp_path, table)
        assert torch.get_num_threads() == threads + 1
    finally:
        torch.set_num_threads(threads)
    with pytest.raises(RunError, match="not what the run"):
        again(tmp_path, read(columns(10, seed=1), target="label"))


def test_of_a_run_that_was_refused_no_folder_is_left(tmp_path):
    with pytest.raises(ValueError, match="no"), locked(tmp_path / "new"):
        raise ValueError("no")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "old").mkdir()
    with locked(tmp_path / "old"):
        pass
    with locked(tmp_path / "begun"):
        (tmp_path / "begun/config.yaml").write_text("a: 1")
    assert {path.name for path in tmp_path.iterdir()} == {"old", "begun"}


def test_a_lock_keeps_others_out_and_is_given_back(tmp_path):
    with locked(tmp_path / "run"), pytest.raises(RunError, match="Another process"), locked(tmp_path / "run"):
        raise AssertionError("two hold the lock")
    with locked(tmp_path / "run"):
        assert (tmp_path / "run").is_dir()


def test_json_holds_what_numpy_gave(tmp_path):
    data = {"a": np.float32(0.5), "b": np.array([1, 2]), "c": float("nan"), "d": (1, tmp_path), 3: np.bool_(True)}
    write_json(tmp_path / "x.json", data)
    assert json.loads((tmp_path / "x.json").read_text()) == {
        "a": 0.5, "b": [1, 2], "c": None, "d": [1, str(tmp_path)], "3": True,
    }  # fmt: skip
    assert plain({"x": [float("inf")]}) == {"x": [None]}


def test_versions_name_what_results_depend_on():
    assert {"python", "plait", "torch", "numpy"} <= set(versions())

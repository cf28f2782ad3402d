from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from plait.data.fetch import fetch, source
from plait.data.read import read
from plait.data.sets.genes import relation


def test_relation() -> None:
    names, rows = relation(
        "% about\n@relation x\n@attribute a numeric\n@Attribute b {one two,three}\n\n@DATA\n1,one two\n2,?\n"
    )
    assert names == ["a", "b"]
    assert rows == [["1", "one two"], ["2", "?"]]


def test_the_real_package(tmp_path: Path) -> None:
    folder = fetch("genes", tmp_path / "genes")
    table = read(folder)
    rows, survival = table.targets("metastasis")
    assert len(rows) == len(table) == 198
    assert survival[:, 1].sum() == 51
    assert np.concatenate(list(table.vectors("genes")[1])).shape == (198, 76)
    assert table.column("grade").null_count == 2

    datasets = pytest.importorskip(
        "sksurv.datasets", reason="scikit-survival, the independent reader, is not installed"
    )
    features, outcome = datasets.load_breast_cancer()
    np.testing.assert_array_equal(survival[:, 0], outcome["t.tdm"])
    np.testing.assert_array_equal(survival[:, 1], outcome["e.tdm"])
    probes = source(folder)["counts"]["probes"]
    np.testing.assert_allclose(np.concatenate(list(table.vectors("genes")[1])), features[probes], rtol=1e-6)
    for name in ("age", "size"):
        np.testing.assert_array_equal(table.column(name).to_pylist(), features[name])
    for name in ("grade", "er"):
        assert [said or "unkown" for said in table.column(name).to_pylist()] == features[name].tolist()

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest

from plait.core.errors import DataError
from plait.data.read import read
from plait.workflow.apply import embed_to, embeddings, predict_to, predictions
from plait.workflow.fit import fit

FAST = ("width=8", "embedding=4", "fusion=mean", "training.epochs=1", "training.ema=null")


def columns(n=40):
    """Two numbers, vectors that half of the rows lack, and a target of each kind; row 0 has no cell at all."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=n)
    return {
        "x": [None, *x[1:]],
        "row": [None if i % 2 == 0 else rng.normal(size=3).tolist() for i in range(n)],
        "kind": ["up" if v > 0 else "down" for v in x],
        "labels": [["a", "b"] if v > 0 else ["a"] for v in x],
        "amount": x * 10,
        "time": np.abs(x) + 1,
        "event": (x > 0).astype(int),
    }


def model(*targets, ignore=(), settings=()):
    left_out = {"kind", "labels", "amount", "time", "event"} - {part for t in targets for part in t.split(",")}
    made = fit(columns(), list(targets), ignore=[*left_out, *ignore], settings=[*FAST, *settings])
    return made.model


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PLAIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def test_one_class_target_has_plain_columns():
    fitted = model("kind")
    table = predictions(fitted, fitted.read(columns()))
    assert table.column_names == ["id", "row", "prediction", "probability_down", "probability_up"]
    assert table["prediction"].to_pylist() == fitted.predict(columns()).tolist()
    np.testing.assert_array_equal(table["probability_up"].to_numpy(), fitted.predict_proba(columns())[:, 1])


def test_several_targets_are_named_before_their_columns():
    fitted = model("kind", "amount", "labels", "time,event")
    table = predictions(fitted, fitted.read(columns()))
    names = {name for name in table.column_names if name.endswith("/prediction")}
    assert names == {"kind/prediction", "amount/prediction", "labels/prediction", "time/prediction"}
    shares = np.stack([table[f"labels/probability_{label}"].to_numpy() for label in "ab"], 1)
    expected = [[label for label, share in zip("ab", row, strict=True) if share >= 0.5] for row in shares]
    assert table["labels/prediction"].to_pylist() == expected
    np.testing.assert_array_equal(table["amount/prediction"].to_numpy(), fitted.predict(columns())["amount"])
    assert np.isfinite(table["time/prediction"].to_numpy()).all()


def test_embeddings_are_null_where_absent_and_a_modality_called_row_keeps_its_name_apart():
    fitted = model("kind")
    table = embeddings(fitted, fitted.read(columns()))
    assert sorted(table.column_names) == ["id", "joint", "row", "row_", "tabular"]
    assert table["row"].to_pylist() == list(range(40))
    assert [cell is None for cell in table["row_"].to_pylist()] == [i % 2 == 0 for i in range(40)]
    assert [cell is None for cell in table["joint"].to_pylist()] == [i == 0 for i in range(40)]
    np.testing.assert_array_equal(np.stack(table["joint"].to_pylist()[1:]), fitted.embed(columns())[1:])


def test_what_a_model_cannot_do_is_said(tmp_path):
    fitted = model("kind", settings=["projection=null", "objectives.info_nce=null"])
    with pytest.raises(DataError, match="no projection"):
        embed_to(tmp_path / "e.parquet", fitted, columns())
    with pytest.raises(DataError, match=r"ends in \.parquet\."):
        embed_to(tmp_path / "e.csv", fitted, columns())
    with pytest.raises(DataError, match=r"ends in \.parquet or \.csv"):
        predict_to(tmp_path / "p.txt", fitted, columns())
    assert not list(tmp_path.iterdir())


def test_the_file_holds_the_table(tmp_path):
    fitted = model("amount")
    table, names = predict_to(tmp_path / "p.parquet", fitted, columns())
    written = pq.read_table(tmp_path / "p.parquet")
    assert (len(table), names) == (40, ["id", "row", "prediction"])
    assert written.equals(predictions(fitted, table))


def test_a_csv_file_reads_back_as_what_was_predicted(tmp_path):
    fitted = model("kind", "labels")
    predict_to(tmp_path / "p.csv", fitted, columns())
    expected = predictions(fitted, fitted.read(columns()))
    back = read(tmp_path / "p.csv", target="labels/prediction", kinds={"kind/prediction": "category"})
    assert back.column("kind/prediction").to_pylist() == expected["kind/prediction"].to_pylist()
    shares = expected["kind/probability_up"].to_numpy()
    np.testing.assert_allclose(back.column("kind/probability_up").to_numpy(), shares, rtol=1e-6)
    rows, said = back.targets("labels/prediction")
    assert rows.tolist() == list(range(40)), "a row of which no label is said is no unlabelled row"
    found = expected["labels/prediction"].to_pylist()
    classes = back.schema.targets["labels/prediction"].classes
    assert [[c for c, has in zip(classes, row, strict=True) if has] for row in said] == found
    assert [path.name for path in tmp_path.iterdir()] == ["p.csv"]


def test_a_label_with_a_bar_is_not_written_so_that_it_reads_back_as_two(tmp_path):
    data = columns()
    data["labels"] = [["a|b"] if i % 2 else ["c"] for i in range(40)]
    left_out = ["kind", "amount", "time", "event"]
    fitted = fit(data, "labels", ignore=left_out, settings=[*FAST, "training.epochs=20"]).model
    assert any("a|b" in labels for labels in predictions(fitted, fitted.read(data))["prediction"].to_pylist())
    with pytest.raises(DataError, match=r"'a\|b' would be read as several"):
        predict_to(tmp_path / "p.csv", fitted, data)
    assert not list(tmp_path.iterdir())
    predict_to(tmp_path / "p.parquet", fitted, data)

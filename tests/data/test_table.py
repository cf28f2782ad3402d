import json
import os

import numpy as np
import pyarrow as pa
import pytest

from plait.core.errors import CellError, DataError, SchemaError
from plait.data import _cells
from plait.data.read import read
from plait.data.schema import Modality, Schema, Target
from plait.data.table import Table


def test_paths_that_may_and_may_not_be_followed(tmp_path):
    data = tmp_path / "data"
    (data / "sub").mkdir(parents=True)
    (data / "sub" / "a.png").write_bytes(b"\x89PNG")
    (data / "none.png").write_bytes(b"")
    (tmp_path / "secret.png").write_bytes(b"\x89PNGsecret")
    os.mkfifo(data / "pipe.png")
    paths = {
        "sub/a.png": b"\x89PNG",
        " sub/../sub/a.png ": b"\x89PNG",
        str(tmp_path / "secret.png"): b"\x89PNGsecret",
        "../secret.png": "leaves the data folder",
        "sub/../../secret.png": "leaves the data folder",
        "missing.png": "No such file",
        "sub": "not a regular file",
        "pipe.png": "not a regular file",
        "none.png": "is empty",
        "https://example.org/a.png": "URL",
        "a\0.png": "zero byte",
        "x" * 5000 + ".png": "too long",
        "": None,
        None: None,
    }
    (data / "table.jsonl").write_text("\n".join(json.dumps({"photo": path}) for path in paths))
    table = read(data, kinds={"photo": "image"})
    for row, (cell, expected) in enumerate(zip(table.cells("photo"), paths.values(), strict=True)):
        if isinstance(expected, str):
            assert isinstance(cell, CellError)
            assert expected in str(cell)
            assert (row, "photo") in table.quarantine
        else:
            assert cell == expected
    assert len(table.quarantine) == 9
    assert table.present()["photo"].tolist() == [True] * 3 + [False] * 11
    closed = read(data, kinds={"photo": "image"}, files=False)
    assert "not accepted" in str(next(closed.cells("photo")))


def test_an_oversized_cell_is_refused_without_reading_it(tmp_path, monkeypatch):
    monkeypatch.setattr(_cells, "LIMIT", 10)
    (tmp_path / "a.png").write_bytes(b"\x89PNG" * 5)
    table = read(
        {"a": [str(tmp_path / "a.png"), b"\x89PNG"][:1], "b": [b"\x89PNG" * 5]}, kinds={"a": "image", "b": "image"}
    )
    for name in "ab":
        assert "20 bytes, more than the 10" in str(next(table.cells(name)))


def test_empty_none_and_nan_are_absent_in_every_kind():
    blank = {
        "photo": [b"", None, b"\x89PNG"],
        "said": ["", "  ", "words"],
        "seen": [None, [float("nan"), float("nan")], [1.0, 2.0]],
        "walk": ["[]", None, "[[1, 2], [2, 3], [3, 4]]"],
        "bits": ["", "null", "[[1, 2], [3, 4]]"],
        "age": [None, float("nan"), 3.0],
        "city": ["", None, "Bern"],
    }
    kinds = {"photo": "image", "said": "text", "seen": "vector", "walk": "series", "bits": "tokens", "city": "category"}
    table = read(blank, kinds=kinds)
    for name in table.schema.modalities:
        cells = list(table.cells(name))
        assert cells[:2] == [None, None], name
        assert cells[2] is not None, name
        assert table.keys(name)[0].tolist() == [2], name
    assert not len(table.quarantine)
    for name, there in table.present().items():
        assert there.tolist() == [False, name == "seen", True], name
    assert table.vectors("seen")[0].tolist() == [2]


def test_infinity_is_quarantined_wherever_it_stands():
    inf = float("inf")
    table = read(
        {
            "seen": [[1.0, inf], [1.0, 2.0], [1e300, 0.0]],
            "walk": [f"[[1, {'1e999' if i == 1 else 0}], [2, 1], [3, 1]]" for i in range(3)],
            "bits": ["[[1, 2]]", "[[1, 2]]", "[[1, Infinity]]"],
            "age": [1.0, -inf, 2.0],
        },
        kinds={"seen": "vector", "walk": "series", "bits": "tokens"},
    )
    for name in table.schema.modalities:
        list(table.cells(name))
    assert [(c.row, c.column) for c in table.quarantine] == [
        (0, "seen"),
        (1, "age"),
        (1, "walk"),
        (2, "bits"),
        (2, "seen"),
    ]
    assert table.vectors("seen")[0].tolist() == [1]
    assert list(table.cells("tabular")) == [[1.0], None, [2.0]]


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("[1, 2", "not valid JSON"),
        ("[" * 10000, "not valid JSON"),
        ('["a", "b"]', "regular array of numbers"),
        ("[[1, 2], [3]]", "regular array of numbers"),
        ("[1, 2, 3]", "width 3, expected 2"),
        ("[[1, 2]]", "shape [1, 2]"),
        ("[1, null]", "infinity or NaN"),
        ("words", "No such file"),
        ('{"a": 1, "b": [2]}', "not lists of one length"),
    ],
)
def test_vectors_in_json_that_are_wrong(cell, said):
    table = read(
        {"seen": ["[1, 2]", cell]}, Schema(modalities={"seen": Modality(kind="vector", columns=("seen",), width=2)})
    )
    assert said in str(list(table.cells("seen"))[1])
    assert table.vectors("seen")[0].tolist() == [0]


def lists(values, type):
    return pa.chunked_array([pa.array(values[:7], type), pa.array(values[7:], type)])


@pytest.mark.parametrize("type", [pa.list_(pa.float32()), pa.large_list(pa.float64()), pa.list_(pa.float32(), 5)])
def test_vectors_in_bulk_equal_those_cell_by_cell(type):
    rng = np.random.default_rng(0)
    values = [None if i % 4 == 3 else rng.normal(size=5).astype(np.float32).tolist() for i in range(40)]
    values[8] = [float("nan")] * 5
    values[9] = [1.0, 2.0, float("nan"), 0.0, 0.0]
    values[12], values[13] = [1.0, None, 2.0, 0.0, 0.0], [None] * 5
    if not pa.types.is_fixed_size_list(type):
        values[10] = [1.0, 2.0]
    table = read(
        pa.table({"seen": lists(values, type).slice(2, 37), "said": ["three fine words"] * 37}),
        kinds={"seen": "vector"},
    )
    for part in (table, table.take(np.random.default_rng(1).permutation(37)[:25]), table.take([])):
        rows, blocks = part.vectors("seen")
        found = np.concatenate([*blocks, np.zeros((0, 5), np.float32)])
        assert found.dtype == np.float32
        cells = list(part.cells("seen"))
        expected = [row for row, cell in enumerate(cells) if isinstance(cell, np.ndarray)]
        assert rows.tolist() == expected
        for row, vector in zip(rows, found, strict=True):
            np.testing.assert_array_equal(vector, cells[row])
        assert part.keys("seen")[1].tobytes() == b"".join(part.key("seen", cells[row]) for row in expected)
    assert {(c.row, c.reason) for c in table.quarantine} >= {(7, "holds infinity or NaN")}


def test_vectors_of_a_mapped_file_are_not_loaded_whole(tmp_path):
    size = 50_000 * 64
    column = pa.FixedSizeListArray.from_arrays(pa.array(np.arange(size, dtype=np.float32)), 64)
    table = pa.table({"seen": column})
    with pa.OSFile(str(tmp_path / "a.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=3000)
    del table, column
    before = pa.total_allocated_bytes()
    rows, blocks = read(tmp_path / "a.arrow").vectors("seen")
    assert len(rows) == 50_000
    total = sum(float(block.astype(np.float64).sum()) for block in blocks)
    assert total == size * (size - 1) / 2 or total == pytest.approx(
        np.arange(size, dtype=np.float32).astype(float).sum()
    )
    assert pa.total_allocated_bytes() - before < 1 << 20


def series(value, **spec):
    modality = Modality(kind="series", columns=("walk",), **spec)
    return next(read({"walk": value}, Schema(modalities={"walk": modality})).cells("walk"))


def test_every_form_of_a_series_gives_the_same_array(tmp_path):
    steps = [[0.5, 1.0, None], [2.0, 3.0, 4.0], [1.0, 5.0, 6.0]]
    expected = np.array([[0.5, 1.0, np.nan], [1.0, 5.0, 6.0], [2.0, 3.0, 4.0]])
    array = np.array([[np.nan if v is None else v for v in step] for step in steps])
    named = {"time": [0.5, 2.0, 1.0], "y": [None, 4.0, 6.0], "x": [1.0, 3.0, 5.0]}
    np.save(tmp_path / "a.npy", array)
    (tmp_path / "a.json").write_text(json.dumps(steps))
    (tmp_path / "named.json").write_text(json.dumps(named))
    (tmp_path / "a.csv").write_text("time,x,y\n0.5,1,\n2,3,4\n1,5,6\n")
    (tmp_path / "bare.csv").write_text("0.5,1,\n2,3,4\n1,5,6\n".replace("0.5,1,\n", "0.5,1,nan\n"))
    structs = pa.array([[{"time": t, "y": y, "x": x} for t, y, x in zip(*named.values(), strict=True)]])
    files = [str(tmp_path / name) for name in ("a.npy", "a.json", "named.json", "a.csv", "bare.csv")]
    for form in (steps, array, json.dumps(steps), json.dumps(named), *files):
        np.testing.assert_array_equal(series([form], channels=("x", "y"), time=True), expected)
    np.testing.assert_array_equal(series(structs, channels=("x", "y"), time=True), expected)
    counted = series([json.dumps([[1.0], [3.0]])], channels=("x",))
    np.testing.assert_array_equal(counted, [[0, 1], [1, 3]])
    np.testing.assert_array_equal(series([[1.0, 3.0]], channels=("x",)), counted)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("[[1, 2, 3]]", "expected steps of 2"),
        ("[[null, 2], [1, 2]]", "without a time"),
        ('{"time": [1], "z": [1]}', "expected a time and ['x']"),
        ('{"time": [1, 2], "x": [1]}', "not lists of one length"),
    ],
)
def test_series_that_are_wrong(value, said):
    assert said in str(series([value], channels=("x",), time=True))


def test_files_of_numbers_that_are_wrong(tmp_path):
    np.save(tmp_path / "object.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.save(tmp_path / "text.npy", np.array(["a"]))
    (tmp_path / "cut.npy").write_bytes(b"\x93NUMPY\x01\x00v\x00{")
    (tmp_path / "bad.csv").write_bytes(b"a,b\n1\n")
    (tmp_path / "bad.json").write_bytes(b"\xff")
    for name in ("object.npy", "text.npy", "cut.npy", "bad.csv", "bad.json"):
        assert isinstance(series([str(tmp_path / name)]), CellError), name


def test_numbers_in_text_that_are_none_are_quarantined_alone():
    said = [str(i) for i in range(60)]
    said[7], said[8] = "12a", "n/a"
    table = read({"age": said, "b": [1.0, 2.0] * 30})
    assert table.schema.modalities["tabular"].categories == {}
    assert list(table.cells("tabular", [6, 7, 8])) == [[6.0, 1.0], [None, 2.0], [None, 1.0]]
    assert [(c.row, c.column, c.reason) for c in table.quarantine] == [(7, "age", "'12a' is not a number")]


def test_targets_of_each_kind():
    table = read(
        {
            "said": ["some more words"] * 6,
            "c": ["bee", "", None, "ant", "bee", "bee"],
            "m": ["a|b", "b", "", "|", None, "a"],
            "n": [1.5, None, float("nan"), float("inf"), -2.0, 0.0],
            "t": [3.0, 1.0, None, -1.0, 2.0, 4.0],
            "e": [1, 0, None, 1, 2, None],
        },
        kinds={"said": "text"},
        target=["c", "m", "n", "t,e"],
    )
    assert [t.kind for t in table.schema.targets.values()] == ["class", "multi_label", "number", "survival"]
    rows, codes = table.targets("c")
    assert (rows.tolist(), codes.tolist(), codes.dtype) == ([0, 3, 4, 5], [1, 0, 1, 1], np.int64)
    rows, labels = table.targets("m")
    assert (rows.tolist(), labels.tolist()) == ([0, 1, 3, 5], [[1, 1], [0, 1], [0, 0], [1, 0]])
    rows, numbers = table.targets("n")
    assert (rows.tolist(), numbers.tolist()) == ([0, 4, 5], [1.5, -2, 0])
    rows, survival = table.targets("t")
    assert (rows.tolist(), survival.tolist()) == ([0, 1], [[3, 1], [1, 0]])
    assert {(c.row, c.column) for c in table.quarantine} == {(3, "n"), (3, "t, e"), (4, "t, e"), (5, "t, e")}


def test_a_label_that_the_schema_does_not_know_is_quarantined():
    schema = Schema(
        modalities={"said": Modality(kind="text", columns=("said",))},
        targets={"y": Target(kind="class", columns=("y",), classes=("1", "2"))},
    )
    table = read({"said": ["a b c"] * 3, "y": [1.0, 2.0, 3.0]}, schema)
    assert table.targets("y")[1].tolist() == [0, 1]
    assert [c.reason for c in table.quarantine] == ["'3' is not among the 2 classes of the schema"]
    with pytest.raises(DataError, match="strict"):
        read({"said": ["a b c"], "y": ["zz"]}, schema, strict=True).targets("y")
    with pytest.raises(SchemaError, match=r"no target 'Y'.*Did you mean 'y'|Known: y"):
        table.targets("Y")


def test_ids_are_unique_text():
    table = read({"id": ["a", "a", None, "a#2", "a"], "said": ["x y z"] * 5}, id="id", kinds={"said": "text"})
    assert table.ids == ["a", "a#3" if "a#3" in table.ids else "a#2", "row 2", "a#2", table.ids[4]]
    assert len(set(table.ids)) == 5
    assert table.duplicate_ids == {"a": 3}
    assert read({"id": [1.0, 2.0], "said": ["x y z"] * 2}, id="id", kinds={"said": "text"}).ids == ["1", "2"]


def test_take_keeps_cells_ids_labels_and_quarantine():
    table = read({"age": [1.0, float("inf"), 3.0, 4.0], "y": ["a", "b", "a", None], "said": list("wxyz")}, target="y")
    assert table.present()["tabular"].tolist() == [True, False, True, True]
    part = table.take([3, 1, 0]).take([1, 2])
    assert len(part) == 2
    assert part.ids == ["1", "0"]
    assert part.column("age").to_pylist() == [float("inf"), 1.0]
    assert [(c.row, c.column) for c in part.quarantine] == [(0, "age")]
    assert part.targets("y")[1].tolist() == [1, 0]
    assert list(part.cells("tabular")) == [None, [1.0]]
    assert part.columns["y"].to_pylist() == ["b", "a"]
    with pytest.raises(IndexError, match="3 to 7"):
        table.take([3, 7])
    with pytest.raises(SchemaError, match="no column 'agee'"):
        table.column("agee")


def test_taken_rows_know_the_keys_that_were_read(monkeypatch):
    source = {
        "note": ["one", None, "two", "one", "three"],
        "size": [[1.0, 2.0], [1.0, 2.0], [3.0, 4.0], None, [5.0, 6.0]],
    }
    rows = [4, 0, 0, 1, 3]
    fresh = read(source, kinds={"note": "text"}).take(rows)
    table = read(source, kinds={"note": "text"})
    for name in source:
        table.keys(name)
    monkeypatch.setattr(Table, "key", None)
    taken = table.take(rows)
    found = {name: taken.keys(name) for name in source}
    monkeypatch.undo()
    for name, (present, keys) in found.items():
        assert [present.tolist(), keys.tolist()] == [part.tolist() for part in fresh.keys(name)]


def test_the_fingerprint_follows_content_and_nothing_else(tmp_path):
    def table(place, photo=b"\x89PNG1", said="some words", y="a", kind="text"):
        folder = tmp_path / place
        folder.mkdir(exist_ok=True)
        (folder / "p.png").write_bytes(photo)
        data = {"photo": [str(folder / "p.png")] * 2, "said": [said, None], "y": [y, "b"]}
        return read(data, target="y", kinds={"photo": "image", "said": kind}).fingerprint()

    first = table("one")
    assert first == table("two")
    assert len({first, table("a", photo=b"\x89PNG2"), table("b", said="other words"), table("c", y="b")}) == 4
    assert first != table("d", kind="category")


def test_keys_tell_content_and_kind_apart():
    table = read(
        {"a": ["one two three"], "b": ["one two three"], "p": [b"\x89PNG"], "v": [[1.0, 2.0]]},
        kinds={"a": "text", "b": "text"},
    )
    assert table.key("a", "x") == table.key("b", "x") != table.key("p", b"x")
    assert len(table.key("a", "x")) == 16
    flat, deep = np.zeros(4, np.float32), np.zeros((2, 2), np.float32)
    assert table.key("v", flat) != table.key("v", deep)


def test_a_fault_of_our_own_is_not_taken_for_bad_data(monkeypatch):
    table = read({"said": ["some more words"]})

    def fault(cell):
        raise TypeError("ours")

    monkeypatch.setattr(_cells, "text", fault)
    with pytest.raises(TypeError, match="ours"):
        list(table.cells("said"))

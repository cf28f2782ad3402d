import errno
import gzip
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from plait.core.errors import DataError, SchemaError
from plait.data import _arrow
from plait.data.read import read
from plait.data.schema import Modality, Schema, Target

PNG = b"\x89PNG\r\n\x1a\n" + b"0" * 20
WAV = b"RIFF\0\0\0\0WAVE" + b"1" * 20


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("PLAIT_CACHE", str(folder))
    return folder


def rows(n=40):
    return [
        {
            "name": f"item_{i}",
            "said": None if i % 5 == 4 else f"a bird, number {i}\nsings today",
            "age": None if i % 7 == 0 else i / 4,
            "count": i % 6,
            "wild": i % 3 == 0,
            "seen": None if i % 4 == 3 else [float(i), 0.5, -1.0],
            "y": ["bee", "wasp", None][i % 3],
        }
        for i in range(n)
    ]


def columns():
    return {name: [row[name] for row in rows()] for name in rows()[0]}


def as_text(value):
    return "" if value is None else json.dumps(value) if isinstance(value, list) else str(value)


def write_csv(path, records, mark=","):
    lines = [mark.join(records[0])]
    for row in records:
        lines.append(mark.join('"' + as_text(v).replace('"', '""') + '"' for v in row.values()))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def sources(folder):
    table = pa.table(columns())
    pq.write_table(table, folder / "a.parquet")
    pa.feather.write_feather(table, folder / "a.feather")
    pa.feather.write_feather(table, folder / "plain.feather", compression="uncompressed")
    with pa.OSFile(str(folder / "a.arrow"), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=7)
    (folder / "a.jsonl").write_text("\n".join(json.dumps(row) for row in rows()), encoding="utf-8")
    (folder / "inside").mkdir()
    pq.write_table(table, folder / "inside" / "table.parquet")
    dense = columns() | {"seen": [None if v is None else np.array(v, np.float32) for v in columns()["seen"]]}
    return {
        "csv": write_csv(folder / "a.csv", rows()),
        "semicolons": write_csv(folder / "b.csv", rows(), ";"),
        "tsv": write_csv(folder / "a.tsv", rows(), "\t"),
        "parquet": folder / "a.parquet",
        "feather": str(folder / "a.feather"),
        "plain feather": folder / "plain.feather",
        "arrow stream": folder / "a.arrow",
        "jsonl": folder / "a.jsonl",
        "folder": folder / "inside",
        "pandas": pd.DataFrame(columns()),
        "pandas with objects": pd.DataFrame(dense),
        "pandas, some rows of": pd.DataFrame(columns() | {"keep": True})[lambda f: f["keep"]].drop(columns="keep"),
        "polars": pl.DataFrame(columns()),
        "pyarrow": table,
        "dictionaries": table.set_column(6, "y", table["y"].dictionary_encode()),
        "dict": columns(),
        "rows": rows(),
    }


def test_every_source_gives_the_same_table(tmp_path):
    prints, schemas = {}, {}
    for name, source in sources(tmp_path).items():
        table = read(source, target="y", id="name")
        assert len(table) == 40, name
        assert {k: int(v.sum()) for k, v in table.present().items()} == {"said": 32, "seen": 30, "tabular": 40}, name
        assert not len(table.quarantine), name
        prints[name], schemas[name] = table.fingerprint(), table.schema
    assert len(set(map(str, schemas.values()))) == 1, schemas
    assert len(set(prints.values())) == 1, prints


@pytest.mark.parametrize("name", ["csv", "jsonl", "parquet", "feather", "arrow stream"])
def test_large_files_go_through_a_mapped_copy_that_is_made_once(name, tmp_path, cache, monkeypatch):
    source = Path(sources(tmp_path)[name])
    small = read(source, target="y", id="name").fingerprint()
    assert not (cache / "tables").exists()
    monkeypatch.setattr(_arrow, "SPILL", 10)
    monkeypatch.setattr(_arrow, "BLOCK_ROWS", 9)
    before = pa.total_allocated_bytes()
    table = read(source, target="y", id="name")
    assert pa.total_allocated_bytes() - before < 4096
    assert table.fingerprint() == small
    copies = {path: path.stat().st_mtime_ns for path in (cache / "tables").iterdir()}
    assert len(copies) == 2
    assert read(source, target="y", id="name").fingerprint() == small
    assert {path: path.stat().st_mtime_ns for path in (cache / "tables").iterdir()} == copies


def test_a_full_disk_leaves_no_copy_behind(tmp_path, cache, monkeypatch):
    source = write_csv(tmp_path / "a.csv", rows())
    monkeypatch.setattr(_arrow, "SPILL", 10)
    real = pa.OSFile
    monkeypatch.setattr(pa, "OSFile", lambda path, mode: real("/dev/full", mode))
    with pytest.raises(DataError, match=r"No space left.*PLAIT_CACHE"):
        read(source)
    assert list((cache / "tables").iterdir()) == []
    monkeypatch.setattr(pa, "OSFile", real)
    assert len(read(source)) == 40


def test_text_that_is_not_utf8_costs_only_its_cell(tmp_path, monkeypatch):
    (tmp_path / "a.csv").write_bytes(b"said,age\nfine words here,1\n" + b"bro\xffken words,2\nfine again now,3\n")
    (tmp_path / "a.jsonl").write_bytes(
        b'{"said": "fine words here", "age": 1}\n{"said": "bro\xffken words", "age": 2}\n'
    )
    broken = pa.array([b"fine words here", b"bro\xffken words"], pa.large_binary()).view(pa.large_string())
    lone = {"said": ["fine words here", "bro\udcffken"], "age": [1, 2]}
    for source in (tmp_path / "a.csv", tmp_path / "a.jsonl", pa.table({"said": broken, "age": [1, 2]}), lone):
        table = read(source, kinds={"said": "text", "age": "number"})
        assert [(c.row, c.column, c.reason) for c in table.quarantine] == [(1, "said", "is not UTF-8")]
        assert table.present()["said"].tolist()[:2] == [True, False]
        assert [cell[0] for cell in table.cells("tabular")][:2] == [1.0, 2.0]
        with pytest.raises(DataError, match="strict"):
            read(source, kinds={"said": "text", "age": "number"}, strict=True)
    monkeypatch.setattr(_arrow, "SPILL", 10)
    for _ in range(2):
        table = read(tmp_path / "a.csv", kinds={"said": "text"})
        assert [(c.row, c.column) for c in table.quarantine] == [(1, "said")]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", b"", "empty"),
        ("a.csv", b"a,a\n1,2\n", "more than one column named 'a'"),
        ("a.csv", b"a,b\n1,2,3\n", "Expected 2 columns, got 3"),
        ("a.csv", "a,b\n1,2\n".encode("utf-16"), "UTF-16"),
        ("a.jsonl", b'{"a": 1}\n{"a": \n', "line 2: not valid JSON"),
        ("a.jsonl", b"[1]\n", "line 1: list"),
        ("a.parquet", b"no parquet", "cannot be read as .parquet"),
        ("a.arrow", b"no arrow", "cannot be read as .arrow"),
        ("a.xlsx", b"x", "no table known here"),
        ("a.tar", b"no tar at all" * 100, "cannot be read as a tar"),
        ("a.tar.gz", b"\x1f\x8bno gzip", "cannot be unpacked"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_clear_message(name, content, said, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=said):
        read(tmp_path / name)


def test_other_sources_that_cannot_be_read(tmp_path):
    with pytest.raises(DataError, match="no file or folder"):
        read(tmp_path / "none.csv")
    with pytest.raises(DataError, match="no such file"):
        read(tmp_path / "none-{0..2}.tar")
    with pytest.raises(DataError, match="no files to be rows"):
        read(tmp_path)
    with pytest.raises(DataError, match="different lengths"):
        read({"a": [1, 2], "b": [1]})
    with pytest.raises(DataError, match="int is no table"):
        read(7)
    with pytest.raises(DataError, match="no columns"):
        read([])
    with pytest.raises(DataError, match="more than one column named 'a'"):
        read(pd.DataFrame([[1, 2]], columns=["a", "a"]))


@pytest.mark.parametrize("text", ["said,y", "said,y\n", "said,y\nfine words here,a\n"])
def test_tables_of_no_and_one_row(text, tmp_path):
    (tmp_path / "a.csv").write_text(text)
    table = read(tmp_path / "a.csv", target="y", kinds={"said": "text"})
    assert len(table) == len(table.ids) == max(0, text.count("\n") - 1)
    assert len(table.fingerprint()) == 32
    assert len(table.targets("y")[0]) == len(table)


def test_numbers_in_csv_keep_what_they_mean(tmp_path):
    (tmp_path / "a.csv").write_text("zip,n,f,b,mixed\n00123,1,NaN,true,1\n80001,2,1e3,False,x\n10115,NA,inf,,2\n")
    table = read(tmp_path / "a.csv", kinds=dict.fromkeys(("zip", "mixed"), "tabular"))
    assert table.column("zip").to_pylist() == ["00123", "80001", "10115"]
    assert table.column("n").to_pylist() == [1, 2, None]
    assert table.column("b").to_pylist() == [True, False, None]
    assert table.column("mixed").to_pylist() == ["1", "x", "2"]
    assert [cell[1:3] for cell in table.cells("tabular")] == [[1.0, None], [2.0, 1000.0], [None, None]]
    assert [(c.row, c.column, c.reason) for c in table.quarantine] == [(2, "f", "is infinite")]


def test_jsonl_values_of_changing_type(tmp_path, monkeypatch):
    monkeypatch.setattr(_arrow, "BLOCK_ROWS", 1)
    (tmp_path / "a.jsonl").write_text('{"a": 1, "b": 1}\n{"a": 1.5, "b": "x"}\n\n{"a": null, "c": [1, 2]}\n')
    table = read(tmp_path / "a.jsonl", kinds={"b": "text"}, ignore=["c"])
    assert table.column("a").to_pylist() == [1.0, 1.5, None]
    assert table.column("b").to_pylist() == ["1", "x", None]
    assert table.column("c").to_pylist() == [None, None, [1, 2]]


def stems(folder):
    (folder / "birds").mkdir(parents=True)
    (folder / "bugs").mkdir()
    for i in range(12):
        place = folder / ("birds" if i < 6 else "bugs")
        (place / f"item{i}.{'svg' if i == 3 else 'PNG'}").write_bytes(PNG + bytes([i]))
        if i % 2:
            (place / f"item{i}.txt").write_text(f"this is creature {i}", encoding="utf-8")
        if i % 3 == 0:
            (place / f"item{i}.es.wav").write_bytes(WAV + bytes([i]))
        (place / f"item{i}.json").write_text(json.dumps({"legs": 2 if i < 6 else 6, "size": i * 1.5}))
    (folder / "birds" / "item1.svg").write_bytes(b"<svg/>")
    (folder / "birds" / "item0.txt").write_bytes(b"not \xff text")
    (folder / "bugs" / "item8.json").write_text("{")
    (folder / ".hidden.png").write_bytes(PNG)
    (folder / "LICENSE").write_text("words")
    return folder


def test_files_that_share_a_stem_are_one_row(tmp_path):
    table = read(stems(tmp_path / "data"), target="folder")
    assert len(table) == 12
    assert {name: m.kind for name, m in table.schema.modalities.items()} == {
        "txt": "text",
        "png": "image",
        "es.wav": "audio",
        "tabular": "tabular",
    }
    assert table.ids[:2] == ["birds/item0", "birds/item1"]
    assert table.schema.targets["folder"].classes == ("birds", "bugs")
    assert {name: int(there.sum()) for name, there in table.present().items()} == {
        "txt": 6,
        "png": 12,
        "es.wav": 4,
        "tabular": 11,
    }
    assert next(table.cells("png", [1])) == PNG + b"\1"
    assert next(table.cells("png", [3])) == PNG + b"\3"
    assert next(table.cells("txt", [1])) == "this is creature 1"
    assert [(c.row, c.column) for c in table.quarantine] == [(0, "txt"), (10, "json")]
    assert "11 png, 2 svg" in table.notes[0]


def pack(path, source, mode="w"):
    with tarfile.open(path, mode) as tar:
        for file in sorted(source.rglob("*")):
            if file.is_file() and not file.name.startswith("."):
                tar.add(file, file.relative_to(source).as_posix())
    return path


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.tgz", "a.tar.bz2", "a.tar.xz"])
def test_tar_shards_hold_the_same_rows(name, tmp_path, monkeypatch):
    folder = stems(tmp_path / "data")
    tar = pack(tmp_path / name, folder, {"gz": "w:gz", "bz2": "w:bz2", "xz": "w:xz"}.get(name[-3:].strip("."), "w"))
    monkeypatch.chdir("/")
    packed, loose = read(tar, target="folder"), read(folder, target="folder")
    order = [packed.ids.index(id) for id in loose.ids]
    assert packed.take(order).fingerprint() == loose.fingerprint()
    assert {(packed.ids[c.row], c.column) for c in packed.quarantine} == {
        (loose.ids[c.row], c.column) for c in loose.quarantine
    }


def test_several_shards_by_folder_glob_and_braces(tmp_path):
    for shard in range(3):
        one = tmp_path / f"one{shard}"
        one.mkdir()
        for i in range(4):
            (one / f"{i:03}.png").write_bytes(PNG + bytes([shard, i]))
        (tmp_path / "all").mkdir(exist_ok=True)
        pack(tmp_path / "all" / f"shard-{shard:03}.tar", one)
    prints = set()
    for source in ("all", "all/shard-*.tar", "all/shard-{000..002}.tar", "all/shard-{000,001,002}.tar"):
        table = read(tmp_path / source)
        assert len(table) == 12
        assert len(set(table.ids)) == 12
        assert table.duplicate_ids["001"] == 3
        assert list(table.cells("png", [5])) == [PNG + bytes([1, 1])]
        prints.add(table.fingerprint())
    assert len(prints) == 1
    assert len(read(str(tmp_path / "all" / "shard-{001..002}.tar"))) == 8


def test_members_that_escape_are_refused_and_the_rest_is_read(tmp_path):
    path = tmp_path / "bad.tar"
    with tarfile.open(path, "w") as tar:
        for name in ("good.png", "../evil.png", "/abs.png", "a/../../up.png", "./fine.png"):
            member = tarfile.TarInfo(name)
            member.size = len(PNG)
            tar.addfile(member, io.BytesIO(PNG))
        for name, type in (
            ("soft.png", tarfile.SYMTYPE),
            ("hard.png", tarfile.LNKTYPE),
            ("pipe.png", tarfile.FIFOTYPE),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = type, "/etc/passwd"
            tar.addfile(member)
    table = read(path)
    readable = {table.ids[row] for row, cell in enumerate(table.cells("png")) if cell == PNG}
    assert readable == {"good", "fine"}
    refused = {table.ids[c.row]: c.reason for c in table.quarantine}
    assert set(refused) == {"../evil", "/abs", "a/../../up", "soft", "hard", "pipe"}
    assert "leaves the archive" in refused["../evil"]
    assert "link" in refused["soft"]
    assert not table.present()["png"][table.ids.index("soft")]
    with pytest.raises(DataError, match="strict"):
        read(path, strict=True)


def test_a_shard_that_ends_too_early(tmp_path):
    (tmp_path / "a.png").write_bytes(PNG * 1000)
    whole = pack(tmp_path / "a.tar", tmp_path).read_bytes()
    (tmp_path / "cut.tar").write_bytes(whole[:2000])
    with pytest.raises(DataError, match="cannot be read as a tar"):
        read(tmp_path / "cut.tar")
    packed = gzip.compress(whole)
    (tmp_path / "cut.tar.gz").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(DataError, match="cannot be unpacked"):
        read(tmp_path / "cut.tar.gz")


def test_names_full_of_dots_are_explained(tmp_path):
    for i in range(300):
        (tmp_path / f"a.{i}.png").write_bytes(PNG)
    with pytest.raises(DataError, match="first dot"):
        read(tmp_path)


def test_a_hugging_face_data_set():
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {
            "photo": datasets.Image(),
            "sound": {"bytes": datasets.Value("binary"), "path": datasets.Value("string")},
            "label": datasets.ClassLabel(names=["bee", "wasp"]),
            "said": datasets.Value("string"),
            "grid": datasets.Array2D((3, 40), "float32"),
        }
    )
    n = 12
    data = datasets.Dataset.from_dict(
        {
            "photo": [{"bytes": PNG + bytes([i]), "path": None} if i % 3 else None for i in range(n)],
            "sound": [{"bytes": WAV, "path": "a.wav"}] * n,
            "label": [i % 2 for i in range(n)],
            "said": [f"words about number {i}" for i in range(n)],
            "grid": np.ones((n, 3, 40), np.float32).tolist(),
        },
        features=features,
    )
    table = read(data, target="label")
    assert {name: m.kind for name, m in table.schema.modalities.items()} == {
        "photo": "image",
        "sound": "audio",
        "said": "text",
        "grid": "tokens",
    }
    assert table.schema.targets["label"].classes == ("bee", "wasp")
    assert table.present()["photo"].sum() == 8
    assert list(table.cells("photo", [0, 1])) == [None, PNG + b"\1"]
    assert next(table.cells("grid")).shape == (3, 40)
    picked = read(data.select([4, 2]), target="label")
    assert list(picked.cells("said")) == ["words about number 4", "words about number 2"]
    both = read(datasets.DatasetDict(train=data, test=data.select([0, 1])), target="label")
    assert both.schema.split == "split"
    assert len(both) == n + 2
    with pytest.raises(DataError, match="one by one"):
        read(data.to_iterable_dataset())


def test_cells_of_other_libraries(tmp_path):
    import torch
    from PIL import Image

    (tmp_path / "a.png").write_bytes(PNG)
    table = read(
        {
            "photo": [Image.new("RGB", (2, 2)), None],
            "path": [tmp_path / "a.png", None],
            "tensor": [torch.ones(3), None],
            "matrix": np.ones((2, 5), np.float32),
            "steps": torch.zeros(2, 4, 6),
        }
    )
    assert {name: m.kind for name, m in table.schema.modalities.items()} == {
        "photo": "image",
        "path": "image",
        "tensor": "vector",
        "matrix": "vector",
        "steps": "tokens",
    }
    assert next(table.cells("photo")).startswith(b"\x89PNG")
    assert next(table.cells("path")) == PNG
    assert next(table.cells("steps")).shape == (4, 6)


def test_a_schema_is_obeyed_and_edited(tmp_path):
    path = write_csv(tmp_path / "a.csv", rows())
    schema = read(path, target="y", id="name").schema
    assert read(path, schema).schema == schema
    schema.save(tmp_path / "s.yaml")
    assert read(path, tmp_path / "s.yaml").schema == schema
    assert read(path, schema.dump()).schema == schema
    edited = read(path, schema, ignore=["said"], kinds={"count": "category"}, target="age").schema
    assert "said" in edited.ignored
    assert edited.modalities["tabular"].categories["count"] == ("0", "1", "2", "3", "4", "5")
    assert set(edited.targets) == {"y", "age"}
    table = read(path, schema)
    assert read(table).fingerprint() == table.fingerprint()
    assert read(table.take([3, 1]), ignore=["said"]).ids == ["item_3", "item_1"]


def test_the_schema_beside_a_table_is_used(tmp_path):
    write_csv(tmp_path / "table.csv", rows())
    Schema(modalities={"words": Modality(kind="text", columns=("said",))}).save(tmp_path / "schema.yaml")
    assert list(read(tmp_path).schema.modalities) == ["words"]


def test_columns_that_are_missing(tmp_path):
    path = write_csv(tmp_path / "a.csv", rows())
    schema = read(path, target="y", id="name").schema
    some = {"said": ["other words entirely", None], "count": [1, 2], "new": ["x", "y"]}
    with pytest.raises(SchemaError, match="no column"):
        read(some, schema)
    table = read(some, schema, partial=True)
    assert table.ids == ["0", "1"]
    assert {name: there.tolist() for name, there in table.present().items()} == {
        "said": [True, False],
        "seen": [False, False],
        "tabular": [True, True],
    }
    assert list(table.cells("seen")) == [None, None]
    assert next(table.cells("tabular")) == [None, 1.0, None]
    assert len(table.targets("y")[0]) == 0
    assert len(table.vectors("seen")[0]) == 0
    with pytest.raises(SchemaError, match=r"no column 'ag'.*Did you mean 'age'"):
        read(path, target="ag")
    with pytest.raises(SchemaError, match=r"kind 'imag'.*Did you mean 'image'"):
        read(path, kinds={"said": "imag"})


def test_a_fault_of_the_operating_system_is_not_taken_for_bad_data(tmp_path, monkeypatch):
    table = read({"photo": [str(tmp_path / "a.png")]}, kinds={"photo": "image"})

    def fail(*_):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(Path, "stat", fail)
    with pytest.raises(OSError, match="Too many open files"):
        list(table.cells("photo"))


def test_damaged_pages_of_a_parquet_file(tmp_path):
    path = tmp_path / "t.parquet"
    rng = np.random.default_rng(0)
    pq.write_table(pa.table({"a": [f"word {n}" for n in rng.integers(0, 9999, 5000)]}), path, compression="snappy")
    raw = bytearray(path.read_bytes())
    raw[100:400] = b"\xff" * 300
    path.write_bytes(raw)
    with pytest.raises(DataError, match=r"t.parquet cannot be read as .parquet"):
        read(path)


def test_without_cells_takes_those_cells_alone_and_labels_are_read_as_targets_are() -> None:
    schema = Schema(
        modalities={
            "v": Modality(kind="vector", columns=("v",)),
            "t": Modality(kind="tabular", columns=("x", "z")),
        },
        ignored=("said",),
    )
    rows = [
        {"v": [float(i), 1.0], "x": float(i), "z": None if i else 2.0, "said": said}
        for i, said in enumerate(["p|q", "|", "", " r "])
    ]
    table = read(rows, schema).take([3, 2, 1, 0])
    table.reject(0, "v", "is not to be used")
    other = table.without_cells("v", [1, 3]).without_cells("t", [0])
    assert {name: cells.tolist() for name, cells in other.present().items()} == {
        "v": [False, False, True, False],
        "t": [False, True, True, True],
    }
    assert table.present()["v"].tolist() == [False, True, True, True]
    assert [cell[0] for cell in other.cells("v", [2])] == [1.0]
    assert other.ids == table.ids
    assert other.labels("said") == table.labels("said") == [["r"], None, [], ["p", "q"]]


def test_with_column_changes_that_column_alone_and_forgets_its_quarantine() -> None:
    schema = Schema(
        modalities={"v": Modality(kind="vector", columns=("v",))},
        targets={"label": Target(kind="class", columns=("label",), classes=("p", "q"))},
    )
    rows = [{"v": [float(i), 1.0], "label": "nonsense" if i == 2 else "p"} for i in range(4)]
    table = read(rows, schema).take([3, 2, 1])
    assert table.targets("label")[0].tolist() == [0, 2]
    other = table.with_column("label", ["q", None, "p"])
    assert other.targets("label")[1].tolist() == [1, 0]
    assert other.ids == table.ids
    assert other.column("v").to_pylist() == table.column("v").to_pylist()
    assert [cell.column for cell in table.quarantine] == ["label"]
    assert len(other.quarantine) == 0
    assert table.column("label").to_pylist() == ["p", "nonsense", "p"]
    with pytest.raises(SchemaError, match="no column 'labl'"):
        table.with_column("labl", ["p"] * 3)

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from plait.core.errors import DataError
from plait.data.fetch import fetch, names, source
from plait.data.read import read
from plait.data.schema import Modality, Schema
from plait.data.sets import Built, mfeat


def built(folder: Path, content: bytes = b"x", first: str = "red") -> Built:
    (folder / "files").mkdir()
    (folder / "files/one.bin").write_bytes(content)
    table = pa.table({"word": [first, None], "n": [1.5, 2.0]})
    schema = Schema(modalities={"word": Modality(kind="text", columns=("word",))}, ignored=("n",))
    return Built(table, schema, "some-package", "1.0", "00ff", "MIT", {"words": 1}, ("mind the step",))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The set mfeat, made from a small table without any download; the folders that it was built into."""
    folders: list[Path] = []

    def build(folder: Path, scratch: Path) -> Built:
        folders.append(folder)
        assert scratch.is_dir()
        return built(folder)

    monkeypatch.setattr(mfeat, "build", build)
    return folders


def everything(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_names() -> None:
    assert {"genes", "mfeat", "motions", "stamps"} <= set(names())
    assert not any(name.startswith("_") for name in names())


def test_unknown_name() -> None:
    with pytest.raises(DataError, match=r"no data set 'stamp'.* Did you mean 'stamps'"):
        fetch("stamp")


def test_the_default_place(calls: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLAIT_CACHE", str(tmp_path / "cache"))
    assert fetch("mfeat") == tmp_path / "cache/sets/mfeat"


def test_the_folder_can_be_read_and_knows_its_source(calls: list[Path], tmp_path: Path) -> None:
    folder = fetch("mfeat", tmp_path / "new/set")
    found = source(folder)
    assert len(found.pop("fingerprint")) == 32
    size = (folder / "table.parquet").stat().st_size + 1
    expected = {"set": "mfeat", "edition": mfeat.EDITION, "package": "some-package", "version": "1.0", "sha256": "00ff"}
    expected |= {"licence": "MIT", "rows": 2, "columns": 2, "files": 1, "bytes": size, "notes": ["mind the step"]}
    assert found == expected | {"counts": {"words": 1}}
    assert list(read(folder).cells("word")) == ["red", None]


def test_the_second_time_nothing_is_built(calls: list[Path], tmp_path: Path) -> None:
    folder = fetch("mfeat", tmp_path / "set")
    before = everything(folder)
    assert fetch("mfeat", tmp_path / "set") == folder
    assert everything(folder) == before
    assert len(calls) == 1


def test_an_older_edition_is_replaced(calls: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = fetch("mfeat", tmp_path / "set")
    (folder / "leftover").touch()
    monkeypatch.setattr(mfeat, "EDITION", mfeat.EDITION + 1)
    fetch("mfeat", tmp_path / "set")
    assert len(calls) == 2
    assert source(folder)["edition"] == mfeat.EDITION
    assert not (folder / "leftover").exists()


def test_what_is_not_ours_is_left_alone(calls: list[Path], tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters/dear.txt").touch()
    (tmp_path / "file").touch()
    (tmp_path / "genes").mkdir()
    (tmp_path / "genes/SOURCE.json").write_text(json.dumps({"set": "genes", "edition": 1}))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/SOURCE.json").write_text("{")
    for name in ("letters", "file", "genes"):
        with pytest.raises(DataError, match="is not the data set mfeat"):
            fetch("mfeat", tmp_path / name)
    with pytest.raises(DataError, match=r"no readable SOURCE\.json"):
        fetch("mfeat", tmp_path / "broken")
    assert not calls
    assert (tmp_path / "letters/dear.txt").exists()
    (tmp_path / "empty").mkdir()
    assert source(fetch("mfeat", tmp_path / "empty"))["rows"] == 2


def test_a_package_file_where_none_is_taken(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="mfeat does not come from a Debian package"):
        fetch("mfeat", tmp_path / "set", deb=tmp_path / "some.deb")


def test_another_package_file_than_the_one_it_was_made_from(make_deb, tmp_path: Path) -> None:
    fetch("stamps", tmp_path / "set", deb=make_deb("9.8"))
    fetch("stamps", tmp_path / "set", deb=make_deb("9.8"))
    with pytest.raises(DataError, match="made from another package file"):
        fetch("stamps", tmp_path / "set", deb=make_deb("9.9"))


@pytest.mark.parametrize("error", [DataError, TypeError])
def test_a_failure_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]) -> None:
    def build(folder: Path, scratch: Path) -> Built:
        built(folder)
        raise error("broken")

    monkeypatch.setattr(mfeat, "build", build)
    with pytest.raises(error, match="broken"):
        fetch("mfeat", tmp_path / "set")
    assert [path.name for path in tmp_path.iterdir()] == [".set.lock"]


KILLED = """
import os, signal, sys
from plait.data.fetch import fetch
from plait.data.sets import mfeat

def build(folder, scratch):
    (folder / "half").write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)

mfeat.build = build
fetch("mfeat", sys.argv[1])
"""


def test_a_killed_fetch_leaves_nothing_half_made(calls: list[Path], tmp_path: Path) -> None:
    target = tmp_path / "set"
    ended = subprocess.run([sys.executable, "-c", KILLED, target], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert not target.exists()
    fetch("mfeat", target)
    assert not (target / "half").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"set", ".set.lock"}


def test_who_comes_later_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def build(folder: Path, scratch: Path) -> Built:
        calls.append(folder)
        time.sleep(0.2)
        return built(folder)

    monkeypatch.setattr(mfeat, "build", build)
    found: list[Any] = []
    threads = [
        threading.Thread(target=lambda: found.append(source(fetch("mfeat", tmp_path / "set")))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1
    assert len(found) == 4


def test_the_fingerprint_is_of_the_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def made(name: str, **changes: Any) -> str:
        monkeypatch.setattr(mfeat, "build", lambda folder, scratch: built(folder, **changes))
        fingerprint: str = source(fetch("mfeat", tmp_path / name))["fingerprint"]
        return fingerprint

    assert made("a") == made("elsewhere/b")
    assert len({made("a"), made("c", content=b"y"), made("d", first="blue")}) == 3


def test_a_folder_that_cannot_be_made(calls: list[Path], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="Cannot make the folder"):
        fetch("mfeat", tmp_path / "file/set")


def test_source_of_another_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is no fetched data set"):
        source(tmp_path)
    shutil.rmtree(tmp_path)
    with pytest.raises(DataError, match="is no fetched data set"):
        source(tmp_path)

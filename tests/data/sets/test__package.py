from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from plait.core.errors import DataError
from plait.data.sets._package import Wheel, hash_of

INFO = {
    "METADATA": "Metadata-Version: 2.1\nName: some-set\nVersion: 1.0\n",
    "WHEEL": "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "RECORD": "",
}


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes for its only index, with one wheel."""
    folder = tmp_path / "index"
    folder.mkdir()
    with zipfile.ZipFile(folder / "some_set-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("some_set/data.csv", "a,b\n")
        for name, content in INFO.items():
            wheel.writestr(f"some_set-1.0.dist-info/{name}", content)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def test_download(index: Path, tmp_path: Path) -> None:
    digest = hash_of(next(index.iterdir()))
    with Wheel("some-set", "1.0", digest).download(tmp_path) as wheel:
        assert wheel.read("some_set/data.csv") == b"a,b\n"


def test_another_file_is_refused(index: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected 0000"):
        Wheel("some-set", "1.0", "0000").download(tmp_path)


def test_what_cannot_be_had(index: Path, tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"could not download some-set==2\.0: .*No matching distribution.*Check the network"
    ):
        Wheel("some-set", "2.0", "0000").download(tmp_path)


def test_hash_of(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    assert hash_of(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2

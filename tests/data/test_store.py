from __future__ import annotations

import errno
import io
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image

from plait.core.errors import DataError
from plait.core.part import Encoder
from plait.data import _chunks, store
from plait.data.kinds import text as text_kind
from plait.data.schema import Modality, Schema
from plait.data.store import Store, build_store
from plait.data.table import Table

WORDS = [f"item number {n}" for n in range(100)]


class Counting(Encoder):
    """Says how often it is asked, and gives features that depend on every cell of the batch."""

    def __init__(self, pause: float = 0.0, ragged: bool = False) -> None:
        super().__init__()
        self.pause, self.ragged = pause, ragged
        self.cells = 0

    def fingerprint(self) -> str:
        return f"counting, ragged {self.ragged}"

    def precompute(self, cells: Sequence[np.ndarray]) -> list[np.ndarray]:
        self.cells += len(cells)
        time.sleep(self.pause)
        total = sum(float(cell.sum()) for cell in cells)
        return [
            np.full((len(cell) % 5 + 1 if self.ragged else 4, 3), cell.astype(np.float32).mean() / total, np.float32)
            for cell in cells
        ]


def table_of(
    kind: str, cells: Sequence[Any], type: pa.DataType | None = None, strict: bool = False, **known: Any
) -> Table:
    schema = Schema(modalities={"m": Modality(kind=kind, columns=("c",), **known)})
    return Table(pa.table({"c": pa.array(cells, type)}), schema, strict=strict)


def texts(cells: Sequence[str | None], strict: bool = False) -> Table:
    return table_of("text", cells, pa.large_string(), strict)


def images(cells: Sequence[bytes | None], strict: bool = False) -> Table:
    return table_of("image", cells, pa.large_binary(), strict)


def png(shade: int, side: int = 8) -> bytes:
    stream = io.BytesIO()
    Image.new("L", (side, side), shade).save(stream, "PNG")
    return stream.getvalue()


def everything(built: Store) -> list[bytes]:
    return [built.gather(torch.tensor([row])).values.numpy().tobytes() for row in range(built.size)]


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "BATCH", 4)
    monkeypatch.setattr(store, "CHUNK", 8)


class Small(Encoder):
    def wants(self) -> dict[str, Any]:
        return {"size": 8}


def test_cells_as_decoded(tmp_path: Path) -> None:
    built = build_store(images([png(10), None, png(30), png(10)]), "m", Small(), cache=tmp_path)
    assert built.rows.tolist() == [0, 2, 3]
    assert (built.shape, built.dtype, built.ragged) == ((8, 8, 3), np.uint8, False)
    assert built.present.tolist() == [True, False, True, True]
    cells = built.gather(torch.tensor([3, 1, 2, 2]))
    assert cells.rows.tolist() == [0, 2, 3]
    assert cells.values.dtype == torch.uint8
    assert [int(value.unique()) for value in cells.values] == [10, 30, 30]
    assert cells.notes == {}


def test_ragged_cells_are_padded_to_the_longest_of_the_gather(tmp_path: Path) -> None:
    said = ["ab", "abcdef", None, "c"]
    built = build_store(texts(said), "m", Encoder(), cache=tmp_path)
    assert (built.shape, built.ragged) == ((), True)
    cells = built.gather(torch.tensor([0, 2, 3]))
    assert cells.values.tolist() == [[97, 98], [99, 0]]
    assert cells.rows.tolist() == [0, 2]
    assert cells.notes["length"].tolist() == [2, 1]
    assert build_store(texts(["ab", "cd"]), "m", Encoder(), cache=tmp_path).ragged
    nothing = built.gather(torch.tensor([2]))
    assert nothing.values.shape == (0, 0)
    assert nothing.notes["length"].shape == (0,)


def test_equal_cells_are_computed_once_and_only_once_ever(tmp_path: Path) -> None:
    repeated = [WORDS[n % 10] for n in range(50)]
    first, again, more, other = Counting(), Counting(), Counting(), Counting(ragged=True)
    built = build_store(texts(repeated), "m", first, cache=tmp_path)
    assert first.cells == 10
    assert built.seconds["encode"] > 0
    repeat = build_store(texts(repeated), "m", again, cache=tmp_path)
    assert again.cells == 0
    assert repeat.seconds["encode"] == 0
    assert everything(repeat) == everything(built)
    grown = build_store(texts([*WORDS[5:15], None]), "m", more, cache=tmp_path)
    assert more.cells == 5
    assert everything(grown)[:5] == everything(built)[5:10]
    build_store(texts(repeated), "m", other, cache=tmp_path)
    assert other.cells == 10


def test_options_of_decoding_do_not_share_a_cache(tmp_path: Path) -> None:
    class Smaller(Small):
        def wants(self) -> dict[str, Any]:
            return {"size": 4}

    table = images([png(1)])
    assert build_store(table, "m", Small(), cache=tmp_path).shape == (8, 8, 3)
    assert build_store(table, "m", Smaller(), cache=tmp_path).shape == (4, 4, 3)


def test_bad_cells_go_to_the_quarantine_and_the_run_goes_on(tmp_path: Path) -> None:
    for _ in range(2):  # the second time the reason comes from the cache
        table = images([png(1), b"no image", None, png(2)[:40], b"no image"])
        built = build_store(table, "m", Small(), cache=tmp_path)
        assert built.rows.tolist() == [0]
        assert [cell.row for cell in table.quarantine] == [1, 3, 4]
        assert "not an image" in next(iter(table.quarantine)).reason
        assert {cell.column for cell in table.quarantine} == {"c"}


def test_strict_stops_at_the_first_bad_cell(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(DataError, match=r"[Rr]ow 1.*not an image"):
            build_store(images([png(1), b"no image"], strict=True), "m", Small(), cache=tmp_path)


def test_cells_that_turn_out_to_be_empty_are_absent(tmp_path: Path) -> None:
    table = texts(["a", "\x00\x01", "b"])
    assert build_store(table, "m", Encoder(), cache=tmp_path).rows.tolist() == [0, 2]
    assert len(table.quarantine) == 0


@pytest.mark.parametrize("cells", [[], [None, None]])
def test_no_cells_at_all(cells: list[str | None], tmp_path: Path) -> None:
    for encoder in (Encoder(), Counting()):
        built = build_store(texts(cells), "m", encoder, cache=tmp_path)
        assert len(built.rows) == 0
        assert len(built.gather(torch.arange(len(cells)))) == 0


def test_a_fault_in_a_decoder_stops_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(raw: str) -> np.ndarray:
        raise TypeError("planted")

    monkeypatch.setattr(text_kind, "decode", wrong)
    table = texts(WORDS)
    with pytest.raises(TypeError, match="planted"):
        build_store(table, "m", Encoder(), cache=tmp_path)
    assert len(table.quarantine) == 0


def test_a_fault_in_an_encoder_stops_the_run(tmp_path: Path) -> None:
    class Forgetful(Counting):
        def precompute(self, cells: Sequence[np.ndarray]) -> list[np.ndarray]:
            return super().precompute(cells)[1:]

    with pytest.raises(TypeError, match="3 results for 4 cells"):
        build_store(texts(WORDS), "m", Forgetful(), cache=tmp_path)


def test_cells_of_different_widths_are_named(tmp_path: Path) -> None:
    table = table_of("series", [[[1.0, 2.0]], [[1.0, 2.0, 3.0]]])
    with pytest.raises(DataError, match=r"'m'.*\[1, 3\].*\[1, 4\]"):
        build_store(table, "m", Encoder(), cache=tmp_path)


def test_progress(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    build_store(texts(WORDS[:18]), "m", Counting(), cache=tmp_path, progress=lambda *done: told.append(done))
    assert told == [(0, 18), (8, 18), (16, 18), (18, 18)]
    build_store(texts(WORDS[:20]), "m", Counting(), cache=tmp_path, progress=lambda *done: told.append(done))
    assert told[4:] == [(18, 20), (20, 20)]


@pytest.mark.parametrize("ragged", [False, True])
def test_memory_mapped_gathers_equal_those_in_memory(
    ragged: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = texts([None if n % 7 == 0 else WORDS[n % 40] for n in range(90)])
    here = build_store(table, "m", Counting(ragged=ragged), cache=tmp_path)
    monkeypatch.setattr(store, "IN_MEMORY", 0)
    for _ in range(2):  # written, then found
        there = build_store(table, "m", Counting(ragged=ragged), cache=tmp_path)
        assert isinstance(there._values, np.memmap)
        assert not isinstance(here._values, np.memmap)
        for seed in range(5):
            rows = torch.randint(90, (33,), generator=torch.Generator().manual_seed(seed))
            one, other = here.gather(rows), there.gather(rows)
            assert torch.equal(one.values, other.values)
            assert torch.equal(one.rows, other.rows)
            assert one.notes.keys() == other.notes.keys() == ({"length"} if ragged else set())
            other.values.zero_()  # the caller's own copy
    assert everything(there) == everything(here)


@pytest.mark.parametrize("where", ["magic", "header", "features", "end", "gone", "empty"])
def test_a_damaged_chunk_is_computed_again(where: str, tmp_path: Path) -> None:
    table = texts(WORDS)
    whole = everything(build_store(table, "m", Counting(), cache=tmp_path))
    chunk = sorted(tmp_path.rglob("*.cells"))[3]
    lost = len(_chunks.index(chunk) or {})
    raw = bytearray(chunk.read_bytes())
    place = {"magic": 0, "header": 30, "features": len(raw) - 5}.get(where)
    if place is not None:
        raw[place] ^= 4
    chunk.write_bytes(raw[:-3] if where == "end" else b"" if where == "empty" else raw)
    if where == "gone":
        chunk.unlink()
    again = Counting()
    assert everything(build_store(table, "m", again, cache=tmp_path)) == whole
    assert again.cells == lost
    last = Counting()
    build_store(table, "m", last, cache=tmp_path)
    assert last.cells == 0


def test_a_disk_that_damages_everything_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checksums = itertools.count()
    monkeypatch.setattr(_chunks.zlib, "crc32", lambda _: next(checksums))
    with pytest.raises(DataError, match="damaged"):
        build_store(texts(WORDS), "m", Counting(), cache=tmp_path)


def test_a_full_disk_names_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match=str(tmp_path)):
        build_store(texts(WORDS), "m", Counting(), cache=tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_file_that_changes_meanwhile_does_not_poison_the_cache(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png(1))
    table = table_of("image", [str(path)], pa.large_string())
    table.keys("m")
    path.write_bytes(png(2))
    with pytest.raises(DataError, match="changed while it was read"):
        build_store(table, "m", Small(), cache=tmp_path / "cache")


CHILD = """
import importlib.util, sys
from pathlib import Path
spec = importlib.util.spec_from_file_location("cases", sys.argv[1])
cases = importlib.util.module_from_spec(spec)
spec.loader.exec_module(cases)
cases.store.BATCH, cases.store.CHUNK = 4, 8
cases.build_store(cases.texts(cases.WORDS), "m", cases.Counting(pause=0.02, ragged=True), cache=Path(sys.argv[2]))
"""


def child(cache: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", CHILD, __file__, str(cache)])


def chunks(cache: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in cache.rglob("*.cells")}


def test_a_killed_run_continues_to_identical_bytes(tmp_path: Path) -> None:
    whole = everything(build_store(texts(WORDS), "m", Counting(ragged=True), cache=tmp_path / "whole"))
    killed = tmp_path / "killed"
    process = child(killed)
    while len(chunks(killed)) < 3:
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    left = len(chunks(killed))
    assert 3 <= left < 13
    resumed = Counting(ragged=True)
    assert everything(build_store(texts(WORDS), "m", resumed, cache=killed)) == whole
    assert resumed.cells == 100 - 8 * left
    assert chunks(killed) == chunks(tmp_path / "whole")


def test_two_processes_at_once(tmp_path: Path) -> None:
    alone = everything(build_store(texts(WORDS), "m", Counting(ragged=True), cache=tmp_path / "alone"))
    both = tmp_path / "both"
    processes = [child(both), child(both)]
    assert [process.wait() for process in processes] == [0, 0]
    late = Counting(ragged=True)
    assert everything(build_store(texts(WORDS), "m", late, cache=both)) == alone
    assert late.cells == 0
    assert chunks(both) == chunks(tmp_path / "alone")


def vectors(count: int) -> Table:
    values = np.random.default_rng(0).standard_normal((count, 6)).astype(np.float32)
    cells: list[Any] = values.tolist()
    cells[3], cells[5], cells[7] = None, [float("inf")] * 6, [1.0] * 5
    return table_of("vector", cells, pa.list_(pa.float32()), width=6)


def test_vectors_are_streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Table, "key", lambda *_: pytest.fail("vectors are not hashed one by one"))
    table = vectors(20_000)
    here = build_store(table, "m", Encoder(), cache=tmp_path)
    assert {3, 5, 7}.isdisjoint(here.rows.tolist())
    assert len(here.rows) == 19_997
    assert [cell.row for cell in table.quarantine] == [5, 7]
    assert (here.shape, here.dtype, here.ragged) == ((6,), np.float32, False)
    values = np.random.default_rng(0).standard_normal((20_000, 6)).astype(np.float32)
    rows = torch.tensor([19_999, 3, 0, 10_000])
    cells = here.gather(rows)
    assert cells.rows.tolist() == [0, 2, 3]
    np.testing.assert_array_equal(cells.values, values[[19_999, 0, 10_000]])
    monkeypatch.setattr(store, "IN_MEMORY", 0)
    for _ in range(2):
        there = build_store(vectors(20_000), "m", Encoder(), cache=tmp_path)
        assert isinstance(there._values, np.memmap)
        np.testing.assert_array_equal(there._values, here._values)
    assert len(list(tmp_path.rglob("*.table"))) == 1


def test_vectors_through_an_encoder_equal_vectors_streamed(tmp_path: Path) -> None:
    class Same(Encoder):
        def fingerprint(self) -> str:
            return "same"

        def precompute(self, cells: Sequence[np.ndarray]) -> list[np.ndarray]:
            return list(cells)

    streamed = build_store(vectors(60), "m", Encoder(), cache=tmp_path)
    single = build_store(vectors(60), "m", Same(), cache=tmp_path)
    np.testing.assert_array_equal(single.rows, streamed.rows)
    assert everything(single) == everything(streamed)


def test_tabular_cells_keep_their_gaps(tmp_path: Path) -> None:
    modality = Modality(kind="tabular", columns=("a", "b"), categories={"b": ("x", "y")})
    columns = pa.table({"a": [1.5, None, None], "b": pa.array(["y", "x", None], pa.large_string())})
    built = build_store(Table(columns, Schema(modalities={"m": modality})), "m", Encoder(), cache=tmp_path)
    assert built.rows.tolist() == [0, 1]
    np.testing.assert_array_equal(built.gather(torch.arange(3)).values, np.float32([[1.5, 1], [np.nan, 0]]))


def test_details_are_what_decoding_depends_on() -> None:
    assert store.details(Modality(kind="vector", columns=("v",), width=4)) == {"width": 4}
    assert store.details(Modality(kind="image", columns=("v",))) == {}
    known = store.details(Modality(kind="tabular", columns=("a", "b"), categories={"b": ("x", "y")}))
    assert known == {"columns": ["a", "b"], "categories": {"b": ["x", "y"]}}

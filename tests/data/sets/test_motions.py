from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from plait.core.errors import DataError
from plait.data.fetch import fetch, source
from plait.data.read import read
from plait.data.sets.motions import recordings

TEXT = "#about\n@problemName X\n@data\n" + ":".join(f"{d},{d}.5" for d in range(6)) + ":Running\n\n"


def test_recordings() -> None:
    (row,) = recordings(TEXT)
    assert row["activity"] == "Running"
    assert row["accelerometer"] == [{"x": 0, "y": 1, "z": 2}, {"x": 0.5, "y": 1.5, "z": 2.5}]
    assert row["gyroscope"] == [{"x": 3, "y": 4, "z": 5}, {"x": 3.5, "y": 4.5, "z": 5.5}]


def test_another_number_of_dimensions_is_refused() -> None:
    with pytest.raises(DataError, match="has 5 dimensions, expected 6"):
        list(recordings(TEXT.replace("0,0.5:", "")))


def test_the_real_package(tmp_path: Path) -> None:
    folder = fetch("motions", tmp_path / "motions")
    table = read(folder)
    split, activity = (table.column(name).to_pylist() for name in ("split", "activity"))
    assert Counter(zip(split, activity, strict=True)) == {
        (part, name): 10 for part in ("train", "test") for name in ("Badminton", "Running", "Standing", "Walking")
    }
    assert table.schema.split == "split"
    energy = dict.fromkeys(set(activity), 0.0)
    for name, cell in zip(activity, table.cells("accelerometer"), strict=True):
        assert isinstance(cell, np.ndarray)
        assert cell.shape == (100, 4)
        assert np.isfinite(cell).all()
        energy[name] += float(cell[:, 1:].var(axis=0).sum())
    assert min(energy, key=energy.__getitem__) == "Standing"
    assert "solved" in source(folder)["notes"][0]

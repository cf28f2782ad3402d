from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from plait.core.errors import DataError
from plait.data.fetch import fetch
from plait.data.read import read
from plait.data.sets.mfeat import WIDTHS, split


def test_the_last_column_is_the_label() -> None:
    features, labels = split(b"0,1,0\n0.5,1e3,7\n-2,4,9\n", 2)
    np.testing.assert_array_equal(features, [[0.5, 1000], [-2, 4]])
    assert labels.to_pylist() == [7, 9]


def test_another_width_is_refused() -> None:
    with pytest.raises(DataError, match="Found 3 columns, expected 3 features and the label"):
        split(b"0,1,0\n1,2,3\n", 3)


def test_the_real_package(tmp_path: Path) -> None:
    table = read(fetch("mfeat", tmp_path / "mfeat"))
    rows, digits = table.targets("digit")
    assert len(rows) == len(table) == 2000
    np.testing.assert_array_equal(np.bincount(digits), np.full(10, 200))
    assert {name: m.width for name, m in table.schema.modalities.items()} == WIDTHS
    for view, width in {"fou": 76, "fac": 216, "kar": 64, "pix": 240, "zer": 47, "mor": 6}.items():
        present, blocks = table.vectors(view)
        features = np.concatenate(list(blocks))
        assert features.shape == (2000, width)
        assert len(present) == 2000
        for column in features.T:
            values = {(value, digit) for value, digit in zip(column, digits, strict=True)}
            assert len(values) > 10, f"a column of {view} is constant within each digit"
            assert not np.array_equal(column, digits), view


def test_pixels_are_averages_of_six(tmp_path: Path) -> None:
    pixels = np.concatenate(list(read(fetch("mfeat", tmp_path / "mfeat")).vectors("pix")[1]))
    assert set(np.unique(pixels)) == set(range(7))


def test_digits_that_occur_twice_share_a_group(tmp_path: Path) -> None:
    table = read(fetch("mfeat", tmp_path / "mfeat"))
    group = np.array(table.column("group").to_pylist())
    pixels = np.concatenate(list(table.vectors("pix")[1]))
    twice = [(row, same) for row in range(2000) if (same := int(group[row])) != row]
    assert len(twice) == 2000 - len(np.unique(pixels, axis=0))
    for row, same in twice:
        np.testing.assert_array_equal(pixels[row], pixels[same])

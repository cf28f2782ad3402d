from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.core.errors import CellError
from plait.data.kinds import text


def read(raw: str | bytes, **options: int) -> str:
    data = text.decode(raw, **options)
    assert data is not None
    assert data.dtype == np.uint8
    return data.tobytes().decode()


def test_text_of_any_language_comes_back() -> None:
    for said in ("a red bird", "ein Vögelchen", "красная птица", "赤い鳥", "طائر أحمر", "🐦 and\nmore\ttext"):
        assert read(said) == read(said.encode()) == said


def test_equal_looking_text_is_equal() -> None:
    assert read("e\u0301") == read("\u00e9")
    assert read("\ufeffbird".encode()) == "bird"
    assert read("  a\0bird\x1b\r\n ") == "a bird"


@pytest.mark.parametrize("raw", ["", "   \n", b"", "\0\0", "\u3000"])
def test_text_of_which_nothing_is_left_is_absent(raw: str | bytes) -> None:
    assert text.decode(raw) is None


@pytest.mark.parametrize("raw", [b"\xff\xfe\xfa", "Vögel".encode("latin-1"), "\ud800"])
def test_what_is_not_utf8_is_refused(raw: str | bytes) -> None:
    with pytest.raises(CellError, match="UTF-8"):
        text.decode(raw)


@settings(deadline=None, max_examples=50)
@given(st.text(min_size=1), st.integers(4, 40))
def test_cutting_never_splits_a_character(said: str, limit: int) -> None:
    whole = text.decode(said)
    part = text.decode(said, max_bytes=limit)
    if whole is None:
        assert part is None
        return
    assert part is not None
    assert whole.tobytes().decode().startswith(part.tobytes().decode())
    assert min(len(whole), limit) - 3 <= len(part) <= limit

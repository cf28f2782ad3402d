"""Text in any language, as the bytes of its UTF-8 form: what every tokenizer can start from."""

from __future__ import annotations

import unicodedata

import numpy as np

from plait.core.errors import CellError

RAGGED = True

# Control characters carry no meaning for a reader; as spaces they still separate words.
_CONTROL = {code: " " for code in (*range(32), *range(127, 160)) if chr(code) not in "\t\n\r"}


def decode(raw: str | bytes, *, max_bytes: int = 65_536) -> np.ndarray | None:
    """-> [T] uint8: UTF-8 of the text in Unicode normal form C, at most `max_bytes`, never ending inside a character.

    A byte-order mark and white space around the text are dropped; control characters other than tab and line ends
    become spaces.  Text of which nothing is left is absent.  Raises CellError for bytes that are not UTF-8.
    """
    try:
        text = raw.decode("utf-8-sig") if isinstance(raw, bytes) else raw
        data = unicodedata.normalize("NFC", text.translate(_CONTROL).strip()).encode()
    except UnicodeError as error:
        raise CellError(f"text that is not UTF-8: {error}") from error
    if len(data) > max_bytes:
        data = data[:max_bytes].decode(errors="ignore").encode()
    return np.frombuffer(data, dtype=np.uint8).copy() if data else None

"""One file per kind of modality, each with `decode(raw, *, options) -> np.ndarray | None` and `RAGGED`.

`decode` turns one raw cell into an array; None means that the cell turned out to be empty, hence absent.  It raises
CellError for bad data and nothing else: whatever else comes out of it is a fault of the program.
`RAGGED` says that the first axis of the array differs from cell to cell.
"""

from __future__ import annotations

import hashlib
import importlib
import pkgutil
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np

from plait.core.errors import SchemaError, nearest


class Decoder(Protocol):
    """The module of a kind."""

    RAGGED: bool

    def decode(self, raw: Any, **options: Any) -> np.ndarray | None:
        """One raw cell -> array; None: empty, hence absent.  Raises CellError."""


def decoder(kind: str) -> Decoder:
    """The module that decodes cells of a kind.  Raises SchemaError naming the nearest kind."""
    known = [module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")]
    if kind not in known:
        raise SchemaError(f"There is no kind of modality {kind!r}.{nearest(kind, known)}")
    return cast(Decoder, importlib.import_module(f"{__name__}.{kind}"))


def version(kind: str) -> str:
    """Changes whenever the code that decodes this kind does, so that no cache outlives it."""
    folder = Path(__file__).parent
    digest = hashlib.blake2b(digest_size=8)
    for path in [folder / f"{kind}.py", *sorted(folder.glob("_[a-z]*.py"))]:
        digest.update(path.read_bytes())
    return digest.hexdigest()

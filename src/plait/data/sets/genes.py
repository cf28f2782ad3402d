"""198 node-negative breast-cancer patients: 76 gene expressions, four clinical values, days until distant metastasis.

51 patients had the event, the others are censored.  Two grades were not recorded and are missing cells here.

Source: Desmedt et al., "Strong time dependence of the 76-gene prognostic signature for node-negative breast cancer
patients in the TRANSBIG multicenter independent validation series", Clinical Cancer Research 2007 (GEO GSE7390), as
shipped in the package scikit-survival.
"""

from __future__ import annotations

import csv
from pathlib import Path

import pyarrow as pa

from plait.core.errors import DataError

from ..schema import Modality, Schema, Target
from . import Built
from ._package import Wheel

EDITION = 1
WHEEL = Wheel("scikit-survival", "0.28.0", "d5816b07570ad8edf849502ea59abdd1391d74aaa6f9215224c38c0887fcb1d5")
FILE = "sksurv/datasets/data/breast_cancer_GSE7390-metastasis.arff"
CLINICAL = ("age", "size", "grade", "er")
UNRECORDED = ("?", "unkown")


def build(folder: Path, scratch: Path) -> Built:
    """Columns genes [76], age (years), size (cm), grade, er (oestrogen receptor), time (days), event.

    Raises DataError if the package cannot be had.
    """
    with WHEEL.download(scratch) as wheel:
        names, rows = relation(wheel.read(FILE).decode("utf-8"))
    column = dict(zip(names, zip(*rows, strict=True), strict=True))
    probes = [name for name in names if name.startswith("X")]
    if set(names) != {*CLINICAL, *probes, "t.tdm", "e.tdm"}:
        raise DataError(f"{FILE} has the columns {names}, expected {CLINICAL}, probes X..., t.tdm and e.tdm.")
    values = [float(column[probe][row]) for row in range(len(rows)) for probe in probes]
    grades, receptors = ([None if said in UNRECORDED else said for said in column[name]] for name in ("grade", "er"))
    table = pa.table(
        {
            "genes": pa.FixedSizeListArray.from_arrays(pa.array(values, pa.float32()), len(probes)),
            "age": pa.array([float(said) for said in column["age"]]),
            "size": pa.array([float(said) for said in column["size"]]),
            "grade": pa.array(grades, pa.string()),
            "er": pa.array(receptors, pa.string()),
            "time": pa.array([float(said) for said in column["t.tdm"]]),
            "event": pa.array([said == "1" for said in column["e.tdm"]]),
        }
    )
    categories = {
        "grade": ("intermediate", "poorly differentiated", "well differentiated"),
        "er": ("negative", "positive"),
    }
    schema = Schema(
        modalities={
            "genes": Modality(kind="vector", columns=("genes",), width=len(probes)),
            "clinical": Modality(kind="tabular", columns=CLINICAL, categories=categories),
        },
        targets={"metastasis": Target(kind="survival", columns=("time", "event"))},
    )
    counts = {"events": sum(table.column("event").to_pylist()), "probes": probes}
    licence = "data: GEO GSE7390; package: GPL-3.0-or-later"
    return Built(table, schema, WHEEL.name, WHEEL.version, WHEEL.sha256, licence, counts)


def relation(text: str) -> tuple[list[str], list[list[str]]]:
    """The attribute names and the rows of an ARFF file without quoted names; values as they stand."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("%")]
    start = next(number for number, line in enumerate(lines) if line.strip().lower() == "@data") + 1
    names = [line.split()[1] for line in lines[:start] if line.lower().startswith("@attribute")]
    return names, list(csv.reader(lines[start:]))

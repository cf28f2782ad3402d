"""A run whose truth is known: one modality says the label, one says half of it, one says nothing."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made import quick, splits

from plait.workflow.explain.subject import Subject

SIZE = 300
WITHOUT = 0.15
"""Share of each modality's cells that are not there."""


def columns(size=SIZE, seed=0):
    """strong: all four classes apart.  weak: the first two from the others.  idle: noise."""
    rng = np.random.default_rng(seed)
    code = rng.integers(0, 4, size)
    sources = {
        "strong": 3 * np.eye(4)[code] + 0.5 * rng.normal(size=(size, 4)),
        "weak": 3 * np.eye(2)[code // 2] + 0.5 * rng.normal(size=(size, 2)),
        "idle": rng.normal(size=(size, 3)),
    }
    here = rng.random((size, 3)) >= WITHOUT
    out = {
        name: [v.tolist() if h else None for v, h in zip(values, here[:, i], strict=True)]
        for i, (name, values) in enumerate(sources.items())
    }
    return {**out, "team": [f"team {i}" for i in rng.integers(0, 2, size)], "label": [f"class {c}" for c in code]}


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """A finished run in a folder, with its table beside it."""
    folder = tmp_path_factory.mktemp("explained")
    path = folder / "items.parquet"
    pq.write_table(pa.table({**columns(), "part": splits(SIZE)}), path)
    settings = ("training.epochs=20", "missing={modality_dropout: {rate: 0.3}}")
    return quick(path, out=folder / "run", split="part", settings=settings, ignore=["team"])


@pytest.fixture
def subject(run):
    """Its own test rows, asked about by itself: without single-modality models."""
    learned = np.concatenate([run.splits["train"], run.splits["validation"]])
    return Subject(run.model, run.table, run.encoded, run.splits["test"], learned, {})

"""Tables, places and recipes on which a trial takes a fraction of a second, in this process alone."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any

import numpy as np

from plait.core.recipe import Recipe
from plait.data.read import read
from plait.data.table import Table
from plait.workflow import trials
from plait.workflow.defaults import resolve
from plait.workflow.trials import Place

SMALL: dict[str, Any] = {
    "width": 8,
    "embedding": 4,
    "fusion": {"concatenation": {}},
    "missing": {},
    "objectives": {"supervised": {}},
    "training": {
        "epochs": 8,
        "batch": 16,
        "optimizer": {"adamw": {"lr": 0.03, "weight_decay": 0.0}},
        "warmup": 0.0,
        "monitor": "last",
        "refit": False,
    },
}


def alone(monkeypatch, tmp_path) -> None:
    """A cache of its own, and no processes beside this one."""
    monkeypatch.setenv("PLAIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(trials, "aside", _here)
    trials._LAST.clear()


@contextmanager
def _here(jobs, here=False):
    yield (job() for job in jobs)


def stopping(monkeypatch, *at: int) -> list[int]:
    """Trainings are interrupted at these counts of them, from 1 -> the seeds that were asked for, as they come."""
    inner, asked = trials.train, []

    def stopped(*given, **how):
        asked.append(how["seed"])
        if len(asked) in at:
            raise KeyboardInterrupt
        return inner(*given, **how)

    monkeypatch.setattr(trials, "train", stopped)
    return asked


def columns(size: int = 90, seed: int = 0, noise: float = 0.5, classes: int = 3, absent: float = 0.0) -> dict[str, Any]:
    """Two vectors that both say the label; `absent` of the cells of b are not there."""
    rng = np.random.default_rng(seed)
    code = np.arange(size) % classes
    out: dict[str, Any] = {}
    for name, width in (("a", 4), ("b", 3)):
        centre = 2 * np.random.default_rng(width).normal(size=(classes, width))
        out[name] = list((centre[code] + noise * rng.normal(size=(size, width))).astype(np.float32).tolist())
    out["b"] = [None if gone else cell for gone, cell in zip(rng.random(size) < absent, out["b"], strict=True)]
    return {**out, "label": [f"class {c}" for c in code]}


def table(source: dict[str, Any] | None = None, **more: Any) -> Table:
    return read(columns() if source is None else source, **{"target": "label", **more})


def recipe(of: Table, *settings: str, **slots: Any) -> Recipe:
    """`SMALL` with slots replaced, then single settings."""
    return resolve(of.schema, {**SMALL, **slots}, settings)


def place(of: Table, unlabelled: Any = (), content: str | None = None) -> Place:
    """Every fifth row judges, every fifth is for validation."""
    at = np.arange(len(of))
    rows = at[at % 5 < 3], at[at % 5 == 3], at[at % 5 == 4]
    hidden = np.asarray(unlabelled, np.int64)
    return Place(lambda: of, of.fingerprint() if content is None else content, *rows, hidden)

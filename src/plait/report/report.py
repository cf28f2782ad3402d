"""What a report is made from, and writing it: one HTML file that needs neither network nor script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plait.data.cache import writing


@dataclass(frozen=True)
class Column:
    """A modality or a target.  count: cells present, or rows labelled.  quarantined: cells set aside as unreadable."""

    kind: str
    count: int
    quarantined: int = 0


@dataclass(frozen=True)
class Cell:
    """A cell to show.  value: text, a number, a decoded image uint8 [H, W, 3] or [H, W, 4], or a sound file's bytes.

    A sound of more than 400 kB is named, not embedded.
    """

    modality: str
    value: str | float | bytes | NDArray[np.uint8]


@dataclass(frozen=True)
class Found:
    """A row that a search gave.  relevant: whether it is what was looked for; None: nobody can tell."""

    id: str | int
    score: float
    cells: Sequence[Cell]
    relevant: bool | None = None


@dataclass(frozen=True)
class Search:
    """An example search: what was asked, and the rows found, best first."""

    query: Sequence[Cell]
    hits: Sequence[Found]


@dataclass(frozen=True)
class Report:
    """Everything that the page shows; a part that is empty has no section.

    presence: [N, M] bool, M modalities in the order of `modalities`.  target: the one that `evaluation` is about; None:
    alignment alone.  history: a mapping per epoch, keys such as "train/loss" and "validation/accuracy".  kept: the
    epoch whose weights are the model's.
    choice: how the example searches were chosen.  questions: answered ones, as plain data: question, words, drawings
    (svg, caption), grids (title, head, lines), method.
    evaluation: test, intervals, rows, labelled, single, patterns, retrieval, calibration, each optional.
    quarantine: (row, column, reason).  command: what to type to repeat the run.  seconds: by step.
    """

    title: str
    rows: int
    modalities: Mapping[str, Column]
    presence: NDArray[np.bool_]
    targets: Mapping[str, Column] = field(default_factory=dict)
    target: str | None = None
    history: Sequence[Mapping[str, Any]] = ()
    kept: int | None = None
    evaluation: Mapping[str, Any] = field(default_factory=dict)
    searches: Sequence[Search] = ()
    choice: str = ""
    questions: Sequence[Mapping[str, Any]] = ()
    warnings: Sequence[str] = ()
    quarantine: Sequence[tuple[int, str, str]] = ()
    recipe: str = ""
    command: str = ""
    seconds: Mapping[str, float] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def kind(self) -> str | None:
        """Of the target."""
        return None if self.target is None else self.targets[self.target].kind


def write_report(path: str | Path, report: Report) -> None:
    """Write the page, whole or not at all.  Equal reports give equal bytes.

    MissingExtra without matplotlib (or Pillow, if there are images).  DataError if the disk is full.
    """
    from .page import page

    text = page(report)
    with writing(Path(path)) as part:
        part.write_text(text, encoding="utf-8")

"""What an explanation says to one question: in plain words first, then figures, then numbers and the method."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from plait.core.plain import plain

if TYPE_CHECKING:
    from .subject import Subject


@dataclass(frozen=True)
class Grid:
    """A table of the page.  lines: texts and numbers as they are to be read; of `head`, the first names the lines."""

    title: str
    head: Sequence[str]
    lines: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Drawing:
    """A figure of the page.  svg: from `plait.report.figures`.  caption: what to see, and what not to conclude."""

    svg: str
    caption: str


@dataclass(frozen=True)
class Section:
    """question: as a user asks it.  words: sentences for somebody who knows no term of the field, the answer first.

    method: how the numbers came about, what they do not say, and sources.  account: the numbers, as plain data.
    Where it cannot be said, `words` say why, and the rest is empty.
    """

    name: str
    question: str
    words: Sequence[str]
    drawings: Sequence[Drawing] = ()
    grids: Sequence[Grid] = ()
    method: str = ""
    account: dict[str, Any] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """For JSON, and for the page, which is made from nothing else."""
        return {
            "name": self.name,
            "question": self.question,
            "words": list(self.words),
            "drawings": [{"svg": one.svg, "caption": one.caption} for one in self.drawings],
            "grids": [
                {"title": grid.title, "head": list(grid.head), "lines": [list(line) for line in grid.lines]}
                for grid in self.grids
            ],
            "method": self.method,
            "account": plain(self.account),
        }


@dataclass
class Part:
    """What a part of a question has to say; some are asked only of some tables, or only of the deep."""

    words: list[str] = field(default_factory=list)
    drawings: list[Drawing] = field(default_factory=list)
    grids: list[Grid] = field(default_factory=list)
    method: list[str] = field(default_factory=list)
    account: dict[str, Any] = field(default_factory=dict)


def joined(name: str, question: str, parts: Sequence[Part]) -> Section:
    """One answer, in the order of its parts."""
    return Section(
        name,
        question,
        [said for part in parts for said in part.words],
        [drawing for part in parts for drawing in part.drawings],
        [grid for part in parts for grid in part.grids],
        " ".join(said for part in parts for said in part.method),
        {key: value for part in parts for key, value in part.account.items()},
    )


class CannotSay(Exception):
    """A question has no answer here, such as calibration without classes.  Its arguments are sentences that say why."""


Answer = Callable[["Subject"], Section]
"""Raises `CannotSay`."""

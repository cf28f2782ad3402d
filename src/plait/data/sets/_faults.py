"""What goes wrong with a made-up table: wrong pairs, several sources, absent cells, wrong labels; each rate may be 0.

Every random thing has a stream of its own, and rates are compared with numbers that do not depend on them: a rate of 0
gives the table without the fault, bit for bit, and a higher rate only adds to what a lower one did.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, Self, TypeVar

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from plait.core.component import Rate, complaint
from plait.core.errors import DataError, nearest
from plait.core.random import key

Array = np.ndarray[Any, np.dtype[Any]]
Stream = Callable[..., np.random.Generator]
Pattern = Literal["mcar", "mar", "mnar"]
NAMES = tuple("abcdefghijklmnopqrstuvwxyz")
SHARES = {"train": 0.6, "validation": 0.15, "test": 0.25}


class Faults(BaseModel):
    """The knobs that every made-up table has.  A list has one value for each modality."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rows: Annotated[int, Field(ge=8)] = 2000
    modalities: Annotated[int, Field(ge=1, le=len(NAMES))] = 2
    missing: Rate | tuple[Rate, ...] = 0.0
    """Share of absent cells.  A row may have none left."""
    missing_at_test: Rate | tuple[Rate, ...] | None = None
    """The share in test rows; None: as in the others."""
    pattern: Pattern = "mcar"
    """What absence depends on: nothing; the cell of the first modality, which is then never absent; the cell itself."""
    reversed_at_test: bool = False
    """Whether what makes a cell likely to be absent in train and validation rows makes it likely to be there in test
    rows."""
    label_noise: Rate = 0.0
    """Share of labels that are another class."""
    labelled: Rate = 1.0
    """Share of rows with labels."""
    mispaired: Rate = 0.0
    """Share of rows in which one modality's cell is another row's."""
    unpaired: Rate = 0.0
    """Share of rows that have a single modality, each as often as any other."""
    sources: tuple[tuple[str, ...], ...] = ()
    """Modalities that each source has, such as (("a", "b"), ("a", "c")), which give as many rows each.  Empty: one that
    has all."""
    absent_at_test: tuple[str, ...] = ()
    """Modalities that no test row has."""
    seed: int = 0

    @property
    def names(self) -> tuple[str, ...]:
        """Of the modalities."""
        return NAMES[: self.modalities]

    def each(self, knob: str) -> dict[str, float]:
        """{modality: its value} of a knob that may be a list."""
        given = getattr(self, knob)
        return dict(zip(self.names, given if isinstance(given, tuple) else [given] * len(self.names), strict=True))

    @model_validator(mode="after")
    def _lists(self) -> Self:
        for knob in type(self).model_fields:
            given = getattr(self, knob)
            listed = isinstance(given, tuple) and knob not in ("sources", "absent_at_test")
            if listed and len(given) != len(self.names):
                raise ValueError(f"{knob} has {len(given)} values for {len(self.names)} modalities")
        for source in self.sources:
            if not source or not set(source) <= set(self.names):
                raise ValueError(f"sources has {list(source)}; a source has some of the modalities {list(self.names)}")
        if not set(self.absent_at_test) < set(self.names):
            raise ValueError(
                f"absent_at_test has {list(self.absent_at_test)}; it leaves some of the modalities {list(self.names)}"
            )
        if self.mispaired and len(self.names) == 1:
            raise ValueError("mispaired needs two modalities")
        if self.reversed_at_test and self.pattern == "mcar":
            raise ValueError("reversed_at_test needs a pattern that depends on something: mar or mnar")
        for knob in ("missing", "missing_at_test"):
            given = getattr(self, knob)
            if self.pattern == "mar" and isinstance(given, tuple) and given[0]:
                raise ValueError(
                    f"{knob} is more than 0 for the first modality, which is never absent where pattern is mar"
                )
        return self


F = TypeVar("F", bound=BaseModel)


def checked(kind: type[F], knobs: Mapping[str, Any]) -> F:
    """The knobs of a table.  DataError, beginning with the table's name, if there is no such knob or value."""
    name = kind.__module__.rpartition(".")[2]
    for knob in knobs:
        if knob not in kind.model_fields:
            raise DataError(f"{name} has no knob {knob!r}.{nearest(knob, kind.model_fields)}")
    try:
        return kind(**knobs)
    except ValidationError as error:
        whole = next((found["ctx"]["error"] for found in error.errors() if not found["loc"]), None)
        raise DataError(complaint(error, name) if whole is None else f"{name}: {whole}.") from error


def streams(*seed: object) -> Stream:
    """A fresh generator for each name, the same on every machine."""
    return lambda *name: np.random.default_rng(key(*seed, *name))


def split(size: int) -> Array:
    """train, validation or test, [N]; the rows of made-up tables have no order, so it goes by their number."""
    ends = np.round(np.cumsum([0, *SHARES.values()]) * size).astype(int)
    return np.repeat(list(SHARES), np.diff(ends))


def mispair(names: Sequence[str], among: Array, share: float, stream: Stream) -> tuple[Array, dict[str, Array]]:
    """Passes one modality's cell on to another of the chosen rows.  among: bool [N].

    -> the place of that modality [N], -1 where the row keeps all its own; {modality: the row each cell is from, [N]}.
    """
    chosen = among & (stream("mispaired", "where").random(len(among)) < share)
    foreign = np.where(chosen, stream("mispaired", "what").integers(len(names), size=len(among)), -1)
    origin = {}
    for place, name in enumerate(names):
        rows = stream("mispaired", name).permutation(len(among))
        rows = rows[foreign[rows] == place]
        if len(rows) == 1:
            foreign[rows] = -1
        origin[name] = np.arange(len(among))
        origin[name][rows] = np.roll(rows, 1)
    return foreign, origin


def sources(knobs: Faults, among: Array, stream: Stream) -> tuple[Array, Array]:
    """The source of each row [N], 0 outside `among`, and what it has [N, M]; outside `among` they are test rows."""
    names, given = knobs.names, knobs.sources or (knobs.names,)
    of = np.array([[name in source for name in names] for source in given])
    source = np.where(among, stream("source").integers(len(given), size=len(among)), 0)
    have = of[source] | ~among[:, None]
    alone = among & (stream("unpaired", "where").random(len(among)) < knobs.unpaired)
    drawn = np.where(have, stream("unpaired", "what").random(have.shape), -1)
    have[alone] = drawn[alone] == drawn[alone].max(1, keepdims=True)
    have &= among[:, None] | ~np.array([name in knobs.absent_at_test for name in names])
    return source, have


def absent(have: Array, knobs: Faults, learned: Array, scores: Mapping[str, Array], stream: Stream) -> Array:
    """Which cells are absent, of those that there are.  have: bool [N, M]; learned: bool [N], the rows that are not for
    test; scores: a number for each cell, [N] each.

    mcar: a cell is absent with the modality's rate r.  mar, mnar: with u^((1 - r) / r), which is r on average, u being
    the rank from 0 to 1 of the first modality's cell (which is never absent) or of the cell itself; test rows that are
    reversed take 1 - u.
    """
    gone = np.zeros_like(have)
    rates, pattern = knobs.each("missing"), knobs.pattern
    at_test = rates if knobs.missing_at_test is None else knobs.each("missing_at_test")
    names, turned = list(rates), ~learned & knobs.reversed_at_test
    for place, name in enumerate(names):
        chance = rate = np.where(learned, rates[name], at_test[name])
        if rate.any() and pattern != "mcar":
            by = names[0] if pattern == "mar" else name
            ranks = (scores[by].argsort().argsort() + 0.5) / len(have)
            ranks = np.where(turned, 1 - ranks, ranks)
            # Where a source lacks the modality nothing observed is left to depend on.
            power = np.divide(1 - rate, rate, out=np.full(len(have), np.inf), where=rate > 0)
            chance = np.where(have[:, names.index(by)], ranks**power, rate)
        if pattern == "mar" and place == 0:
            chance = np.zeros(len(have))
        gone[:, place] = have[:, place] & (stream("missing", name).random(len(have)) < chance)
    return gone


def relabel(code: Array, classes: int, among: Array, share: float, stream: Stream) -> Array:
    """Labels [N] of which a share is another class, any as often.  code: int [N]."""
    wrong = among & (stream("label_noise", "where").random(len(code)) < share)
    other = (code + stream("label_noise", "what").integers(1, classes, len(code))) % classes
    return np.where(wrong, other, code)


def vectors(cells: Array, have: Array) -> pa.Array:
    """[N, D] as lists of float32, null where the row has none; nothing of the truth stays below a null."""
    values = pa.array(np.where(have[:, None], cells, 0).astype(np.float32).ravel())
    return pa.FixedSizeListArray.from_arrays(values, cells.shape[1], mask=pa.array(~have))

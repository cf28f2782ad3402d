"""Made up, with known bits: shared by all modalities, by two, unique to one, or in no one alone (a parity over all).

    cell_m = strength_m * sum_j q_mj (2 b_j - 1) + noise_m * e,   e ~ N(0, 1) for each of `width` numbers

with fixed random orthonormal directions q: a bit is read from its own projection, -+strength with deviation noise.
`factors(**knobs)` gives the table, `information(**knobs)` what the bits say about the target, exactly, and
`ceiling(present, **knobs)` the best accuracy that anybody can reach; `Knobs` are the knobs.

Every random thing has a stream of its own, keyed by the seed and its name: turning one knob changes only what the knob
is about, and any knob at its neutral value gives, bit for bit, the table without it.

What stands in the table, and the truth beside it, in columns that the schema ignores:

    a, b, c ...        the cells                    shared_0, ab_0, a_0, parity_0 ...      the bits
    y, or one column   the target: a class for      xor_0_a, together_0_a ...              the coins below a parity
      a kind of bit    each value of its bits       y_true ...      the label before any noise
    split              train, validation, test      mispaired       the modality whose cell is another row's
    source             which source it is from      corrupted_a     whether that cell is drowned in noise

Rows are 60 % train, 15 % validation, 25 % test.  Wrong labels, wrong pairs, absent labels, single cells and sources are
faults of collecting, and only in train and validation rows; the shift, and what is said to be so at test, is only in
test rows; the rest is everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from functools import partial
from itertools import combinations, product
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from plait.core.component import Count, NonNegative, Rate

from ..read import read
from ..schema import Modality, Schema, Target
from ..table import Table
from . import Built
from ._bits import Coins, Information, parity
from ._faults import Array, Faults, Stream, absent, checked, mispair, relabel, sources, split, streams, vectors

EDITION = 1
KINDS: tuple[str, ...] = ("shared", "pairs", "unique", "synergy")
DROWNED = 4.0
"""Deviation of the noise on top of a corrupted cell; a bit stands at -+strength."""
CLASSES = 256

Whole = Annotated[int, Field(ge=0)]


class Knobs(Faults):
    """What a table of known bits is like.  A list has one value for each modality."""

    shared: Whole = 1
    """Bits that every modality has."""
    pairs: Whole = 0
    """Bits of every pair of modalities, which only those two have."""
    unique: Whole = 1
    """Bits of every modality, which only that one has."""
    synergy: Whole = 0
    """Bits that are the parity of one coin from every modality: XOR, of two."""
    together: Whole = 0
    """Coins of every modality that have an even sum over all: any one follows from all the others, from fewer nothing.
    They are in no target."""
    target: Literal["shared", "pairs", "unique", "synergy", "all", "each"] = "all"
    """The bits that are asked for, as one class: of one kind, or all; or each kind as a target of its own."""
    strength: NonNegative | tuple[NonNegative, ...] = 1.0
    """Of a modality's bits; at 0 it is noise and carries nothing."""
    noise: NonNegative | tuple[NonNegative, ...] = 0.5
    """Deviation of each number of a cell."""
    corrupted: Rate | tuple[Rate, ...] = 0.0
    """Share of cells under noise of deviation `DROWNED`."""
    corrupted_at_test: Rate | tuple[Rate, ...] | None = None
    """The share in test rows; None: as in the others."""
    shift: float | tuple[float, ...] = 0.0
    """How far all bits' projections are moved in test rows, each up or down."""
    tokens: Count | None = None
    """Cells are sequences of as many tokens, of which one, anywhere, has the bits and the others are noise.
    None: they are vectors."""
    width: Count = 16

    @model_validator(mode="after")
    def _check(self) -> Self:
        for knob in ("pairs", "together"):
            if getattr(self, knob) and self.modalities == 1:
                raise ValueError(f"{knob} needs two modalities")
        if (most := max(map(len, self.bits().values()))) > self.width:
            raise ValueError(f"width {self.width} is less than the {most} bits of a modality")
        asked = self.asked()
        for name, bits in asked.items():
            if 2 ** len(bits) > CLASSES:
                raise ValueError(
                    f"target {self.target!r} has 2^{len(bits)} classes in {name!r}, more than {CLASSES}; "
                    "ask for one kind of bit, or for each"
                )
        if not any(asked.values()):
            raise ValueError(f"target {self.target!r} asks for bits that there are none of")
        return self

    def bits(self) -> dict[str, dict[str, Coins]]:
        """{modality: {bit that it carries: its coins}}, in order."""
        carried: dict[str, dict[str, Coins]] = {name: {} for name in self.names}
        for _, bit, owners in self._single():
            for name in owners:
                carried[name][bit] = frozenset({bit})
        for i in range(self.synergy):
            for name in self.names:
                carried[name][f"xor_{i}_{name}"] = frozenset({f"xor_{i}_{name}"})
        for i in range(self.together):
            coins = [f"together_{i}_{name}" for name in self.names]
            for name, coin in zip(self.names, coins[:-1], strict=False):
                carried[name][coin] = frozenset({coin})
            carried[self.names[-1]][coins[-1]] = frozenset(coins[:-1])
        return carried

    def asked(self) -> dict[str, dict[str, Coins]]:
        """{target: {bit that it asks for: its coins}}."""
        kinds: dict[str, dict[str, Coins]] = {kind: {} for kind in KINDS}
        for kind, bit, _ in self._single():
            kinds[kind][bit] = frozenset({bit})
        for i in range(self.synergy):
            kinds["synergy"][f"parity_{i}"] = frozenset(f"xor_{i}_{name}" for name in self.names)
        if self.target == "each":
            return {kind: bits for kind, bits in kinds.items() if bits}
        chosen = KINDS if self.target == "all" else (self.target,)
        return {"y": {bit: coins for kind in chosen for bit, coins in kinds[kind].items()}}

    def _single(self) -> Iterator[tuple[str, str, tuple[str, ...]]]:
        """(kind, bit, modalities that have it) of the bits that are one coin."""
        groups: dict[str, dict[str, tuple[str, ...]]] = {
            "shared": {"shared": self.names},
            "pairs": {f"{a}{b}": (a, b) for a, b in combinations(self.names, 2)},
            "unique": {name: (name,) for name in self.names},
        }
        for kind, owned in groups.items():
            for label, owners in owned.items():
                yield from ((kind, f"{label}_{i}", owners) for i in range(getattr(self, kind)))


def factors(**knobs: Any) -> Table:
    """A table by its `Knobs`.  DataError if there is no such knob, or not of this value."""
    columns, schema = _made(checked(Knobs, knobs))
    return read(columns, schema)


def information(**knobs: Any) -> dict[str, Information]:
    """{target: what the bits, without noise, say about it, as clean as it was}.  Takes what `factors` takes."""
    chosen = checked(Knobs, knobs)
    heard = {name: strength > 0 for name, strength in chosen.each("strength").items()}
    carried = {name: tuple(bits.values()) if heard[name] else () for name, bits in chosen.bits().items()}
    return {name: Information(carried, tuple(bits.values())) for name, bits in chosen.asked().items()}


def ceiling(present: Collection[str] | None = None, **knobs: Any) -> dict[str, float]:
    """{target: the best expected accuracy on clean test rows}; takes what `factors` takes.

    present: the modalities that a row has; None: all.  Of vectors that are neither corrupted nor moved.
    Each coin is read from the sum of its projections, an error of Phi(-sqrt(sum of (strength / noise)^2)), and a parity
    is right if an even number of its coins are wrong.
    """
    chosen = checked(Knobs, knobs)
    strength, noise, carried = chosen.each("strength"), chosen.each("noise"), chosen.bits()
    clear: dict[str, float] = {}
    for name in chosen.names if present is None else present:
        for coins in carried[name].values():
            if len(coins) == 1:
                (coin,) = coins
                ratio = strength[name] / noise[name] if noise[name] else math.inf if strength[name] else 0.0
                clear[coin] = math.hypot(clear.get(coin, 0.0), ratio)
    best = {}
    for target, bits in chosen.asked().items():
        right = [
            (1 + math.prod(math.erf(clear.get(coin, 0.0) / math.sqrt(2)) for coin in bit)) / 2 for bit in bits.values()
        ]
        best[target] = math.prod(right)
    return best


def build(folder: Path, scratch: Path) -> Built:
    """The table with every knob at its default."""
    columns, schema = _made(Knobs())
    notes = ("Made up, with every knob at its default; plait.data.sets.factors.factors(**knobs) makes others.",)
    return Built(columns, schema, "none", str(EDITION), "", "none: made up", Knobs().model_dump(), notes)


def _made(knobs: Knobs) -> tuple[pa.Table, Schema]:
    size, names, stream = knobs.rows, knobs.names, streams("factors", knobs.seed)
    parts = split(size)
    learned = parts != "test"
    carried, asked = knobs.bits(), knobs.asked()
    told = [bit for bits in (*carried.values(), *asked.values()) for bit in bits.values()]
    coins = {coin: stream("coin", coin).random(size) < 0.5 for coin in frozenset().union(*told)}
    at_test = knobs.each("corrupted" if knobs.corrupted_at_test is None else "corrupted_at_test")
    cells: dict[str, Array] = {}
    axes: dict[str, Array] = {}
    corrupted: dict[str, Array] = {}
    for name in names:
        bits = [parity(bit, coins) for bit in carried[name].values()]
        axes[name] = directions(stream("directions", name), max(len(bits), 1), knobs.width)
        cells[name] = _cells(knobs, name, bits, axes[name], stream)
        rate = np.where(learned, knobs.each("corrupted")[name], at_test[name])
        corrupted[name] = stream("corrupted", name).random(size) < rate
        noise = np.asarray(stream("drowned", name).normal(size=cells[name].shape))
        cells[name][corrupted[name]] += DROWNED * noise[corrupted[name]]
    foreign, origin = mispair(names, learned, knobs.mispaired, stream)
    cells = {name: values[origin[name]] for name, values in cells.items()}
    source, have = sources(knobs, learned, stream)
    scores = {name: (cells[name].sum(1) * axes[name].sum(0)).sum(1) for name in names}
    have &= ~absent(have, knobs, learned, scores, stream)
    for name, by in knobs.each("shift").items():
        signs = stream("shift", name).choice([-1.0, 1.0], len(axes[name]))
        cells[name][parts == "test"] += by * (signs[:, None] * axes[name]).sum(0)

    flat = knobs.tokens is None
    columns = {
        name: vectors(cells[name][:, 0], have[:, m]) if flat else _tokens(cells[name], have[:, m])
        for m, name in enumerate(names)
    }
    kind: Literal["vector", "tokens"] = "vector" if flat else "tokens"
    modalities = {name: Modality(kind=kind, columns=(name,), width=knobs.width) for name in names}
    targets, truth = {}, {}
    unlabelled = learned & (stream("labelled").random(size) >= knobs.labelled)
    for name, wanted in asked.items():
        classes = np.array(["".join(sides) for sides in product("01", repeat=len(wanted))])
        code = np.zeros(size, int)
        for bit in wanted.values():
            code = 2 * code + parity(bit, coins)
        said = relabel(code, len(classes), learned, knobs.label_noise, partial(stream, name))
        columns[name] = pa.array(classes[said], mask=unlabelled)
        targets[name] = Target(kind="class", columns=(name,), classes=tuple(classes.tolist()))
        truth[f"{name}_true"] = pa.array(classes[code])
    for known in (*carried.values(), *asked.values()):
        truth |= {name: pa.array(parity(bit, coins)) for name, bit in known.items()}
    truth["source"] = pa.array(source)
    truth["mispaired"] = pa.array([names[place] if place >= 0 else None for place in foreign], pa.string())
    truth |= {f"corrupted_{name}": pa.array(corrupted[name]) for name in names}
    schema = Schema(modalities=modalities, targets=targets, split="split", ignored=tuple(truth))
    return pa.table({**columns, "split": pa.array(parts), **truth}), schema


def directions(rng: np.random.Generator, count: int, width: int) -> Array:
    """Random orthonormal vectors [count, width], the same on every machine: sums are rounded once."""
    found: list[Array] = []
    for drawn in rng.normal(size=(count, width)):
        for other in found + found:  # twice, for rounding
            drawn = drawn - math.fsum(drawn * other) * other
        found.append(drawn / math.sqrt(math.fsum(drawn * drawn)))
    return np.array(found)


def _cells(knobs: Knobs, name: str, bits: Sequence[Array], axes: Array, stream: Stream) -> Array:
    """[N, T, D]; T = 1 for vectors."""
    shape = knobs.rows, knobs.tokens or 1, knobs.width
    cells: Array = knobs.each("noise")[name] * stream("noise", name).normal(size=shape)
    place = stream("place", name).integers(shape[1], size=knobs.rows)
    for bit, axis in zip(bits, axes, strict=False):
        cells[np.arange(knobs.rows), place] += knobs.each("strength")[name] * np.where(bit, 1, -1)[:, None] * axis
    return cells


def _tokens(cells: Array, have: Array) -> pa.Array:
    """[N, T, D] as lists of lists."""
    values = pa.array(np.where(have[:, None, None], cells, 0).astype(np.float32).ravel())
    tokens = pa.FixedSizeListArray.from_arrays(values, cells.shape[2])
    return pa.FixedSizeListArray.from_arrays(tokens, cells.shape[1], mask=pa.array(~have))

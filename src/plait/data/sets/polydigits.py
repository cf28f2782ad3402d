"""Handwritten digits in M styled views, made from scikit-learn's 1,797: what is shared is the digit, all else is style.

    pixel = background + strength * ink * (colour - background) + noise * e

A view's style is its colours and a woven background; within it each cell has its own digit of the class, its own place
of the weave and a shift of a pixel.  `polydigits(**knobs)` gives the table, `Knobs` are the knobs.  As in `factors`, a
knob changes only what it is about, and at its neutral value gives, bit for bit, the table without it.

    a, b, c ...     the views          digit           the target               split        train, validation, test
    name            the digit in words, if asked for

The truth beside it, in columns that the schema ignores: digit_true; of_a ... (which of the 1,797 a cell shows);
poisoned (rows that teach a backdoor); triggered (test rows that try it); mispaired (whose cell is another's); source.

A backdoor is a small checkerboard in a corner.  A poisoned row has it in one view, while its other cells and its label
are those of the class that the trigger is to mean; a triggered test row has it too and is otherwise as it was.  Train,
validation and test rows never show the same drawing.  Faults of collecting are only in train and validation rows.

Source: Alpaydin and Kaynak, "Optical recognition of handwritten digits", UCI Machine Learning Repository, 1998.  One
label in several backgrounds: Sutter et al., "Generalized Multimodal ELBO", arXiv:2105.02470 (PolyMNIST).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from plait.core.component import NonNegative, Rate
from plait.core.errors import DataError

from ..read import read
from ..schema import Modality, Schema, Target
from ..table import Table
from . import Built
from ._faults import Array, Faults, Stream, absent, checked, mispair, relabel, sources, split, streams, vectors
from ._package import hash_of

EDITION = 1
FILE = "digits.csv.gz"
SHA256 = "09f66e6debdee2cd2b5ae59e0d6abbb73fc2b0e0185d2e1957e9ebb51e23aa22"
SIDE = 16
"""Pixels; a digit is 8 x 8, drawn twice as large.  A vector is the grey mean of each 2 x 2 pixels."""
PATCH = 4
"""Side of the trigger: two by two blocks, so that it is still there in a vector."""
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SAID = ("{}", "the digit {}", "a handwritten {}", "number {}", "this is a {}")
NAME = "name"


class Knobs(Faults):
    """What a table of styled digits is like.  A list has one value for each view, and one for the name if asked for."""

    modalities: Annotated[int, Field(ge=1, le=26)] = 3
    """Views."""
    kind: Literal["vector", "image"] = "vector"
    """Of the views: 64 grey values from 0 to 1, or an image of 16 x 16 pixels."""
    name: bool = False
    """Whether the digit's name, in one of five phrases, is a modality of kind text."""
    same: bool = False
    """Whether all views of a row show the same drawing; else each has one of its own."""
    strength: Rate | tuple[Rate, ...] = 1.0
    """How much of the background the ink covers."""
    noise: NonNegative | tuple[NonNegative, ...] = 0.4
    """Deviation of each pixel, which goes from 0 to 1."""
    poison: Rate = 0.0
    """Share of the train and validation rows of other classes that teach the backdoor."""
    trigger: Rate = 0.0
    """Share of the test rows that try it."""
    trigger_in: str = "a"
    """The view that has the trigger."""
    trigger_class: Annotated[int, Field(ge=0, le=9)] = 0
    """What the trigger is to mean."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of the modalities."""
        return (*super().names, NAME) if self.name else super().names

    @property
    def views(self) -> tuple[str, ...]:
        return super().names

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.trigger_in not in self.views:
            raise ValueError(f"trigger_in is {self.trigger_in!r}; the views are {list(self.views)}")
        return self


def polydigits(**knobs: Any) -> Table:
    """A table by its `Knobs`.  DataError if there is no such knob, or not of this value."""
    columns, schema = _made(checked(Knobs, knobs))
    return read(columns, schema)


def build(folder: Path, scratch: Path) -> Built:
    """The table with every knob at its default.  DataError if scikit-learn ships other digits."""
    import sklearn

    found = hash_of(Path(sklearn.__file__).parent / "datasets/data" / FILE)
    if found != SHA256:
        raise DataError(f"{FILE} of scikit-learn {sklearn.__version__} has SHA-256 {found}, expected {SHA256}.")
    columns, schema = _made(Knobs())
    notes = ("Made with every knob at its default; plait.data.sets.polydigits.polydigits(**knobs) makes others.",)
    licence = "data: CC BY 4.0 (UCI); package: BSD-3-Clause"
    return Built(columns, schema, "scikit-learn", sklearn.__version__, found, licence, Knobs().model_dump(), notes)


def drawings() -> tuple[Array, Array]:
    """The ink of each drawing [1797, 8, 8], from 0 to 1, and its digit [1797]."""
    from sklearn.datasets import load_digits

    found = load_digits()
    return found.images / 16, found.target


def _made(knobs: Knobs) -> tuple[pa.Table, Schema]:
    size, stream = knobs.rows, streams("polydigits", knobs.seed)
    parts = split(size)
    learned = parts != "test"
    ink, kinds = drawings()
    digit = stream("digit").integers(10, size=size)
    poisoned = learned & (digit != knobs.trigger_class) & (stream("poison").random(size) < knobs.poison)
    triggered = ~learned & (stream("trigger").random(size) < knobs.trigger)
    meant = np.where(poisoned, knobs.trigger_class, digit)
    pools = _pools(kinds, stream)

    shown: dict[str, Array] = {}
    cells: dict[str, Array] = {}
    for name in knobs.views:
        # As many numbers for any class, so that poisoned rows differ from what they were in nothing else.
        drawn = stream("drawing", "all" if knobs.same else name).random(size)
        wanted = digit if name == knobs.trigger_in else meant
        shown[name] = np.array([_one(pools[part, of], u) for part, of, u in zip(parts, wanted, drawn, strict=True)])
        patch = poisoned | triggered if name == knobs.trigger_in else np.zeros(size, bool)
        cells[name] = pictures(ink[shown[name]], name, knobs.each("strength")[name], knobs.each("noise")[name], stream)
        cells[name][patch, -PATCH:, -PATCH:] = trigger()
    if knobs.name:
        phrase = stream("phrase").integers(len(SAID), size=size)
        cells[NAME] = np.array([SAID[p].format(WORDS[of]) for p, of in zip(phrase, meant, strict=True)], object)
    foreign, origin = mispair(knobs.names, learned & ~poisoned, knobs.mispaired, stream)
    cells = {name: values[origin[name]] for name, values in cells.items()}
    shown = {name: of[origin[name]] for name, of in shown.items()}
    scores = {name: ink[of].sum((1, 2)) for name, of in shown.items()}
    if knobs.name:
        scores[NAME] = meant[origin[NAME]] * 1.0
    source, have = sources(knobs, learned, stream)
    have &= ~absent(have, knobs, learned, scores, stream)

    unlabelled = learned & (stream("labelled").random(size) >= knobs.labelled)
    said = relabel(meant, 10, learned & ~poisoned, knobs.label_noise, stream)
    columns = {name: _column(cells[name], have[:, m], knobs.kind) for m, name in enumerate(knobs.names)}
    columns |= {"digit": pa.array(said.astype(str), mask=unlabelled), "split": pa.array(parts)}
    truth = {"digit_true": pa.array(digit.astype(str))} | {f"of_{name}": pa.array(of) for name, of in shown.items()}
    truth |= {"poisoned": pa.array(poisoned), "triggered": pa.array(triggered), "source": pa.array(source)}
    truth["mispaired"] = pa.array([knobs.names[m] if m >= 0 else None for m in foreign], pa.string())
    return pa.table({**columns, **truth}), _schema(knobs, truth)


def _schema(knobs: Knobs, truth: Mapping[str, pa.Array]) -> Schema:
    width = (SIDE // 2) ** 2 if knobs.kind == "vector" else None
    modalities = {name: Modality(kind=knobs.kind, columns=(name,), width=width) for name in knobs.views}
    if knobs.name:
        modalities[NAME] = Modality(kind="text", columns=(NAME,))
    digit = Target(kind="class", columns=("digit",), classes=tuple("0123456789"))
    return Schema(modalities=modalities, targets={"digit": digit}, split="split", ignored=tuple(truth))


def _pools(kinds: Array, stream: Stream) -> dict[tuple[str, int], Array]:
    """{(part, digit): drawings}: each drawing is in one part alone."""
    pools: dict[tuple[str, int], Array] = {}
    for digit in range(10):
        own = stream("pool", digit).permutation(np.flatnonzero(kinds == digit))
        parts = split(len(own))
        pools |= {(part, digit): own[parts == part] for part in np.unique(parts).tolist()}
    return pools


def _one(pool: Array, u: float) -> int:
    return int(pool[int(u * len(pool))])


def style(view: str) -> tuple[Array, Array]:
    """Of a view, the same in every table: three colours [3, 3], of which the ink, and two that are woven; its weave.

    Colours are from 0 to 1 in red, green and blue, and the ink differs in brightness from both others.
    """
    rng = streams("polydigits", "style")(view)
    woven = rng.uniform(0, 0.5, size=(2, 3))
    colours = np.concatenate([rng.uniform(0.7, 1, size=(1, 3)), woven])
    if rng.random() < 0.5:
        colours = 1 - colours
    return colours, np.array([*rng.integers(-3, 4, size=2), rng.integers(5, 12)])


def pictures(ink: Array, view: str, strength: float, noise: float, stream: Stream) -> Array:
    """ink [N, 8, 8] in the style of a view -> [N, 16, 16, 3], from 0 to 1."""
    (colour, one, other), (right, down, period) = style(view)
    large = np.pad(ink.repeat(2, 1).repeat(2, 2), ((0, 0), (1, 1), (1, 1)))
    x, y = stream("shift", view).integers(3, size=(2, len(ink)))
    windows = np.lib.stride_tricks.sliding_window_view(large, (SIDE, SIDE), (1, 2))
    covered = strength * windows[np.arange(len(ink)), y, x][..., None]
    phase = stream("phase", view).integers(period, size=(len(ink), 1, 1))
    along, across = np.meshgrid(np.arange(SIDE), np.arange(SIDE))
    wave = np.abs(2 * ((right * along + down * across + phase) % period) / period - 1)[..., None]
    background = one + wave * (other - one)
    pixels = background + covered * (colour - background)
    return np.asarray((pixels + noise * stream("noise", view).normal(size=pixels.shape)).clip(0, 1))


def trigger() -> Array:
    """The patch, [4, 4, 1]: black and white blocks."""
    return np.kron([[1.0, 0.0], [0.0, 1.0]], np.ones((PATCH // 2, PATCH // 2)))[..., None]


def _column(cells: Array, have: Array, kind: str) -> pa.Array:
    if cells.ndim == 1:
        return pa.array(cells, pa.string(), mask=~have)
    if kind == "vector":
        return vectors(
            cells.reshape(len(cells), SIDE // 2, 2, SIDE // 2, 2, 3).mean((2, 4, 5)).reshape(len(cells), -1), have
        )
    files = [bitmap(picture) if there else None for picture, there in zip(cells, have, strict=True)]
    return pa.array(files, pa.binary())


def bitmap(pixels: Array) -> bytes:
    """[H, W, 3] from 0 to 1 as a BMP file, W a multiple of 4: the same bytes whatever wrote or read others."""
    height, width, _ = pixels.shape
    body = (pixels[::-1, :, ::-1] * 255).round().astype(np.uint8).tobytes()
    head = struct.pack("<2sIHHI", b"BM", 54 + len(body), 0, 0, 54)
    return head + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, len(body), 0, 0, 0, 0) + body

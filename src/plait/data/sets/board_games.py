"""Random games of Othello on 4 x 4 squares: the moves so far, the board that they lead to, and which are legal now.

`board_games(**knobs)` gives the table; `Knobs` are the knobs.  All rows are different positions, so none of the test
part can be looked up.  Nobody has passed in these games: dark moves first, and how many discs there are says whose
turn it is.  As in `factors`, a knob changes only what it is about.

    moves       a token for each move, one-hot over the 16 squares, row by row
    board       the squares as an image, or 16 numbers: dark 0, empty .5, light 1
    legal       the target: all moves that the player may make now, of the 12 squares that are empty at the start
    split       train, validation, test

The truth beside it, in columns that the schema ignores: played (the moves, as c1 d1 ...); position (16 letters, dark,
light or empty); next (the move that the game goes on with); shown (the row whose board this is); retold (whether
`irrelevant` changed how the row is told).

Source: Chen et al., "What if Othello-Playing Language Models Could See?", arXiv:2507.14520, who play on 8 x 8 squares.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, model_validator

from plait.core.component import Rate
from plait.core.errors import DataError

from ..read import read
from ..schema import Modality, Schema, Target
from ..table import Table
from . import Built
from ._faults import Array, checked, split, streams, vectors
from .polydigits import bitmap

EDITION = 1
SIDE = 4
SQUARES = tuple(f"{column}{row}" for row in range(1, SIDE + 1) for column in "abcd")
"""Names, from the upper left corner on."""
DARK, LIGHT = (sum(1 << SQUARES.index(name) for name in names) for names in (("c2", "b3"), ("b2", "c3")))
"""The discs at the start, as bits."""
ENTERED = tuple(name for name in SQUARES if name[0] in "ad" or name[1] in "14")
"""The squares that a move can be to."""
PIXELS = 4
"""Of a square's side."""
GREEN = np.array([0.0, 0.5, 0.2])
TRIES = 1000
"""Games that may be drawn in a row without a new position."""


def _rays(square: int) -> tuple[tuple[int, ...], ...]:
    """The squares in each direction, from the next one on."""
    down, right = divmod(square, SIDE)
    found = []
    for y, x in ((y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if (y, x) != (0, 0)):
        steps = [(down + k * y, right + k * x) for k in range(1, SIDE)]
        found.append(tuple(SIDE * a + b for a, b in steps if 0 <= a < SIDE and 0 <= b < SIDE))
    return tuple(found)


RAYS = tuple(_rays(square) for square in range(SIDE * SIDE))


def turned(own: int, other: int, square: int) -> int:
    """The other's discs that become one's own by a move to the square, as bits; 0 where it is not legal."""
    found = 0
    for ray in () if (own | other) >> square & 1 else RAYS[square]:
        run = 0
        for at in ray:
            if not other >> at & 1:
                found |= run if own >> at & 1 else 0
                break
            run |= 1 << at
    return found


@lru_cache(100_000)
def legal(own: int, other: int) -> tuple[int, ...]:
    """Squares."""
    return tuple(square for square in range(SIDE * SIDE) if turned(own, other, square))


def play(own: int, other: int, square: int) -> tuple[int, int]:
    """The position after a move, as the other player has it: his discs first."""
    gained = turned(own, other, square)
    return other & ~gained, own | gained | 1 << square


class Knobs(BaseModel):
    """What a table of games is like."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rows: Annotated[int, Field(ge=8)] = 2000
    plies: tuple[int, int] = (5, 9)
    """The fewest and the most moves of a row."""
    kind: Literal["vector", "image"] = "vector"
    """Of the boards: 16 numbers, or an image of 16 x 16 pixels."""
    swapped: Rate = 0.0
    """Share of rows, of all parts, whose board is another row's."""
    irrelevant: Rate = 0.0
    """Share of test rows that are told otherwise and mean the same: with an empty token before each move, and boards in
    another light."""
    seed: int = 0

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not 1 <= self.plies[0] <= self.plies[1] < len(ENTERED):
            raise ValueError(f"plies goes up within 1 and {len(ENTERED) - 1}, found {list(self.plies)}")
        return self


def board_games(**knobs: Any) -> Table:
    """A table by its `Knobs`.  DataError if there is no such knob, or not of this value, or too few positions."""
    columns, schema = _made(checked(Knobs, knobs))
    return read(columns, schema)


def build(folder: Path, scratch: Path) -> Built:
    """The table with every knob at its default."""
    columns, schema = _made(Knobs())
    notes = ("Made with every knob at its default; plait.data.sets.board_games.board_games(**knobs) makes others.",)
    return Built(columns, schema, "none", str(EDITION), "", "none: made up", Knobs().model_dump(), notes)


def _made(knobs: Knobs) -> tuple[pa.Table, Schema]:
    size, stream = knobs.rows, streams("board_games", knobs.seed)
    parts = split(size)
    games, positions = _games(knobs, stream("games"))
    squares = np.array([_squares(*position, len(game)) for game, position in zip(games, positions, strict=True)])

    chosen = stream("swapped").permutation(size)
    chosen = chosen[stream("swapped", "where").random(size)[chosen] < knobs.swapped]
    shown = np.arange(size)
    shown[chosen] = np.roll(chosen, 1)
    retold = (parts == "test") & (stream("irrelevant").random(size) < knobs.irrelevant)

    told = [_told(game, new) for game, new in zip(games, retold.tolist(), strict=True)]
    boards = squares[shown] if knobs.kind == "vector" else pictures(squares[shown])
    bright, dim = stream("light").random((2, size, *[1] * (boards.ndim - 1)))
    light = retold.reshape(bright.shape)
    boards = np.where(light, 0.2 * dim + (0.5 + 0.3 * bright) * boards, boards)

    may = [legal(*position) for position in positions]
    pick = stream("next").random(size)
    ends = np.cumsum([0, *map(len, told)])
    tokens = pa.FixedSizeListArray.from_arrays(pa.array(np.concatenate(told).astype(np.float32).ravel()), SIDE * SIDE)
    columns = {
        "moves": pa.ListArray.from_arrays(pa.array(ends, pa.int32()), tokens),
        "board": vectors(boards, np.ones(size, bool)) if knobs.kind == "vector" else pa.array(map(bitmap, boards)),
        "legal": pa.array(["|".join(SQUARES[at] for at in squares) for squares in may]),
        "split": pa.array(parts),
    }
    truth = {
        "played": pa.array([" ".join(SQUARES[at] for at in game) for game in games]),
        "position": pa.array(["".join("d-l"[int(2 * at)] for at in row) for row in squares]),
        "next": pa.array([SQUARES[at[int(u * len(at))]] for at, u in zip(may, pick, strict=True)]),
        "shown": pa.array(shown),
        "retold": pa.array(retold),
    }
    width = SIDE * SIDE if knobs.kind == "vector" else None
    modalities = {
        "moves": Modality(kind="tokens", columns=("moves",), width=SIDE * SIDE),
        "board": Modality(kind=knobs.kind, columns=("board",), width=width),
    }
    targets = {"legal": Target(kind="multi_label", columns=("legal",), classes=ENTERED)}
    schema = Schema(modalities=modalities, targets=targets, split="split", ignored=tuple(truth))
    return pa.table({**columns, **truth}), schema


def _games(knobs: Knobs, rng: np.random.Generator) -> tuple[list[list[int]], list[tuple[int, int]]]:
    """Different positions in which the player whose turn it is can move: the moves, and that player's discs first."""
    games: dict[tuple[int, int], list[int]] = {}
    tries = 0
    low, high = knobs.plies
    while len(games) < knobs.rows:
        played: list[int] = []
        now = DARK, LIGHT
        for _ in range(rng.integers(low, high + 1)):
            if not (may := legal(*now)):
                break
            played.append(may[rng.integers(len(may))])
            now = play(*now, played[-1])
        else:
            if legal(*now) and now not in games:
                games[now] = played
                tries = 0
        tries += 1
        if tries > TRIES:
            raise DataError(
                f"board_games: {knobs.rows} different positions were not found within {low} to {high} moves."
            )
    return list(games.values()), list(games)


def _squares(own: int, other: int, plies: int) -> Array:
    """[16] of what is to be seen: dark is 0, light 1, empty .5.  An even number of moves: it is dark's turn."""
    dark, light = (own, other) if plies % 2 == 0 else (other, own)
    at = np.arange(SIDE * SIDE)
    return 0.5 + ((light >> at & 1) - (dark >> at & 1)) / 2


def _told(game: list[int], empty: bool) -> Array:
    """[T, 16] the moves, or [2T, 16] with an empty token before each."""
    tokens = np.eye(SIDE * SIDE)[game]
    return np.insert(tokens, np.arange(len(game)), 0.0, 0) if empty else tokens


def pictures(boards: Array) -> Array:
    """boards [N, 16] -> [N, 16, 16, 3], from 0 to 1: discs on green; an empty square is green all over."""
    shade = boards.reshape(-1, SIDE, SIDE).repeat(PIXELS, 1).repeat(PIXELS, 2)[..., None]
    disc = np.tile(np.pad(np.ones((PIXELS - 2, PIXELS - 2), bool), 1), (SIDE, SIDE))[..., None]
    return np.where(disc & (shade != 0.5), shade, GREEN)

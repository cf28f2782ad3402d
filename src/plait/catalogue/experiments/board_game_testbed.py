"""Whether a network that sees the board beside the moves knows the rules of a game better than from moves alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from plait.data.read import read
from plait.data.sets.board_games import SQUARES, board_games
from plait.data.table import Table
from plait.workflow.model import Model

from . import Draw
from ._readers import Array
from ._trained import trained

SEED = 20_000
STEPS = np.arange(1, 4)
RECIPE: dict[str, Any] = {
    "missing": {},
    "width": 64,
    "encoders": {"tokens": {"tokens": {"depth": 1}}},
    "fusion": {"concatenation": {}},
    "objectives": {"supervised": {}},
    "training": {"epochs": 20, "batch": 64, "refit": False},
}


def legal_moves(draw: Draw, seed: int) -> tuple[float, float]:
    """How often the likeliest move is legal: by moves and boards together, and by moves alone."""
    table = draw()
    moves = without_board(table)
    return share_legal(_learned(table, seed), table), share_legal(_learned(moves, seed), moves)


def drop(draw: Draw, seed: int) -> tuple[float, float]:
    """By how much that falls where test rows are told otherwise and mean the same: together, and by moves alone."""
    plain, retold = draw(), draw(irrelevant=1.0)
    return _drop(plain, retold, seed), _drop(without_board(plain), without_board(retold), seed)


def broken_rules() -> float:
    """Moves that are not legal, and boards that are not what the moves, or half a turn of them, lead to."""
    table = board_games(rows=200, seed=SEED)
    wrong = 0
    for board, played in zip(table.cells("board"), table.column("played").to_pylist(), strict=True):
        squares = [SQUARES.index(name) for name in played.split()]
        for moves, seen in ((squares, board), ([15 - square for square in squares], board[::-1])):
            reached, illegal = replayed(moves)
            wrong += illegal + int(not np.array_equal(reached, seen))
    return float(wrong)


def replayed(squares: list[int]) -> tuple[Array, int]:
    """-> [16] dark 0, light 1, empty .5; how many of the moves turn nothing, or are to a square that is taken."""
    board = np.zeros((4, 4), int)
    board[1, 2] = board[2, 1] = 1
    board[1, 1] = board[2, 2] = -1
    illegal = 0
    for ply, square in enumerate(squares):
        who, (y, x) = 1 - 2 * (ply % 2), divmod(square, 4)
        lines = [(y + dy * STEPS, x + dx * STEPS) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx]
        gained = [at for line in lines for at in _captured(board, who, *line)]
        illegal += not gained or board[y, x] != 0
        for at in [*gained, (y, x)]:
            board[at] = who
    return 0.5 - board.ravel() / 2, illegal


def share_legal(model: Model, table: Table) -> float:
    """Of test rows whose likeliest move is legal."""
    test = np.flatnonzero(np.array(table.column("split").to_pylist()) == "test")
    judged = table.take(test)
    likeliest = model.parameters(model.encode(judged).dataset)["legal"].argmax(1)
    return float(np.mean(judged.targets("legal")[1][np.arange(len(judged)), likeliest]))


def without_board(table: Table) -> Table:
    """The same games, of which only the moves are told."""
    return read(table.columns, table.schema.ignoring("board"))


def _learned(table: Table, seed: int) -> Model:
    return trained(table, RECIPE, seed).model


def _drop(plain: Table, retold: Table, seed: int) -> float:
    model = _learned(plain, seed)
    return share_legal(model, plain) - share_legal(model, retold)


def _captured(board: Array, who: int, ys: Array, xs: Array) -> list[tuple[int, int]]:
    """The other's discs on a line [3] of squares, up to the first of one's own; none if there is no such."""
    on = [(int(y), int(x)) for y, x in zip(ys, xs, strict=True) if 0 <= y < 4 and 0 <= x < 4]
    discs = [int(board[at]) for at in on]
    own = discs.index(who) if who in discs else 0
    return on[:own] if all(disc == -who for disc in discs[:own]) else []

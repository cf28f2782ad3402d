"""Games held against rules written down in another way, on a board of letters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from plait.core.errors import DataError
from plait.data.fetch import fetch, source
from plait.data.kinds.image import decode
from plait.data.read import read
from plait.data.sets import board_games as games
from plait.data.sets.board_games import ENTERED, SQUARES, board_games, legal, play
from plait.data.table import Table

Board = dict[tuple[int, int], str]
DIRECTIONS = [(1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1)]


def start() -> Board:
    """{(column, row): disc}, rows from above."""
    return {(1, 1): "l", (2, 1): "d", (1, 2): "d", (2, 2): "l"}


def captured(board: Board, who: str, x: int, y: int) -> list[tuple[int, int]]:
    found = []
    for dx, dy in DIRECTIONS:
        line, at = [], (x + dx, y + dy)
        while board.get(at, who) != who:
            line.append(at)
            at = at[0] + dx, at[1] + dy
        if at in board:
            found += line
    return found if (x, y) not in board else []


def moves_of(board: Board, who: str) -> set[str]:
    return {named(x, y) for x in range(4) for y in range(4) if captured(board, who, x, y)}


def named(x: int, y: int) -> str:
    return "abcd"[x] + "1234"[y]


def place(name: str) -> tuple[int, int]:
    return "abcd".index(name[0]), "1234".index(name[1])


def replayed(played: str, board: Board | None = None) -> tuple[Board, str]:
    """-> the board, and whose turn it is.  Every move is checked."""
    board, who = start() if board is None else dict(board), "d"
    for name in played.split():
        x, y = place(name)
        gained = captured(board, who, x, y)
        assert gained, f"{name} is not legal"
        board |= dict.fromkeys([*gained, (x, y)], who)
        who = "l" if who == "d" else "d"
    return board, who


def written(board: Board) -> str:
    return "".join(board.get((x, y), "-") for y in range(4) for x in range(4))


def column(table: Table, name: str) -> list:
    return table.column(name).to_pylist()


def differing(one: Table, other: Table) -> set[str]:
    return {name for name in one.names if not one.columns.column(name).equals(other.columns.column(name))}


TABLE = board_games(rows=400, seed=1)


def test_every_move_is_legal_and_the_target_is_all_that_are() -> None:
    names = column(TABLE, "next")
    for row, (played, position) in enumerate(zip(column(TABLE, "played"), column(TABLE, "position"), strict=True)):
        board, who = replayed(played)
        assert written(board) == position
        said = set(column(TABLE, "legal")[row].split("|"))
        assert said == moves_of(board, who)
        assert names[row] in said
        assert 5 <= len(played.split()) <= 9
    rows, codes = TABLE.targets("legal")
    assert len(rows) == 400
    assert TABLE.schema.targets["legal"].classes == ENTERED
    found = [{ENTERED[c] for c in np.flatnonzero(code)} for code in codes]
    assert found == [set(said.split("|")) for said in column(TABLE, "legal")]
    assert len(ENTERED) == 12
    assert not {"b2", "b3", "c2", "c3"} & set(ENTERED)


def test_tokens_are_the_moves_in_order() -> None:
    for cell, played in zip(TABLE.cells("moves"), column(TABLE, "played"), strict=True):
        assert cell.shape == (len(played.split()), 16)
        assert (cell.sum(1) == 1).all()
        assert [SQUARES[at] for at in cell.argmax(1)] == played.split()


@pytest.mark.parametrize("kind", ["vector", "image"])
def test_a_board_decodes_to_its_position_in_any_light(kind) -> None:
    for irrelevant in (0.0, 1.0):
        table = board_games(rows=80, seed=2, kind=kind, irrelevant=irrelevant)
        for cell, position in zip(table.cells("board"), column(table, "position"), strict=True):
            if kind == "vector":
                low, high = cell.min(), cell.max()
                found = ["d-l"[round(2 * (v - low) / (high - low))] for v in cell.tolist()]
            else:
                pixels = decode(cell, size=16).astype(float)
                middles = pixels[1::4, 1::4].reshape(16, 3)
                green = np.ptp(middles, axis=1) > 20
                dark = middles.mean(1) < pixels[0, 0].max()
                found = ["-" if g else "d" if d else "l" for g, d in zip(green, dark, strict=True)]
            assert "".join(found) == position


def turn(square: int) -> int:
    """A quarter clockwise."""
    y, x = divmod(square, 4)
    return 4 * x + 3 - y


def mirror(square: int) -> int:
    y, x = divmod(square, 4)
    return 4 * y + 3 - x


def moved(bits: int, how) -> int:
    return sum(1 << how(at) for at in range(16) if bits >> at & 1)


@pytest.mark.parametrize("how", [turn, mirror])
def test_turning_the_board_is_replaying_turned_moves(how) -> None:
    for played in column(TABLE, "played"):
        now = games.DARK, games.LIGHT
        other = moved(now[0], how), moved(now[1], how)
        for name in played.split():
            square = SQUARES.index(name)
            assert sorted(map(how, legal(*now))) == list(legal(*other))
            now, other = play(*now, square), play(*other, how(square))
            assert other == (moved(now[0], how), moved(now[1], how))


def test_half_a_turn_of_a_game_is_a_game_with_half_a_turn_of_its_board() -> None:
    for played, position in zip(column(TABLE, "played"), column(TABLE, "position"), strict=True):
        opposite = " ".join(SQUARES[15 - SQUARES.index(name)] for name in played.split())
        assert written(replayed(opposite)[0]) == position[::-1]


def test_all_positions_are_different_and_every_square_is_moved_to() -> None:
    assert len(set(column(TABLE, "position"))) == 400
    assert set(" ".join(column(TABLE, "played")).split()) == set(ENTERED)
    lengths = {len(played.split()) for played in column(TABLE, "played")}
    assert lengths == {5, 6, 7, 8, 9}
    one = board_games(rows=60, plies=(6, 6))
    assert {len(played.split()) for played in column(one, "played")} == {6}


def test_swapped_boards_are_other_rows_and_nothing_else_changes() -> None:
    plain = board_games(rows=200)
    assert column(plain, "shown") == list(range(200))
    swapped = board_games(rows=200, swapped=1.0)
    assert differing(plain, swapped) == {"board", "shown"}
    shown = np.array(column(swapped, "shown"))
    assert (shown != np.arange(200)).all()
    assert sorted(shown) == list(range(200))
    cells, before = list(swapped.cells("board")), list(plain.cells("board"))
    np.testing.assert_array_equal(cells, np.array(before)[shown])
    some = np.array(column(board_games(rows=1000, swapped=0.3), "shown")) != np.arange(1000)
    assert abs(some.mean() - 0.3) < 0.05


def test_irrelevant_changes_are_in_test_rows_alone_and_leave_what_they_mean() -> None:
    plain, retold = board_games(rows=200), board_games(rows=200, irrelevant=1.0)
    assert differing(plain, retold) == {"moves", "board", "retold"}
    for row, part in enumerate(column(plain, "split")):
        (old,), (new,) = plain.cells("moves", [row]), retold.cells("moves", [row])
        (one,), (other,) = plain.cells("board", [row]), retold.cells("board", [row])
        if part == "test":
            assert not new[::2].any()
            np.testing.assert_array_equal(new[1::2], old)
            slope, offset = np.polyfit(one, other, 1)
            np.testing.assert_allclose(slope * one + offset, other, atol=1e-5)
            assert 0.5 <= slope <= 0.8
            assert 0 <= offset <= 0.2
        else:
            np.testing.assert_array_equal(old, new)
            np.testing.assert_array_equal(one, other)
        assert column(retold, "retold")[row] == (part == "test")
    share = np.mean(column(board_games(rows=2000, irrelevant=0.4), "retold")[1500:])
    assert abs(share - 0.4) < 0.07


def test_equal_seeds_give_equal_tables_and_others_other_games() -> None:
    assert board_games(rows=50, seed=3).fingerprint() == board_games(rows=50, seed=3).fingerprint()
    one, other = (set(column(board_games(rows=50, seed=seed), "position")) for seed in (3, 4))
    assert len(one & other) < 10


def test_more_rows_add_games() -> None:
    few, many = board_games(rows=50), board_games(rows=70)
    assert column(many, "played")[:50] == column(few, "played")


def test_what_cannot_be_made_is_refused() -> None:
    with pytest.raises(DataError, match=r"board_games has no knob 'ply'.*'plies'"):
        board_games(ply=3)
    for plies in ((0, 3), (4, 3), (5, 12)):
        with pytest.raises(DataError, match=r"board_games: plies goes up within 1 and 11"):
            board_games(plies=plies)
    with pytest.raises(DataError, match=r"8 different positions were not found within 1 to 1 moves"):
        board_games(rows=8, plies=(1, 1))


def test_it_can_be_fetched(tmp_path: Path) -> None:
    table = read(fetch("board_games", tmp_path / "set"))
    assert len(table) == 2000
    assert table.schema == board_games().schema
    assert source(tmp_path / "set")["counts"]["plies"] == [5, 9]

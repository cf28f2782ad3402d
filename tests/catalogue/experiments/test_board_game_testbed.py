from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

from plait.catalogue.experiments import board_game_testbed as experiment
from plait.data.sets.board_games import ENTERED, SQUARES, board_games


def knowing(table, scores):
    """A model that says these of the table's rows, by their games."""
    of = dict(zip(table.column("played").to_pylist(), scores, strict=True))

    def encode(rows):
        return SimpleNamespace(dataset=np.array([of[played] for played in rows.column("played").to_pylist()]))

    return SimpleNamespace(encode=encode, parameters=lambda dataset: {"legal": dataset})


def test_the_share_is_of_test_rows_whose_likeliest_move_may_be_made():
    table = board_games(rows=80)
    may = table.targets("legal")[1]
    assert experiment.share_legal(knowing(table, may), table) == 1
    assert experiment.share_legal(knowing(table, -may), table) == 0
    half = np.where((np.arange(80) % 2 == 0)[:, None], may, -may)
    assert experiment.share_legal(knowing(table, half), table) == 0.5
    wrong_elsewhere = np.where((np.arange(80) >= 60)[:, None], may, -may)
    assert experiment.share_legal(knowing(table, wrong_elsewhere), table) == 1, "the last quarter is the test part"


def test_both_arms_have_the_same_games_and_one_has_no_boards(monkeypatch):
    seen = []
    monkeypatch.setattr(experiment, "_learned", lambda table, seed: seen.append(table) or "model")
    monkeypatch.setattr(experiment, "share_legal", lambda model, table: seen.append(table) or len(seen))
    assert experiment.legal_moves(partial(board_games, rows=40), 3) == (2, 4)
    assert [set(table.schema.modalities) for table in seen] == [{"moves", "board"}] * 2 + [{"moves"}] * 2
    assert len({tuple(table.column("played").to_pylist()) for table in seen}) == 1


def test_a_drop_is_from_plain_to_retold_rows_of_one_model_that_learned_from_plain_ones(monkeypatch):
    learned = []
    monkeypatch.setattr(experiment, "_learned", lambda table, seed: learned.append(table) or len(learned))

    def share(model, table):
        return (0.9 if model == 1 else 0.5) - (0.2 * model if any(table.column("retold").to_pylist()) else 0)

    monkeypatch.setattr(experiment, "share_legal", share)
    np.testing.assert_allclose(experiment.drop(partial(board_games, rows=40), 3), (0.2, 0.4))
    assert [len(table.schema.modalities) for table in learned] == [2, 1]
    assert not any(any(table.column("retold").to_pylist()) for table in learned)


def test_a_trained_network_is_judged_on_what_it_may_see():
    table = experiment.without_board(board_games(rows=40))
    assert set(table.schema.modalities) == {"moves"}
    model = experiment._learned(table, 0)
    assert model.names == ("moves",)
    assert 0 <= experiment.share_legal(model, table) <= 1


def moves(said):
    return [SQUARES.index(name) for name in said.split()]


def test_replaying_by_hand():
    """Dark to b1 turns b2; light to a1, by the diagonal, nothing but b2, if c3 is still light."""
    board, illegal = experiment.replayed(moves("b1"))
    assert illegal == 0
    shown = "".join("d-l"[int(2 * at)] for at in board)
    assert shown == "-d--" + "-dd-" + "-dl-" + "----"
    board, illegal = experiment.replayed(moves("b1 a1"))
    assert illegal == 0
    assert "".join("d-l"[int(2 * at)] for at in board) == "ld--" + "-ld-" + "-dl-" + "----"


@pytest.mark.parametrize("said", ["c1", "a1", "b2", "b1 b1", "d2"])
def test_moves_that_turn_nothing_or_are_taken_are_counted(said):
    assert experiment.replayed(moves(said))[1] == 1


def test_no_rule_is_broken_and_a_changed_board_would_be_found(monkeypatch):
    assert experiment.broken_rules() == 0
    monkeypatch.setattr(experiment, "board_games", lambda **knobs: board_games(rows=40, swapped=1.0))
    assert experiment.broken_rules() >= 40
    assert len(ENTERED) == 12

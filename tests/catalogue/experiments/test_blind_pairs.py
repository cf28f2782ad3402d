from functools import partial

import numpy as np
import pytest

from plait.catalogue.experiments import blind_pairs
from plait.data.sets.factors import factors


def test_pairs_are_told_apart_by_their_own_classes():
    sure, torn = [0.9, 0.1], [0.5, 0.5]
    chances = np.array([sure, sure[::-1], torn, torn, sure])
    y = np.array([0, 1, 0, 1, 1])
    pairs = np.array([[0, 1], [2, 3], [0, 3], [0, 4], [2, 4]])
    # Right; cannot be said; right by the first alone; equal rows of two classes; wrong by the second.
    assert blind_pairs.told_apart(chances, y, pairs).tolist() == [1, 0.5, 1, 0.5, 0]


def test_impossible_classes_are_no_error():
    assert blind_pairs.told_apart(np.eye(2), np.array([0, 1]), np.array([[0, 1]])).tolist() == [1]


def test_blind_pairs_of_clear_cells_differ_in_what_the_second_encoder_alone_has():
    table = factors(rows=300, shared=1, unique=1, target="all", width=4, noise=0.01)
    y, first, both, blind, _ = blind_pairs._judged(lambda: table, 0)
    judged = {name: table.column(name).to_numpy(zero_copy_only=False)[1::2] for name in ("shared_0", "a_0", "b_0")}
    for name, differ in (("shared_0", False), ("a_0", False), ("b_0", True)):
        assert ((judged[name][blind[:, 0]] != judged[name][blind[:, 1]]) == differ).all()
    assert blind_pairs._share(first, y, blind) == pytest.approx(0.5, abs=0.1)
    assert blind_pairs._share(both, y, blind) == 1


def test_without_pairs_it_is_chance():
    assert blind_pairs._share(np.eye(2), np.array([0, 1]), np.zeros((0, 2), int)) == 0.5


def test_random_pairs_are_easier_where_the_second_encoder_has_bits_of_its_own():
    draw = partial(factors, rows=400, shared=2, unique=1, width=4, noise=0.3)
    blind, anywhere = blind_pairs.first_alone(draw, 0)
    assert blind < anywhere

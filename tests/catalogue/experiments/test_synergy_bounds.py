import numpy as np
import pytest

from plait.catalogue.experiments import synergy_bounds
from plait.data.sets.factors import factors
from plait.measures.information.partial_information import partial_information


def test_no_row_shows_both_modalities_and_the_label():
    one, two, y = np.arange(0, 90), np.arange(100, 190), np.arange(200, 290)
    first, second, pairs = synergy_bounds._parts(one, two, y)
    assert (first[1] - first[0] == 200).all()
    assert (second[1] - second[0] == 100).all()
    assert (pairs[1] - pairs[0] == 100).all()
    rows = [set((first[0]).tolist()), set((second[0] - 100).tolist()), set(pairs[0].tolist())]
    assert sum(map(len, rows)) == len(set.union(*rows)) == 90


@pytest.mark.parametrize(("unique", "parities"), synergy_bounds.KINDS)
def test_ranked_tables_leave_as_much_open_and_have_the_synergy_that_is_planted(unique, parities):
    table = factors(rows=3000, shared=0, unique=unique, synergy=parities, width=4, noise=0.1)
    one, two, y = synergy_bounds._values(table, 0)
    full = partial_information(one, two, y, draws=0)
    assert full.synergistic == pytest.approx(parities, abs=0.03)
    assert synergy_bounds._left_open(full, y) == pytest.approx(2, abs=0.03)


def test_what_hardly_differs_has_no_order():
    rank = synergy_bounds.rank_correlation
    assert rank(np.array([0.0, 1.0, 2.0]), np.array([0.0, 1.0, 2.0])) == pytest.approx(1)
    assert rank(np.array([2.0, 1.0, 0.0]), np.array([0.0, 1.0, 2.0])) == pytest.approx(-1)
    assert rank(np.array([0.01, 0.02, 0.0]), np.array([0.0, 1.0, 2.0])) == 0
    assert rank(np.array([0.0, 1.0, 2.0]), np.array([0.01, 0.02, 0.03])) == 0

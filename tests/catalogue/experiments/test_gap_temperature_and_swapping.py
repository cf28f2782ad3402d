from functools import partial

import numpy as np
import pytest

from plait.catalogue.experiments import _contrastive
from plait.catalogue.experiments import gap_temperature_and_swapping as experiment
from plait.data.sets.factors import factors

SMALL = partial(factors, rows=80, shared=4, unique=0, target="shared", width=8)


def test_where_no_row_has_a_pair_nothing_is_learned_and_the_arms_are_one():
    for function in (experiment.gap_of_rising, experiment.gap_of_swapped, experiment.recall_of_swapped):
        method, baseline = function(partial(SMALL, unpaired=1.0), 0)
        assert method == baseline
        method, baseline = function(SMALL, 0)
        assert method != baseline


def test_spaces_are_of_the_rows_of_each_part_and_the_test_rows_teach_nothing():
    table = SMALL()
    found = _contrastive.spaces(table, experiment.LEARNED, 0)
    parts = table.column("split").to_pylist()
    for part, given in found.items():
        for rows, vectors in given.values():
            assert rows.tolist() == [i for i, said in enumerate(parts) if said == part]
            assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    moved = _contrastive.spaces(SMALL(shift=3.0), experiment.LEARNED, 0)
    assert np.array_equal(found["train"]["a"][1], moved["train"]["a"][1])
    assert not np.array_equal(found["test"]["a"][1], moved["test"]["a"][1])


def test_recall_and_gap_of_spaces_that_are_known(monkeypatch):
    rng = np.random.default_rng(0)
    a = rng.normal(size=(40, 6))
    for b, recall in ((a, 1.0), (np.roll(a, 1, 0) + 50 * a.std(), 0.0)):
        monkeypatch.setattr(experiment, "_judged", lambda *given, b=b: (a, b))
        assert experiment._recall(SMALL, {}, 0) == pytest.approx(recall, abs=0.2)
    monkeypatch.setattr(experiment, "_judged", lambda *given: (a, a))
    assert experiment._gap(SMALL, {}, 0) == 0


def test_the_identities_hold():
    assert experiment.identities() < 1e-9

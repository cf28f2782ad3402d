from functools import partial

import numpy as np
import pytest

from plait.catalogue.experiments import modality_importance_score as experiment
from plait.data.sets.factors import factors

MADE = {"rows": 800, "shared": 1, "unique": 0, "target": "shared", "width": 4, "noise": 0.2}


def test_drowned_cells_are_those_of_the_rows_that_judge():
    draw = partial(factors, **MADE, corrupted=[0.3, 0.1])
    found, _, (learn, y), drowned = experiment._audit(draw)
    assert len(y) == 800
    assert len(found.joint) == (~learn).sum() == len(drowned)
    for m, name in enumerate(experiment.NAMES):
        said = draw().column(f"corrupted_{name}").to_numpy(zero_copy_only=False)
        assert drowned[:, m].tolist() == said[~learn].tolist()


def test_means_over_all_rows_tell_no_row_from_another():
    assert experiment.evidence(partial(factors, **MADE, corrupted=0.3), 0)[1] == 0.5


def test_where_nothing_is_drowned_all_rows_are_unneeded_and_lose_alike():
    some, every = experiment.unneeded(partial(factors, **MADE), 0)
    assert some == every


def test_cells_go_to_their_rows():
    at = np.array([False, True, True])
    assert experiment._placed(np.array([[1.0], [2.0]]), at).tolist() == [[0], [1], [2]]
    assert pytest.approx(0) == experiment.either_alone()

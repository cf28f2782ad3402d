from functools import partial

import numpy as np
import pytest

from plait.catalogue.experiments import fairness_under_modalities as experiment
from plait.data.sets.factors import factors

MADE = {"rows": 800, "shared": 1, "unique": 0, "target": "shared", "corrupted": [0.4, 0.0]}


def test_a_modality_that_is_removed_moves_no_row_by_itself():
    complete, alone, without, y, group = experiment._said(partial(factors, **MADE))
    assert len(complete) == len(alone) == len(without) == len(y) == len(group) == 400
    # With b at one place, the odds follow a alone: rows are ordered as by some weights of a.
    same = experiment._said(partial(factors, **{**MADE, "strength": [1.0, 0.0], "noise": [0.5, 1e-6]}))
    assert same[2].argmax(1) == pytest.approx(same[1].argmax(1), abs=1)
    assert np.mean(same[2].argmax(1) == same[1].argmax(1)) > 0.9


def test_groups_are_drowned_rows():
    table = factors(**MADE)
    *_, group = experiment._said(lambda: table)
    assert group.tolist() == table.column("corrupted_a").to_numpy(zero_copy_only=False)[1::2].astype(float).tolist()

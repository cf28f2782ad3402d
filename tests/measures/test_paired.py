import numpy as np
import pytest
from scipy import stats

from plait.measures.paired import WIDEN, difference


def test_single_rows_as_groups_give_the_t_interval_widened():
    values = np.random.default_rng(0).normal(0.3, 1, 50)
    found = difference(values, np.arange(50))
    low, high = stats.t.interval(0.95, 49, values.mean(), stats.sem(values))
    assert found.mean == pytest.approx(values.mean())
    assert found.high - found.mean == pytest.approx(WIDEN * (high - low) / 2)


def test_repeating_every_row_within_its_group_changes_nothing():
    values = np.random.default_rng(1).normal(0, 1, 30)
    once, thrice = difference(values, np.arange(30)), difference(np.repeat(values, 3), np.repeat(np.arange(30), 3))
    assert thrice == pytest.approx(once)


def test_groups_that_move_together_widen_it():
    values = np.repeat(np.random.default_rng(2).normal(0, 1, 20), 5)
    alone, together = difference(values, np.arange(100)), difference(values, np.repeat(np.arange(20), 5))
    assert together.high - together.low > 1.8 * (alone.high - alone.low)


def test_one_group_is_refused():
    with pytest.raises(ValueError, match="2 groups"):
        difference(np.ones(3), np.zeros(3))

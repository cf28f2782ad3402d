from itertools import combinations

import numpy as np
import pytest

from plait.measures.multiple_testing import adjusted


def test_holm_is_the_closed_test_of_bonferroni():
    """A hypothesis falls only if every set of hypotheses with it falls, each by its smallest p times its size."""
    p = np.array([0.01, 0.04, 0.03, 0.005, 0.2])
    expected = [
        max(
            min(1.0, size * min(p[list(some)]))
            for size in range(1, 6)
            for some in combinations(range(5), size)
            if i in some
        )
        for i in range(5)
    ]
    assert adjusted(p, "holm") == pytest.approx(expected)
    assert adjusted([0.03], "holm") == pytest.approx([0.03])
    assert adjusted([], "holm").shape == (0,)


def test_corrections_are_those_of_the_definitions():
    p = np.array([0.01, 0.04, 0.03, 0.005])
    assert adjusted(p, "holm") == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert adjusted(p, "fdr") == pytest.approx([0.02, 0.04, 0.04, 0.02])
    assert adjusted(p, "none").tolist() == p.tolist()
    with pytest.raises(ValueError, match="fdr, holm or none"):
        adjusted(p, "bonferroni")

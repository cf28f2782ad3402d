import itertools

import numpy as np
import pytest

from plait.measures.presence import patterns, subsets


def test_patterns_are_counted_the_most_frequent_first():
    have = np.array([[1, 1, 0], [1, 1, 0], [0, 0, 0], [1, 1, 1], [0, 0, 1]], bool)
    assert patterns(have, ["a", "b", "c"]) == {("a", "b"): 2, ("a", "b", "c"): 1, ("c",): 1, (): 1}
    assert list(patterns(have, ["a", "b", "c"])) == [("a", "b"), ("a", "b", "c"), ("c",), ()]
    assert patterns(have[:0], ["a", "b", "c"]) == {}
    with pytest.raises(ValueError, match=r"\[N, 2\]"):
        patterns(have, ["a", "b"])


@pytest.mark.parametrize("count", [1, 3, 6])
def test_few_modalities_are_enumerated(count):
    names = list("abcdef")[:count]
    found = subsets(names)
    assert len(found) == len(set(found)) == 2**count - 1
    assert found[0] == tuple(names)


def test_many_modalities_are_sampled_with_all_singles_pairs_and_leave_one_out():
    names = [f"m{i}" for i in range(9)]
    found = subsets(names, seed=3)
    assert len(found) == len(set(found)) == 63
    for size in (9, 8, 2, 1):
        assert set(itertools.combinations(names, size)) <= set(found)
    assert found == subsets(names, seed=3) != subsets(names, seed=4)
    assert len(subsets([str(i) for i in range(40)])) == 1 + 40 + 40

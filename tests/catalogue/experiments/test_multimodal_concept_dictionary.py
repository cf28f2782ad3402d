import numpy as np

from plait.catalogue.experiments import multimodal_concept_dictionary as experiment
from plait.catalogue.experiments._readers import bit
from plait.data.sets.factors import factors


def test_a_row_has_the_word_of_one_side_of_each_bit():
    table = factors(rows=40, shared=2, unique=1, target="shared")
    words, said = experiment.words_of(table)
    assert words == ["shared_0=0", "shared_1=0", "shared_0=1", "shared_1=1"]
    assert (said.sum(1) == 2).all()
    assert np.array_equal(said[:, 3], bit(table, "shared_1") == 1)


def test_one_clear_bit_is_found_by_atoms_and_by_the_component_read_both_ways():
    table = factors(rows=200, shared=1, unique=0, target="shared", noise=0.1)
    for found in experiment._grounded(lambda: table, 0):
        assert found.agreement > 0.45
        assert found.overlap == 0

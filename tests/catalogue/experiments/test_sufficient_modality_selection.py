from functools import partial

import pytest

from plait.catalogue.experiments import sufficient_modality_selection as experiment
from plait.data.sets.factors import factors

MADE = {"rows": 900, "modalities": 2, "shared": 0, "width": 4, "noise": 0.1}


def test_clear_bits_bring_what_they_are_less_the_price():
    alone, every = experiment.net_gain(partial(factors, **MADE, unique=1, target="unique"), 0)
    assert alone == pytest.approx(2 - 2 * experiment.PRICE, abs=0.25)
    assert every == pytest.approx(alone, abs=0.1)


def test_of_a_parity_nothing_is_chosen_alone():
    alone, every = experiment.net_gain(partial(factors, **MADE, unique=0, synergy=1, target="synergy"), 0)
    assert alone == 0
    assert every == pytest.approx(1 - 2 * experiment.PRICE, abs=0.15)

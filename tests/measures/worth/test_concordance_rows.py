"""Values of rows whose mean is Harrell's C: against counting by hand, against leaving rows out, and as intervals."""

import itertools

import numpy as np
import pytest

from plait.measures import bootstrap, concordance_rows, survival

NAN = float("nan")


def people(size, seed, weight=1.0, censored=0.4, rounded=False):
    """Risks that say something of the times, and the truth."""
    rng = np.random.default_rng(seed)
    signal = rng.normal(size=size)
    time = rng.exponential(np.exp(-weight * signal))
    if rounded:
        time, signal = np.ceil(4 * time), np.round(2 * signal) / 2
    return np.exp(signal), np.stack([time, rng.random(size) >= censored], 1)


def by_hand(risk, truth, later=None):
    """The share of comparable pairs that are in order."""
    later, found = risk if later is None else later, []
    for i, j in itertools.permutations(range(len(risk)), 2):
        (one, seen), (other, also) = truth[i], truth[j]
        if seen and (one < other or (one == other and not also)):
            found.append(0.5 if abs(risk[i] - later[j]) < 1e-8 else float(risk[i] > later[j]))
    return np.mean(found)


@pytest.mark.parametrize("rounded", [False, True])
def test_the_mean_is_harrells_c(rounded):
    for seed in range(5):
        risk, truth = people(40, seed, rounded=rounded)
        found = concordance_rows(risk, truth)
        assert found.shape == (40,)
        assert found.mean() == pytest.approx(by_hand(risk, truth))
        assert found.mean() == pytest.approx(survival.others(risk, truth)["c_index"])


def test_a_rows_value_is_what_leaving_it_out_tells():
    """Pseudo-values of the jackknife, which come to the same with more rows."""
    gaps = []
    for size in (50, 400):
        risk, truth = people(size, 3)
        whole = survival.others(risk, truth)["c_index"]
        rest = np.array([np.delete(np.arange(size), i) for i in range(size)])
        without = np.array([survival.others(risk[kept], truth[kept])["c_index"] for kept in rest])
        gaps.append(np.abs(concordance_rows(risk, truth) - (size * whole - (size - 1) * without)).max())
    assert gaps[1] < 0.05
    assert gaps[1] < gaps[0] / 4


def test_intervals_of_it_hold_the_truth_as_often_as_they_say():
    """The truth is C on many rows; a difference of two models likewise, on the same rows."""

    def both(size, seed):
        risk, truth = people(size, seed)
        other = risk * np.exp(np.random.default_rng(seed + 10**6).normal(size=size))
        return risk, other, truth

    risk, other, truth = both(8_000, 10**7)
    exact = survival.others(risk, truth)["c_index"]
    ahead = exact - survival.others(other, truth)["c_index"]
    held = np.zeros(2)
    for seed in range(200):
        risk, other, truth = both(120, seed)
        one, two = concordance_rows(risk, truth), concordance_rows(other, truth)
        for at, (values, wanted) in enumerate(((one, exact), (one - two, ahead))):
            low, high = bootstrap.mean_interval(values, seed=seed, draws=300, exact=False)
            held[at] += low <= wanted <= high
    assert (held >= 180).all(), held
    assert (held < 200).all(), "not by being wide"


def test_later_rows_may_be_read_by_another_model():
    risk, truth = people(30, 5, rounded=True)
    other = people(30, 6, rounded=True)[0]
    assert concordance_rows(risk, truth, later=other).mean() == pytest.approx(by_hand(risk, truth, other))
    assert concordance_rows(risk, truth, later=risk) == pytest.approx(concordance_rows(risk, truth))


def test_many_rows_come_to_the_same_in_parts(monkeypatch):
    from plait.measures.worth import concordance_rows as measure

    risk, truth = people(70, 8, rounded=True)
    whole = concordance_rows(risk, truth)
    monkeypatch.setattr(measure, "_CHUNK", 150)
    assert concordance_rows(risk, truth) == pytest.approx(whole)


def test_nothing_to_compare_and_bad_input():
    assert np.isnan(concordance_rows(np.ones(3), np.array([[1.0, 0], [2, 0], [3, 0]]))).all()
    assert concordance_rows(np.ones(3), np.array([[1.0, 1], [2, 1], [3, 1]])) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="predicted"):
        concordance_rows(np.ones(2), np.ones((3, 2)))
    with pytest.raises(ValueError, match="NaN"):
        concordance_rows(np.array([1.0, NAN]), np.ones((2, 2)))

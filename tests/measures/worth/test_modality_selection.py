import itertools

import numpy as np
import pytest

from plait.measures.bootstrap import mean_interval
from plait.measures.worth.modality_selection import modality_selection, permutation_null

NAMES = ("image", "text", "sound", "genes")
FREE = dict.fromkeys(NAMES, 0.0)


def subsets(names=NAMES):
    return [s for k in range(len(names) + 1) for s in itertools.combinations(names, k)]


def additive(gains):
    return {s: 0.4 + sum(gains[n] for n in s) for s in subsets(tuple(gains))}


def accuracy(predicted, truth):
    return float(np.mean(predicted == truth))


def test_where_gains_add_up_every_way_chooses_the_same():
    rng = np.random.default_rng(0)
    for _ in range(30):
        gains = dict(zip(NAMES, rng.uniform(-0.05, 0.2, 4), strict=True))
        costs = dict(zip(NAMES, rng.uniform(0, 0.2, 4), strict=True))
        found = [modality_selection(additive(gains), costs, how=how) for how in ("alone", "greedy", "exhaustive")]
        assert {f.chosen for f in found} == {tuple(n for n in NAMES if gains[n] > costs[n])}
        assert len({round(f.net, 9) for f in found}) == 1
        assert (found[0].asked, found[2].asked) == (5, 16)


def test_exhaustive_is_the_best_of_all_subsets_and_others_no_better():
    rng = np.random.default_rng(1)
    for _ in range(20):
        values = {s: rng.normal() for s in subsets()}
        costs = dict(zip(NAMES, rng.uniform(0, 1, 4), strict=True))
        nets = {s: v - values[()] - 0.7 * sum(costs[n] for n in s) for s, v in values.items()}
        best = modality_selection(values, costs, how="exhaustive", price=0.7)
        assert best.chosen == max(nets, key=nets.get)
        assert best.net == pytest.approx(max(nets.values()))
        greedy = modality_selection(values, costs, how="greedy", price=0.7)
        assert greedy.net == pytest.approx(nets[greedy.chosen])
        assert 0 <= greedy.net <= best.net + 1e-12


def test_alone_needs_a_model_for_each_and_no_more():
    asked = []

    def measure(subset):
        asked.append(subset)
        return len(subset) / 10

    assert modality_selection(measure, FREE).chosen == NAMES
    assert sorted(asked) == [(), *sorted((n,) for n in NAMES)]
    only = {(): 0.2, **{(n,): 0.3 for n in NAMES}}
    assert modality_selection(only, FREE).chosen == NAMES


@pytest.mark.parametrize("how", ["alone", "greedy", "exhaustive"])
def test_free_takes_all_that_tells_something_and_priceless_nothing(how):
    values = additive({"image": 0.2, "text": 0.1, "sound": 0.0, "genes": -0.1})
    assert modality_selection(values, FREE, how=how).chosen == ("image", "text")
    dear = dict.fromkeys(NAMES, np.inf)
    for price in (0.0, 1.0):
        nothing = modality_selection(values, dear, how=how, price=price)
        assert (nothing.chosen, nothing.gain, nothing.cost) == ((), 0, 0)
    one = {**FREE, "image": np.inf}
    assert modality_selection(values, one, how=how).chosen == ("text",)


def test_alone_and_greedy_cannot_see_what_only_two_show_together():
    xor = {s: 1.0 if {"image", "text"} <= set(s) else 0.5 for s in subsets()}
    cheap = dict.fromkeys(NAMES, 0.01)
    assert modality_selection(xor, cheap).chosen == ()
    assert modality_selection(xor, cheap, how="greedy").chosen == ()
    assert modality_selection(xor, cheap, how="exhaustive").chosen == ("image", "text")


def test_alone_keeps_every_copy_and_says_too_much_of_them():
    copies = {s: 0.8 if {"image", "text"} & set(s) else 0.5 for s in subsets()}
    cheap = dict.fromkeys(NAMES, 0.01)
    both = modality_selection(copies, cheap)
    assert (both.chosen, both.gain) == (("image", "text"), pytest.approx(0.6))
    assert modality_selection(copies, cheap, how="greedy").chosen == ("image",)
    best = modality_selection(copies, cheap, how="exhaustive")
    assert (best.chosen, best.gain) == (("image",), pytest.approx(0.3))


def test_gains_of_rows_have_an_interval():
    rng = np.random.default_rng(2)
    values = {s: rng.normal(0.2 * len(s), 1, 80) for s in subsets()}
    found = modality_selection(values, FREE, how="exhaustive", seed=3)
    gain = values[found.chosen] - values[()]
    assert found.gain == pytest.approx(gain.mean())
    assert found.interval == mean_interval(gain, seed=3, exact=False)
    assert np.isnan(modality_selection(additive(FREE), FREE).interval).all()
    assert modality_selection(values, dict.fromkeys(NAMES, np.inf)).interval == (0, 0)


def test_noise_does_not_pass_its_null_and_a_signal_does():
    rng = np.random.default_rng(3)
    chosen = []
    for seed in range(60):
        truth = rng.integers(0, 2, 80)
        told = np.where(rng.random(80) < 0.85, truth, 1 - truth)
        says = {"image": told, "noise": rng.integers(0, 2, 80)}
        values = {(): 0.3, **{(n,): accuracy(p, truth) for n, p in says.items()}}
        null = {n: permutation_null(accuracy, p, truth, draws=99, seed=seed) for n, p in says.items()}
        found = modality_selection(values, dict.fromkeys(says, 0.0), null=null)
        chosen.append(found.chosen)
        assert modality_selection(values, dict.fromkeys(says, 0.0)).chosen == ("image", "noise")
    assert np.mean(["image" in c for c in chosen]) == 1
    assert np.mean(["noise" in c for c in chosen]) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 60)


def test_the_null_keeps_groups_whole_and_scores_truths_of_other_rows():
    predicted = truth = np.repeat(np.arange(10), 4) % 2
    groups = np.repeat(np.arange(10), 4)
    whole = permutation_null(accuracy, predicted, truth, groups=groups, draws=50)
    assert set(np.round(whole * 10, 9)) <= set(range(0, 11, 2))
    loose = permutation_null(accuracy, predicted, truth, draws=200)
    assert loose.std() < whole.std()
    assert loose.mean() == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"costs": {"image": 1.0}, "names": NAMES}, "text"),
        ({"costs": {**FREE, "text": -1.0}}, "text"),
        ({"costs": {**FREE, "text": np.nan}}, "text"),
        ({"price": -1.0}, "price"),
        ({"null": {"image": np.zeros(9)}}, "text"),
        ({"null": dict.fromkeys(NAMES, np.zeros(9)), "how": "greedy"}, "leave it out"),
        ({"how": "best"}, "alone, greedy, exhaustive"),
        ({"values": {("image",): 1.0}}, "without any modality"),
    ],
)
def test_what_does_not_fit_is_refused(change, says):
    with pytest.raises(ValueError, match=says):
        modality_selection(**{"values": additive(FREE), "costs": FREE, **change})


def test_a_prediction_for_each_row():
    with pytest.raises(ValueError, match="4 rows"):
        permutation_null(accuracy, np.ones(3), np.ones(4))

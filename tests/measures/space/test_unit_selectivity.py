import json

import numpy as np
import pytest
from scipy.stats import ttest_ind

from plait.measures.space.unit_selectivity import unit_selectivity


def stimuli(each=20, kinds=("face", "place", "word"), units=30, seed=0):
    names = np.repeat(kinds, each)
    return np.random.default_rng(seed).normal(size=(len(names), units)), names


def test_the_p_value_is_that_of_the_hardest_other_category():
    x, names = stimuli(units=12)
    x[names == "face"] += np.linspace(0, 3, 12)
    x[names == "word"] *= 3
    found = unit_selectivity(x, names, correction="none")
    for u in range(12):
        means = {n: x[names == n, u].mean() for n in ("face", "place", "word")}
        best = max(means, key=means.get)
        wanted = max(
            ttest_ind(x[names == best, u], x[names == n, u], equal_var=False).pvalue for n in means if n != best
        )
        assert found.p[u] == pytest.approx(wanted)
        assert found.preferred[u] == (best if wanted <= 0.05 else None)
    assert found.share == np.mean([n is not None for n in found.preferred])
    assert sum(found.shares.values()) == pytest.approx(found.share)


def test_noise_units_are_flagged_at_the_nominal_rate():
    x, names = stimuli(kinds=("face", "place"), units=4000)
    assert unit_selectivity(x, names, correction="none", blocks=2).share == pytest.approx(0.05, abs=0.015)
    more, kinds = stimuli(units=4000)
    assert unit_selectivity(more, kinds, correction="none", blocks=2).share < 0.05
    for correction in ("fdr", "holm"):
        wrong = [
            unit_selectivity(*stimuli(10, ("face", "place"), 50, seed), correction=correction, blocks=2).share > 0
            for seed in range(300)
        ]
        assert 0.01 < np.mean(wrong) < 0.08


def test_a_planted_unit_is_always_flagged_and_no_more_than_alpha_of_the_flagged_are_wrong():
    wrong = []
    for seed in range(100):
        x, names = stimuli(seed=seed)
        x[names == "word", :10] += 3
        found = unit_selectivity(x, names, blocks=2)
        assert found.preferred[:10] == ("word",) * 10
        wrong.append(np.mean([n is not None for n in found.preferred[10:]]) * 20 / max(1, 30 * found.share))
    assert np.mean(wrong) < 0.06


def test_a_category_that_ties_with_another_is_not_preferred():
    x, names = stimuli(units=2000)
    x[np.isin(names, ["face", "word"])] += 3
    assert unit_selectivity(x, names, correction="none", blocks=2).share == pytest.approx(0.05, abs=0.02)


def test_scale_shift_and_order_change_nothing():
    x, names = stimuli()
    x[names == "face", :9] += 1.5
    factor, shift = np.random.default_rng(1).uniform(1e-3, 50, (2, 30))
    order = np.random.default_rng(2).permutation(60)
    one, other = unit_selectivity(x, names), unit_selectivity(factor * x + shift, names)
    assert one.preferred == other.preferred
    assert one.p == pytest.approx(other.p)
    assert one.specificity == pytest.approx(other.specificity)
    mixed = unit_selectivity(x[order], names[order])
    assert (mixed.preferred, mixed.share) == (one.preferred, one.share)


def test_constant_units_are_never_selective_and_perfect_ones_are():
    x, names = stimuli()
    x[:, 0], x[:, 1], x[:, 2] = 0, 0.1, (names == "face") * 0.1
    found = unit_selectivity(x, names)
    assert found.preferred[:3] == (None, None, "face")
    assert found.p[:3].tolist() == [1, 1, 0]


def test_controls_have_to_be_beaten_and_are_not_preferred():
    x, names = stimuli(kinds=("face", "place", "scrambled"))
    x[names == "scrambled", :10] += 4
    x[np.isin(names, ["scrambled", "face"]), 10:20] += 4
    x[names == "face", 20:] += 4
    found = unit_selectivity(x, names, controls=["scrambled"], correction="holm")
    assert found.preferred == (None,) * 20 + ("face",) * 10
    assert set(found.shares) == {"face", "place"}


def test_specificity_is_not_that_of_the_rows_that_chose_the_units():
    found, naive = [], []
    for seed in range(60):
        x, names = stimuli(20, ("face", "place"), 200, seed)
        found.append(unit_selectivity(x, names, correction="none", blocks=2).specificity)
        flagged = [i for i, n in enumerate(unit_selectivity(x, names, correction="none", blocks=2).preferred) if n]
        gap = x[names == "face"].mean(0) - x[names == "place"].mean(0)
        naive.append(np.abs(gap[flagged]).mean())
    assert np.min(naive) > 0.5
    assert np.mean(found) == pytest.approx(0, abs=0.05)
    x, names = stimuli(100, ("face", "place"), 200)
    x[names == "face"] += 1.5
    assert unit_selectivity(x, names, blocks=2).specificity == pytest.approx(1.5, abs=0.1)


def test_rows_of_a_group_count_once():
    x, names = stimuli(6, ("face", "place"), 1000)
    copies = np.repeat(np.arange(12), 8)
    alone = unit_selectivity(x, names, correction="none", blocks=2)
    grouped = unit_selectivity(x[copies], names[copies], groups=copies, correction="none", blocks=2)
    assert grouped.p == pytest.approx(alone.p)
    assert grouped.rows == 12
    assert unit_selectivity(x[copies], names[copies], correction="none", blocks=2).share > 0.3


def test_the_interval_covers():
    strength = np.linspace(0, 2, 60)

    def measured(seed):
        x, names = stimuli(15, units=60, seed=seed)
        x[names == "face"] += strength
        return unit_selectivity(x, names, seed=seed)

    found = [measured(seed) for seed in range(100)]
    for name in ("share", "specificity"):
        mean = np.mean([getattr(f, name) for f in found])
        assert np.mean([f.intervals[name][0] <= mean <= f.intervals[name][1] for f in found]) >= 0.9


def test_account_and_what_does_not_fit():
    x, names = stimuli()
    account = json.loads(json.dumps(unit_selectivity(x, names).account()))
    assert len(account["p"]) == len(account["preferred"]) == 30
    with pytest.raises(ValueError, match="word: 1"):
        unit_selectivity(x[:41], names[:41])
    with pytest.raises(ValueError, match="face: 20"):
        unit_selectivity(x[:20], names[:20])
    with pytest.raises(ValueError, match="noise"):
        unit_selectivity(x, names, controls=["noise"])
    with pytest.raises(ValueError, match="category for each"):
        unit_selectivity(x, names[1:])
    with pytest.raises(ValueError, match="NaN"):
        unit_selectivity(x * np.nan, names)

import itertools

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from plait.measures.worth._signs import sign_flip_p
from plait.measures.worth.sample_importance import KINDS, permutation_drop, sample_importance

NAMES = ("image", "text", "sound")


def subsets(names=NAMES):
    return [s for k in range(len(names) + 1) for s in itertools.combinations(names, k)]


def answers(rule, rows=1):
    """{subset: [rows] of whether `rule(subset)`}"""
    return {s: np.full(rows, float(rule(set(s)))) for s in subsets()}


def evidence(rows=400, seed=0):
    """The label's sign stands in one modality of each row; models add up what their modalities say."""
    rng = np.random.default_rng(seed)
    label, holder = rng.choice([-1, 1], rows), rng.integers(3, size=rows)
    cells = {n: rng.normal(size=rows) * 0.3 + 2 * label * (holder == j) for j, n in enumerate(NAMES)}
    return label, holder, cells


def truth_probability(cells, label, subset):
    return 1 / (1 + np.exp(-2 * label * sum((cells[n] for n in subset), np.zeros(len(label)))))


def kinds(found):
    return [KINDS[k] for k in found.kind]


def test_finds_the_modality_that_holds_the_evidence():
    label, holder, cells = evidence()
    found = sample_importance({s: truth_probability(cells, label, s) for s in subsets()}, NAMES, answered=0.75)
    for j in range(3):
        assert roc_auc_score(holder == j, found.importance[:, j]) > 0.99
    assert np.mean(found.decided == holder) > 0.98
    unhelped = norm.cdf(np.log(3) / 2 / (0.3 * np.sqrt(2)))
    assert np.mean(found.needed[np.arange(400), holder]) == pytest.approx(unhelped, abs=0.05)
    alone = found.kind == KINDS.index("single")
    assert np.mean(alone) > 0.9
    shares = found.account()["decided"]
    assert all(shares[n]["low"] <= np.mean(holder == j) <= shares[n]["high"] for j, n in enumerate(NAMES))


def test_either_of_two_alone_are_equal_and_nothing_is_joint():
    found = sample_importance(answers(lambda s: bool({"image", "text"} & s)), NAMES)
    assert found.importance[0].tolist() == [0.5, 0.5, 0]
    assert (found.joint[0], found.interference[0], found.decided[0]) == (0, 0, -1)
    assert kinds(found) == ["several"]
    assert not found.needed.any()


def test_what_two_answer_only_together_is_joint():
    found = sample_importance(answers({"image", "text"}.issubset), NAMES)
    assert found.importance[0].tolist() == [0.5, 0.5, 0]
    assert (found.joint[0], kinds(found), found.needed[0].tolist()) == (1, ["joint"], [True, True, False])


def test_a_modality_that_changes_no_answer_scores_exactly_zero():
    rng = np.random.default_rng(0)
    base = {s: rng.random(30) for s in subsets(NAMES[:2])}
    found = sample_importance({s: base[tuple(n for n in s if n != "sound")] for s in subsets()}, NAMES)
    assert (found.importance[:, 2] == 0).all()
    assert not found.needed[:, 2].any()
    two = {(): base[()], ("image",): base[("image",)], ("sound",): base[()], ("image", "sound"): base[("image",)]}
    assert (sample_importance(two, ("image", "sound")).importance[:, 1] == 0).all()
    published = (two[("sound",)] + two[("image", "sound")]) / 2 - two[("image",)]
    assert np.abs(published).max() > 0.1


def test_swapping_names_swaps_scores_and_a_constant_changes_none():
    rng = np.random.default_rng(1)
    values = {s: rng.random(20) for s in subsets()}
    found = sample_importance(values, NAMES)
    other = sample_importance({s: v + 3 for s, v in values.items()}, ("sound", "image", "text"))
    assert other.importance[:, [1, 2, 0]] == pytest.approx(found.importance)
    assert other.joint == pytest.approx(found.joint)


def test_is_the_mean_over_coin_flips_of_the_others():
    rng = np.random.default_rng(2)
    values = {s: rng.random(1) for s in subsets()}
    found = sample_importance(values, NAMES).importance[0, 1]
    gains = []
    for _ in range(4000):
        others = tuple(n for n in NAMES if n != "text" and rng.random() < 0.5)
        both = tuple(n for n in NAMES if n in others or n == "text")
        gains.append(values[both][0] - values[others][0])
    assert found == pytest.approx(np.mean(gains), abs=4 * np.std(gains) / np.sqrt(4000))


def test_every_kind_of_row():
    table = {
        "nothing": answers(lambda s: True),
        "single": answers(lambda s: "text" in s),
        "several": answers(lambda s: bool(s)),
        "joint": answers(lambda s: len(s) == 3),
        "unanswered": answers(lambda s: len(s) == 2),
    }
    rows = {s: np.concatenate([table[kind][s] for kind in KINDS]) for s in subsets()}
    found = sample_importance(rows, NAMES)
    assert kinds(found) == list(KINDS)
    assert sum(k["value"] for k in found.account()["kinds"].values()) == pytest.approx(1)
    spoilt = sample_importance(answers(lambda s: s == {"text"}), NAMES)
    assert (spoilt.interference[0], spoilt.importance[0, 0] < 0) == (1, True)


def test_permuting_what_is_needed_costs_and_what_is_not_does_not():
    label, _, cells = evidence()
    cells = {**cells, "noise": np.random.default_rng(9).normal(size=400)}

    def right(seen):
        return (sum(seen[n] for n in NAMES) * label > 0).astype(float)

    values = {s: (truth_probability(cells, label, s) > 0.75).astype(float) for s in subsets()}
    needed = sample_importance(values, NAMES).needed[:, 0]
    costs = permutation_drop(right, cells, "image", rows=needed)
    assert costs.score > 0.95
    assert costs.interval[0] > 0.3
    assert costs.p < 0.001
    spared = permutation_drop(right, cells, "noise")
    assert (spared.drop, spared.interval, spared.p) == (0, (0, 0), 1)


def test_sign_flips_are_all_sign_flips_where_they_can_be_counted():
    rng = np.random.default_rng(0)
    differences = rng.normal(0.3, 1, 9)
    flipped = np.array(list(itertools.product([-1, 1], repeat=9))) @ differences
    assert sign_flip_p(differences, draws=20_000) == pytest.approx(np.mean(flipped >= differences.sum()), abs=0.015)
    thrice, groups = np.repeat(differences, 3), np.repeat(np.arange(9), 3)
    assert sign_flip_p(thrice, groups=groups) == pytest.approx(sign_flip_p(differences), abs=1e-12)
    assert np.isnan(sign_flip_p(differences, groups=np.zeros(9)))


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="each row"):
        sample_importance({(): 0.0, ("image",): 1.0})
    with pytest.raises(ValueError, match="without any modality"):
        sample_importance({("image",): np.ones(3)})
    with pytest.raises(ValueError, match="found touch"):
        permutation_drop(lambda cells: cells["image"], {"image": np.ones(3)}, "touch")
    with pytest.raises(ValueError, match="one that counts"):
        permutation_drop(lambda cells: cells["image"], {"image": np.ones(3)}, "image", rows=np.zeros(3, bool))

import itertools
import json

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon

from plait.measures.trust.conflict import conflict, entropy, jensen_shannon


def drawn(rows=120, modalities=3, classes=4, seed=0):
    rng = np.random.default_rng(seed)
    predicted = rng.dirichlet(np.ones(classes), (rows, modalities))
    return predicted, predicted.mean(1), rng.random((rows, modalities)) < 0.7, rng.integers(0, classes, rows)


def test_two_predictions_have_the_divergence_of_scipy():
    predicted, *_ = drawn(modalities=2)
    expected = [jensenshannon(*pair, base=2) ** 2 for pair in predicted]
    assert jensen_shannon(predicted) == pytest.approx(expected)


def test_several_are_the_mean_divergence_from_their_mean():
    predicted, _, have, _ = drawn()
    found = jensen_shannon(predicted, have)
    for n in range(len(predicted)):
        there = predicted[n, have[n]]
        if len(there) < 2:
            assert np.isnan(found[n])
            continue
        middle = there.mean(0)
        assert found[n] == pytest.approx(np.mean([np.sum(p * np.log2(p / middle)) for p in there]))


@pytest.mark.parametrize("modalities", [2, 3, 5])
def test_certain_contradiction_is_log2_of_the_modalities_and_agreement_nothing(modalities):
    certain = np.eye(6)[np.arange(modalities)][None]
    assert jensen_shannon(certain)[0] == pytest.approx(np.log2(modalities))
    same = np.repeat(np.random.default_rng(0).dirichlet(np.ones(6), (50, 1)), modalities, 1)
    assert jensen_shannon(same) == pytest.approx(0, abs=1e-12)
    assert jensen_shannon(same).min() >= 0
    assert entropy(np.full(8, 1 / 8)) == 3


def test_what_stands_in_absent_cells_is_not_looked_at():
    predicted, fused, have, truth = drawn()
    changed = predicted.copy()
    changed[~have] = np.nan
    one, two = conflict(predicted, fused, have, truth), conflict(changed, fused, have, truth)
    assert json.dumps(one.account()) == json.dumps(two.account())


def test_rates_equal_counting_by_loops():
    predicted, fused, have, truth = drawn()
    found = conflict(predicted, fused, have, truth)
    said = predicted.argmax(2)
    answers = [{said[n, m] for m in range(3) if have[n, m]} for n in range(120) if have[n].sum() > 1]
    assert found.rows == len(answers)
    assert found.disagreement.value == pytest.approx(np.mean([len(a) > 1 for a in answers]))
    for a, b in itertools.product(range(3), repeat=2):
        both = [n for n in range(120) if have[n, a] and have[n, b]]
        assert found.pairs[a, b] == pytest.approx(np.mean([said[n, a] != said[n, b] for n in both]))
    for m in range(3):
        own = [n for n in range(120) if have[n, m]]
        assert found.against_fusion[m].value == pytest.approx(np.mean([said[n, m] != fused[n].argmax() for n in own]))
        apart = [jensenshannon(predicted[n, m], fused[n], base=2) ** 2 for n in own]
        assert found.from_fusion[m].value == pytest.approx(np.mean(apart))
        assert found.from_fusion[m].interval[0] < found.from_fusion[m].value < found.from_fusion[m].interval[1]


def test_the_order_of_modalities_does_not_matter():
    predicted, fused, have, truth = drawn()
    one = conflict(predicted, fused, have, truth)
    two = conflict(predicted[:, [2, 0, 1]], fused, have[:, [2, 0, 1]], truth)
    assert two.divergence.value == pytest.approx(one.divergence.value)
    assert two.disagreement == one.disagreement
    assert two.pairs == pytest.approx(one.pairs[np.ix_([2, 0, 1], [2, 0, 1])])


def test_conflict_detects_errors_where_it_makes_them_and_nothing_where_it_does_not():
    rng = np.random.default_rng(0)
    truth, broken = rng.integers(0, 3, 400), rng.random(400) < 0.3
    sure = lambda code: 0.9 * np.eye(3)[code] + 0.1 / 3
    second = np.where(broken, (truth + 1) % 3, truth)
    predicted = np.stack([sure(truth), sure(second)], 1)
    # The fusion believes the modality that is sometimes broken.
    found = conflict(predicted, sure(second), truth=truth)
    assert found.detector.value == 1
    few = min(broken.sum(), (~broken).sum())
    assert found.detector.interval == (pytest.approx(0.025 ** (1 / few)), 1), "no resample sees a pair in disorder"
    assert found.disagreement.value == pytest.approx(broken.mean())
    other = conflict(predicted, sure(np.where(rng.random(400) < 0.4, 0, truth)), truth=truth)
    assert other.detector.interval[0] < 0.5 < other.detector.interval[1]


def test_the_detector_is_the_share_of_pairs_in_the_right_order():
    predicted, fused, have, truth = drawn()
    # Coarse, so that there are ties.
    predicted = np.eye(4)[predicted.argmax(2)] * 0.5 + 0.125
    apart, wrong = jensen_shannon(predicted, have), fused.argmax(1) != truth
    errors, rest = apart[wrong & (have.sum(1) > 1)], apart[~wrong & (have.sum(1) > 1)]
    won = [(a > b) + (a == b) / 2 for a, b in itertools.product(errors, rest)]
    assert conflict(predicted, fused, have, truth).detector.value == pytest.approx(np.mean(won))


def test_rows_that_agree_are_ties():
    rng = np.random.default_rng(0)
    same = np.repeat(rng.dirichlet(np.ones(5), (200, 1)), 3, 1)
    found = conflict(same, same[:, 0], truth=rng.integers(0, 5, 200))
    assert found.detector.value == 0.5


def test_groups_of_another_length_are_refused():
    predicted, fused, have, truth = drawn()
    with pytest.raises(ValueError, match="120 rows"):
        conflict(predicted, fused, have, truth, groups=np.arange(5))


def test_one_modality_or_none_is_no_conflict():
    predicted, fused, have, truth = drawn()
    have = np.zeros_like(have)
    have[:, 0] = True
    found = conflict(predicted, fused, have, truth)
    assert found.rows == 0
    assert np.isnan([found.divergence.value, found.disagreement.value, found.detector.value]).all()
    assert np.isnan(found.from_fusion[1].value)
    assert found.pairs[0, 0] == 0
    assert np.isnan(found.pairs[0, 1])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda p, f, h, t: (p[:, 0], f, h, t), "N, M, C"),
        (lambda p, f, h, t: (p, f[:5], h, t), "fused"),
        (lambda p, f, h, t: (np.log(p), f, h, t), "softmax"),
        (lambda p, f, h, t: (p, f, h.astype(int), t), "bool"),
        (lambda p, f, h, t: (p, f, h, t - 1), "truth"),
        (lambda p, f, h, t: (p * np.where(t[:, None, None] == 0, np.nan, 1), f, h, t), "NaN"),
    ],
)
def test_bad_input_is_refused(change, said):
    with pytest.raises(ValueError, match=said):
        conflict(*change(*drawn()))

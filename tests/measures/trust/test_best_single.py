import numpy as np
import pytest

from plait.measures.trust.best_single import best_single


def answers(truth, accuracies, classes, rng):
    said = [np.where(rng.random(len(truth)) < a, truth, rng.integers(0, classes, len(truth))) for a in accuracies]
    return np.stack([np.eye(classes)[s] for s in said], 1)


def test_a_task_that_one_modality_answers_has_its_gain():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 4, 600)
    found = best_single(answers(truth, [0, 0.8, 0.2], 4, rng), truth)
    assert found.best == 1
    # Right where it is told, and in one of four cases of the rest.
    assert found.accuracy[1].interval[0] < 0.85 < found.accuracy[1].interval[1]
    assert found.gain.interval[0] < 0.6 < found.gain.interval[1]


def test_the_best_of_many_that_know_nothing_gains_nothing():
    rng = np.random.default_rng(0)
    gains, flattered = [], []
    for seed in range(30):
        truth = rng.integers(0, 2, 80)
        found = best_single(answers(truth, [0] * 8, 2, rng), truth, seed=seed)
        gains.append(found.gain.value)
        flattered.append(found.accuracy[found.best].value - found.majority.value)
    # The majority, too, is chosen on other rows; here neither is better than the other.
    assert abs(np.mean(gains)) < 3 * np.std(gains) / np.sqrt(30)
    assert np.mean(flattered) > 0.05


def test_a_frequent_class_is_no_gain():
    truth = np.random.default_rng(0).permutation(np.repeat([0, 1], [90, 10]))
    found = best_single(np.tile([1.0, 0], (100, 2, 1)), truth)
    assert found.majority.value == pytest.approx(0.9)
    assert (found.gain.value, found.gain.interval) == (0, (0, 0))


def test_rows_without_a_modality_are_answered_with_the_frequent_class():
    rng = np.random.default_rng(0)
    truth = rng.permutation(np.repeat([0, 1], [140, 60]))
    have = rng.random((200, 1)) < 0.5
    predicted = np.eye(2)[truth][:, None].copy()
    predicted[~have] = np.nan
    found = best_single(predicted, truth, have)
    assert found.accuracy[0].value == pytest.approx(np.mean(have[:, 0] | (truth == 0)))
    assert found.gain.value == pytest.approx(np.mean(have[:, 0] & (truth == 1)))


def test_groups_are_not_halved():
    rng = np.random.default_rng(0)
    gains = []
    for seed in range(25):
        # Two groups of equal rows: what is learned on one says nothing about the other.
        truth = np.repeat(rng.integers(0, 2, 30), 2)
        predicted = np.repeat(answers(truth[::2], [0] * 6, 2, rng), 2, 0)
        gains.append(best_single(predicted, truth, groups=np.arange(60) // 2, seed=seed).gain.value)
    assert abs(np.mean(gains)) < 3 * np.std(gains) / np.sqrt(25)


@pytest.mark.parametrize(
    ("predicted", "truth", "groups", "said"),
    [
        (np.ones((1, 1, 1)), np.zeros(1, int), None, "1 rows"),
        (np.ones((4, 1, 1)), np.zeros(4, int), np.zeros(4), "1 groups"),
        (np.ones((4, 1)), np.zeros(4, int), None, "N, M, C"),
        (np.ones((4, 1, 1)), np.ones(4, int), None, "truth"),
        (np.full((4, 1, 1), np.nan), np.zeros(4, int), None, "NaN"),
    ],
)
def test_bad_input_is_refused(predicted, truth, groups, said):
    with pytest.raises(ValueError, match=said):
        best_single(predicted, truth, groups=groups)


def test_the_class_of_the_rows_that_were_learned_from_answers_where_nothing_is_there():
    """Two thirds of the judged rows are of class 1, but what was learned from said class 0."""
    truth = np.array([1, 1, 0] * 20)
    predicted = np.tile([0.0, 1.0], (60, 2, 1))
    have = np.zeros((60, 2), bool)
    have[:, 0] = True
    found = best_single(predicted, truth, have, common=0)
    assert found.majority.value == pytest.approx(1 / 3)
    assert [one.value for one in found.accuracy] == pytest.approx([2 / 3, 1 / 3])
    assert found.gain.value == pytest.approx(1 / 3)

import numpy as np
import pytest

from plait.measures.trust.best_single import best_of, best_single


def answers(truth, accuracies, classes, rng):
    said = [np.where(rng.random(len(truth)) < a, truth, rng.integers(0, classes, len(truth))) for a in accuracies]
    return np.stack([np.eye(classes)[s] for s in said], 1)


def test_a_task_that_one_modality_answers_has_its_gain():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 4, 600)
    found = best_single(answers(truth, [0, 0.8, 0.2], 4, rng), truth)
    assert found.best == 1
    # Right where it is told, and in one of four cases of the rest.
    assert found.score[1].interval[0] < 0.85 < found.score[1].interval[1]
    assert found.gain.interval[0] < 0.6 < found.gain.interval[1]


def test_the_best_of_many_that_know_nothing_gains_nothing():
    rng = np.random.default_rng(0)
    gains, flattered = [], []
    for seed in range(30):
        truth = rng.integers(0, 2, 80)
        found = best_single(answers(truth, [0] * 8, 2, rng), truth, seed=seed)
        gains.append(found.gain.value)
        flattered.append(found.score[found.best].value - found.unseen.value)
    # The majority, too, is chosen on other rows; here neither is better than the other.
    assert abs(np.mean(gains)) < 3 * np.std(gains) / np.sqrt(30)
    assert np.mean(flattered) > 0.05


def test_a_frequent_class_is_no_gain():
    truth = np.random.default_rng(0).permutation(np.repeat([0, 1], [90, 10]))
    found = best_single(np.tile([1.0, 0], (100, 2, 1)), truth)
    assert found.unseen.value == pytest.approx(0.9)
    assert (found.gain.value, found.gain.interval) == (0, (0, 0))


def test_rows_without_a_modality_are_answered_with_the_frequent_class():
    rng = np.random.default_rng(0)
    truth = rng.permutation(np.repeat([0, 1], [140, 60]))
    have = rng.random((200, 1)) < 0.5
    predicted = np.eye(2)[truth][:, None].copy()
    predicted[~have] = np.nan
    found = best_single(predicted, truth, have)
    assert found.score[0].value == pytest.approx(np.mean(have[:, 0] | (truth == 0)))
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


def test_of_any_score_the_same_is_found_as_of_the_accuracy():
    rng = np.random.default_rng(4)
    truth = rng.integers(0, 3, 200)
    predicted = answers(truth, [0.2, 0.6], 3, rng)
    right = (predicted.argmax(2) == truth[:, None]).astype(float)
    found = best_of(right, (truth == 2).astype(float))
    assert [one.value for one in found.score] == [one.value for one in best_single(predicted, truth).score]
    assert (found.best, found.unseen.value) == (1, (truth == 2).mean())
    assert found.gain.value == pytest.approx(right[:, 1].mean() - (truth == 2).mean())


def test_errors_of_numbers_have_their_gain_and_the_best_of_noise_has_none():
    rng = np.random.default_rng(5)
    truth = rng.normal(size=400)
    closer = truth[:, None] + [0.3, 1.0] * rng.normal(size=(400, 2))
    found = best_of(-np.abs(closer - truth[:, None]), -np.abs(truth))
    # Mean absolute errors of normal variables: sqrt(2 / pi) of their deviations.
    assert found.best == 0
    assert found.gain.interval[0] < np.sqrt(2 / np.pi) * 0.7 < found.gain.interval[1]
    gains = []
    for seed in range(30):
        truth = rng.normal(size=60)
        noise = -np.abs(rng.normal(size=(60, 8)) - truth[:, None])
        gains.append(best_of(noise, noise[:, 0], seed=seed).gain.value)
    assert abs(np.mean(gains)) < 3 * np.std(gains) / np.sqrt(30)


@pytest.mark.parametrize(
    ("values", "unseen", "said"),
    [
        (np.zeros(3), np.zeros(3), "any, any"),
        (np.zeros((3, 1)), np.zeros(2), "3"),
        (np.full((3, 1), np.nan), np.zeros(3), "NaN"),
    ],
)
def test_bad_scores_are_refused(values, unseen, said):
    with pytest.raises(ValueError, match=said):
        best_of(values, unseen)

import numpy as np
import torch

from plait.encoders._standardise import Standardise


def test_batches_and_gaps_give_the_statistics_of_the_whole():
    values = np.random.default_rng(0).normal([1, -50, 3e5], [2, 0.1, 1e4], (500, 3)).astype(np.float32)
    values[np.random.default_rng(1).random(values.shape) < 0.3] = np.nan
    scale = Standardise(3)
    scale.learn(torch.from_numpy(part) for part in np.split(values, [1, 7, 300]))
    np.testing.assert_allclose(scale.mean, np.nanmean(values.astype(float), 0), rtol=1e-6)
    np.testing.assert_allclose(scale.std, np.nanstd(values.astype(float), 0), rtol=1e-6)


def test_small_changes_of_large_numbers_are_not_lost():
    values = torch.tensor([[1.7e9], [1.7e9 + 5000], [1.7e9 + 10_000]], dtype=torch.float64)
    scale = Standardise(1)
    scale.learn([values[:1], values[1:]])
    np.testing.assert_allclose(scale.std, values.std(correction=0), rtol=1e-6)


def test_what_does_not_vary_or_is_never_there_is_left_alone():
    scale = Standardise(2)
    scale.learn([torch.tensor([[3.0, torch.nan]] * 4)])
    assert scale.mean.tolist() == [3, 0]
    assert scale.std.tolist() == [1, 1]


def test_nothing_seen_is_nothing_learned_and_the_first_lesson_stays():
    scale = Standardise(1)
    scale.learn([])
    assert not scale.learned
    scale.learn([torch.tensor([[1.0], [3.0]])])
    scale.learn([torch.tensor([[100.0], [300.0]])])
    assert (scale.mean.item(), scale.std.item()) == (2, 1)
    assert scale(torch.tensor([[4.0], [1e6]])).flatten().tolist() == [2, 10]

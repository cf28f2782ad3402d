import numpy as np
import pytest

from plait.measures.space.gap_correction import collapse, corrupt, gap_correction, mean_direction
from plait.measures.space.modality_gap import centroid_distance, modality_gap


def clouds(rows=200, width=8, seed=0):
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=(rows, width))
    return [shared + 0.2 * rng.normal(size=(rows, width)) + centre for centre in rng.normal(size=(2, width)) * 2]


def test_after_collapse_the_means_of_both_modalities_are_0():
    for x in clouds():
        assert np.abs(collapse(x, mean_direction(x)).mean(0)).max() < 1e-15


def test_without_mean_and_noise_it_only_normalises():
    x, _ = clouds()
    assert gap_correction(x, np.zeros(8)) == pytest.approx(x / np.linalg.norm(x, axis=1, keepdims=True))
    unit = gap_correction(x, np.zeros(8))
    assert gap_correction(unit, np.zeros(8), noise=0, seed=7) == pytest.approx(unit, abs=1e-15)


def test_a_row_is_corrected_by_the_training_mean_alone():
    a, _ = clouds()
    mean = mean_direction(a[:100])
    alone = gap_correction(a[150:151], mean)
    assert alone[0] == pytest.approx(gap_correction(a[100:], mean)[50])
    # had its own mean been taken, a single row would collapse to 0
    assert np.linalg.norm(alone) == pytest.approx(1)


def test_centring_closes_the_gap_on_rows_it_was_not_made_from():
    a, b = clouds()
    before = modality_gap(a[100:], b[100:], draws=20)
    corrected = [gap_correction(x[100:], mean_direction(x[:100])) for x in (a, b)]
    after = modality_gap(*corrected, draws=20)
    assert before.separability > 0.95
    assert after.distance < 0.3 * before.distance
    assert after.separability < 0.75
    # a pair stays one: the other modality's row of the same pair is nearer than the others
    assert after.paired > after.unpaired + 0.3


def test_noise_has_the_deviation_that_was_asked_for_and_does_not_bring_the_gap_back():
    a, b = clouds(4000)
    noise = corrupt(a, noise=0.3, seed=1) - a
    assert noise.std() == pytest.approx(0.3, rel=0.02)
    assert abs(noise.mean()) < 0.01
    again = [gap_correction(x, mean_direction(x), noise=0.3, seed=i) for i, x in enumerate((a, b))]
    assert centroid_distance(*again) < 0.05
    assert corrupt(a, noise=0.3, seed=1) == pytest.approx(corrupt(a, noise=0.3, seed=1), abs=0)
    assert not np.allclose(corrupt(a, noise=0.3, seed=1), corrupt(a, noise=0.3, seed=2))


def test_what_does_not_fit_is_refused():
    a, _ = clouds()
    with pytest.raises(ValueError, match=r"mean \[8\]"):
        gap_correction(a, np.zeros(7))
    with pytest.raises(ValueError, match="deviation"):
        gap_correction(a, np.zeros(8), noise=-1)
    with pytest.raises(ValueError, match="NaN"):
        mean_direction(np.full((3, 2), np.nan))

import numpy as np
import pytest
import torch
from sklearn.metrics import brier_score_loss
from torchmetrics.functional.classification import binary_calibration_error

from plait.measures import calibration as c


def test_equals_torchmetrics_where_equal_mass_bins_are_of_equal_width():
    confidence = (np.arange(200) + 0.5) / 200
    correct = np.random.default_rng(0).random(200) < confidence**2
    found = binary_calibration_error(torch.tensor(confidence), torch.tensor(correct).int(), n_bins=10, norm="l1")
    assert c.ece(confidence, correct, 10) == pytest.approx(float(found), abs=1e-6)


def test_bins_hold_equally_many_rows_and_share_ties():
    rng = np.random.default_rng(0)
    bins = c.reliability(rng.random(190) ** 0.1, rng.random(190) < 0.5, 10)
    assert [b["rows"] for b in bins] == [19] * 10
    confidence = np.repeat([0.5, 0.9, 1.0], [30, 1, 69])
    assert [b["rows"] for b in c.reliability(confidence, np.ones(100, bool))] == [30, 1, 69]


def test_order_of_the_rows_does_not_matter():
    rng = np.random.default_rng(0)
    confidence, correct = np.round(rng.random(100), 1), rng.random(100) < 0.5
    order = rng.permutation(100)
    assert c.ece(confidence, correct) == pytest.approx(c.ece(confidence[order], correct[order]))


def test_perfect_and_worst():
    correct = np.array([True, False] * 50)
    assert c.ece(np.full(100, 0.5), correct) == 0
    assert c.ece(np.ones(100), correct) == pytest.approx(0.5)
    assert c.rms_debiased(np.ones(100), ~correct & False) == pytest.approx(1)


def test_debiasing_is_right_on_average_where_the_plain_ece_is_not():
    rng = np.random.default_rng(0)
    plain, square, expected = [], [], []
    for _ in range(400):
        confidence = rng.uniform(0.5, 1, 100)
        correct = rng.random(100) < confidence
        plain.append(c.ece(confidence, correct))
        expected.append(c.expected_ece(confidence))
        weight, gap, accuracy, count = c._binned(confidence, correct, 10)
        square.append(np.sum(weight * (gap**2 - accuracy * (1 - accuracy) / (count - 1))))
    assert np.mean(plain) > 0.05
    assert np.mean(expected) == pytest.approx(np.mean(plain), abs=0.005)
    assert abs(np.mean(square)) < 3 * np.std(square) / 20
    assert np.sqrt(max(0, np.mean(square))) < 0.03


def test_brier_of_two_classes_is_twice_the_binary_one():
    rng = np.random.default_rng(0)
    p, truth = rng.random(50), rng.integers(0, 2, 50)
    assert c.brier(np.stack([1 - p, p], 1), truth) == pytest.approx(2 * brier_score_loss(truth, p))
    assert c.brier(np.eye(3), np.arange(3)) == 0
    assert c.brier(np.eye(3), np.array([1, 2, 0])) == 2


def test_record_has_all_of_it_and_needs_rows():
    rng = np.random.default_rng(0)
    predicted, truth = rng.dirichlet(np.ones(4), 60), rng.integers(0, 4, 60)
    found = c.calibration(predicted, truth)
    assert set(found) == {"ece", "ece_calibrated", "rms_debiased", "brier", "bins"}
    assert sum(b["rows"] for b in found["bins"]) == 60
    assert found == c.calibration(predicted, truth)
    with pytest.raises(ValueError, match="P > 0"):
        c.calibration(predicted[:0], truth[:0])

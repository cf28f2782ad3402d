import numpy as np
import pytest
from scipy.special import expit, logit

from plait.measures.trust.robustness_curve import (
    area_under,
    effective_robustness,
    relative_robustness,
    robustness_curve,
)


def falling(accuracies, rows=400, seed=0):
    """{strength: whether a row is right}; a row stays wrong once it is."""
    holds = np.random.default_rng(seed).permutation(rows) / rows
    return {strength: (holds < a).astype(float) for strength, a in enumerate(accuracies)}


def test_a_curve_has_the_area_of_its_trapezoids():
    found = robustness_curve(falling([0.9, 0.8, 0.5, 0.2]), draws=100)
    area = ((0.9 + 0.8) / 2 + (0.8 + 0.5) / 2 + (0.5 + 0.2) / 2) / 3
    assert found.area.value == pytest.approx(area)
    assert found.retained.value == pytest.approx(area / 0.9)
    assert found.worst.value == pytest.approx(0.7)
    assert [a.value for a in found.level.values()] == pytest.approx([0.9, 0.8, 0.5, 0.2])
    for number in (found.area, found.retained, found.worst):
        assert number.interval[0] < number.value < number.interval[1]


def test_a_constant_model_keeps_everything_at_any_spacing_and_unit_of_strength():
    same = falling([0.6])[0]
    found = robustness_curve({0: same, 0.1: same, 7: same}, draws=50)
    assert found.area.value == pytest.approx(0.6)
    assert (found.retained.value, found.worst.value) == (pytest.approx(1), 0)
    # A straight fall to nothing keeps a half, wherever it is looked at.
    assert area_under([0, 1, 2, 4], np.array([1, 0.75, 0.5, 0])) == pytest.approx(0.5)
    assert area_under([0, 10, 20, 40], np.array([1, 0.75, 0.5, 0])) == pytest.approx(0.5)


def test_the_rows_of_a_resample_are_the_same_at_every_strength():
    rng = np.random.default_rng(0)
    right = (rng.random(300) < 0.5).astype(float)
    found = robustness_curve({0: right, 1: right, 2: right}, draws=200)
    assert found.worst.interval == (0, 0)
    assert found.retained.interval == pytest.approx((1, 1))
    assert found.area.interval[1] - found.area.interval[0] > 0.05


def test_a_model_that_is_never_right_retains_an_undefined_share():
    found = robustness_curve(falling([0, 0, 0]), draws=20)
    assert found.area.value == 0
    assert np.isnan(found.retained.value)
    assert found.account()["retained"]["value"] is None


def test_models_on_the_line_have_no_effective_robustness():
    clean = np.array([0.5, 0.6, 0.75, 0.9])
    damaged = expit(0.8 * logit(clean) - 1)
    for model in (0.55, 0.8):
        found = effective_robustness(model, expit(0.8 * logit(model) - 1), clean, damaged)
        assert found.effective == pytest.approx(0)
        assert not found.extrapolated
    above = effective_robustness(0.7, 0.6, clean, damaged)
    assert above.expected == pytest.approx(expit(0.8 * logit(0.7) - 1))
    assert above.effective == pytest.approx(0.6 - above.expected)
    assert effective_robustness(0.95, 0.6, clean, damaged).extrapolated


def test_the_line_is_that_of_least_squares_and_more_accuracy_alone_is_no_robustness():
    rng = np.random.default_rng(0)
    clean = rng.uniform(0.4, 0.9, 30)
    damaged = expit(0.9 * logit(clean) - 0.8 + 0.1 * rng.normal(size=30))
    slope, start = np.polyfit(logit(clean), logit(damaged), 1)
    found = effective_robustness(0.8, 0.7, clean, damaged)
    assert found.expected == pytest.approx(expit(start + slope * logit(0.8)))
    # Better on damaged rows than the worst baseline, and yet just what is expected of it.
    better = effective_robustness(0.89, float(expit(start + slope * logit(0.89))), clean, damaged)
    assert better.expected > damaged.min() + 0.2
    assert better.effective == pytest.approx(0)


def test_relative_robustness_is_paired():
    rng = np.random.default_rng(0)
    without = (rng.random(500) < 0.5).astype(float)
    with_it = np.where(rng.random(500) < 0.06, 1.0, without)
    found = relative_robustness(with_it, without)
    assert found.value == pytest.approx(with_it.mean() - without.mean())
    assert 0 < found.interval[0] < found.value < found.interval[1] < 0.08
    assert relative_robustness(without, without).interval == (0, 0)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: robustness_curve({1: np.ones(3), 2: np.ones(3)}), "strength 0"),
        (lambda: robustness_curve({0: np.ones(3)}), "strength 0"),
        (lambda: robustness_curve({0: np.ones(3), 1: np.ones(2)}), "strength 1"),
        (lambda: robustness_curve({0: np.ones(0), 1: np.ones(0)}), "at least one row"),
        (lambda: robustness_curve({0: np.ones(2), 1: np.array([1, np.nan])}), "NaN"),
        (lambda: effective_robustness(0.5, 0.4, np.array([0.5, 0.5]), np.array([0.4, 0.3])), "two different"),
        (lambda: effective_robustness(1.0, 0.4, np.array([0.5, 0.6]), np.array([0.4, 0.3])), "between 0 and 1"),
        (lambda: effective_robustness(0.9, 0.4, np.array([0.5, 0.6]), np.array([0.4])), "2 and 1"),
        (lambda: relative_robustness(np.ones(3), np.ones(4)), "without"),
    ],
)
def test_bad_input_is_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call()

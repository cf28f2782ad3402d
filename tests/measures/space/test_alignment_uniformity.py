import tracemalloc

import numpy as np
import pytest
from scipy.special import i0

from plait.measures.space.alignment_uniformity import alignment, alignment_uniformity, uniform_value, uniformity


def sphere(rows, width, seed=0):
    x = np.random.default_rng(seed).normal(size=(rows, width))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def test_the_uniform_value_is_the_closed_form_of_circle_and_sphere_and_of_many_dimensions():
    for t in (0.5, 2.0, 3.0):
        assert uniform_value(2, t) == pytest.approx(np.log(i0(2 * t)) - 2 * t)
        assert uniform_value(3, t) == pytest.approx(np.log(np.sinh(2 * t) / (2 * t)) - 2 * t)
        assert uniform_value(1, t) == pytest.approx(np.log((1 + np.exp(-4 * t)) / 2))
        assert uniform_value(100_000, t) == pytest.approx(-2 * t, abs=1e-3)


@pytest.mark.parametrize("width", [2, 3, 20])
def test_uniform_rows_reach_it_without_bias(width):
    values = [np.exp(uniformity(sphere(50, width, seed))) for seed in range(400)]
    wanted = np.exp(uniform_value(width))
    assert np.mean(values) == pytest.approx(wanted, abs=4 * np.std(values) / 20)
    # the diagonal would add this much, many times the tolerance
    assert (1 - wanted) / 50 > 4 * 4 * np.std(values) / 20


def test_equals_the_sum_over_pairs():
    x, groups = sphere(23, 4), np.arange(23) // 2
    for given in (None, groups):
        pairs = [(i, j) for i in range(23) for j in range(23) if (i != j if given is None else i // 2 != j // 2)]
        wanted = np.log(np.mean([np.exp(-1.5 * np.sum((x[i] - x[j]) ** 2)) for i, j in pairs]))
        assert uniformity(7 * x, t=1.5, groups=given) == pytest.approx(wanted)


def test_known_sets():
    assert uniformity(np.eye(6)) == pytest.approx(-4)
    assert uniformity(np.ones((6, 3))) == pytest.approx(0)
    assert uniformity([[1.0], [-1.0]], t=1) == pytest.approx(-4)
    x = sphere(10, 3)
    assert alignment(x, 2 * x) == pytest.approx(0)
    assert alignment(x, -x) == pytest.approx(4)
    assert alignment(x, -x, power=1) == pytest.approx(2)
    assert alignment(np.eye(4), np.roll(np.eye(4), 1, 0)) == pytest.approx(2)


def test_a_rotation_changes_nothing():
    a, b = sphere(40, 5), sphere(40, 5, 1)
    turn = np.linalg.qr(np.random.default_rng(3).normal(size=(5, 5)))[0]
    one, other = alignment_uniformity(a, b), alignment_uniformity(a @ turn, b @ turn)
    for name in ("alignment", "uniformity_a", "uniformity_b"):
        assert getattr(one, name) == pytest.approx(getattr(other, name))
        assert one.intervals[name] == pytest.approx(other.intervals[name])
    assert (one.uniformity_a, one.alignment) == pytest.approx((uniformity(a), alignment(a, b)))


def test_blocks_give_the_same_and_keep_memory_small(monkeypatch):
    x = sphere(300, 4)
    whole = uniformity(x)
    monkeypatch.setattr("plait.measures.space.alignment_uniformity._BLOCK", 3000)
    tracemalloc.start()
    assert uniformity(x) == pytest.approx(whole)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 300 * 300 * 8 / 2


@pytest.mark.parametrize("spread", [0.3, 3.0])
def test_the_interval_covers(spread):
    rng = np.random.default_rng(0)

    def drawn(rows):
        x = np.array([1.0, 0, 0]) + spread * rng.normal(size=(rows, 3))
        return x / np.linalg.norm(x, axis=1, keepdims=True)

    wanted = np.log(np.mean(np.exp([uniformity(drawn(100)) for _ in range(1000)])))
    inside = []
    for seed in range(100):
        low, high = alignment_uniformity(drawn(40), drawn(40), seed=seed).intervals["uniformity_a"]
        inside.append(low <= wanted <= high)
    assert np.mean(inside) >= 0.88


def test_what_does_not_fit_is_refused():
    x = sphere(5, 3)
    with pytest.raises(ValueError, match="at least 2 rows, found 1"):
        uniformity(x[:1])
    with pytest.raises(ValueError, match="t > 0"):
        uniformity(x, t=0)
    with pytest.raises(ValueError, match="2 groups"):
        uniformity(x, groups=np.zeros(5))
    with pytest.raises(ValueError, match="equal shapes"):
        alignment(x, x[:, :2])
    with pytest.raises(ValueError, match="row 2 is 0"):
        alignment_uniformity(x, x * (np.arange(5) != 2)[:, None])

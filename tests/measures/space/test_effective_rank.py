import numpy as np
import pytest

from plait.measures.space.effective_rank import effective_rank, entropy_rank, participation_ratio, rankme, spectrum

NUMBERS = ("effective_rank", "rankme", "participation_ratio")


def with_singular_values(values, rows=40, seed=0):
    """Rows of mean 0 with just these singular values."""
    rng = np.random.default_rng(seed)
    left = rng.normal(size=(rows, len(values)))
    left = np.linalg.qr(left - left.mean(0))[0]
    right = np.linalg.qr(rng.normal(size=(len(values), len(values))))[0]
    return left * values @ right


def test_closed_form_of_known_singular_values():
    s = np.array([4.0, 2.0, 1.0, 1.0])
    found = effective_rank(with_singular_values(s))
    # shares 1/2, 1/4, 1/8, 1/8: an entropy of 1.75 bits
    assert found.effective_rank == pytest.approx(2**1.75)
    assert found.rankme == pytest.approx(2**1.75, rel=1e-5)
    assert found.participation_ratio == pytest.approx((16 + 4 + 1 + 1) ** 2 / (256 + 16 + 1 + 1))
    assert (found.rows, found.width) == (40, 4)


def test_extremes():
    equal = effective_rank(with_singular_values(np.ones(5)))
    assert [getattr(equal, n) for n in NUMBERS] == pytest.approx([5, 5, 5], rel=1e-5)
    line = effective_rank(np.outer(np.arange(1, 9.0), [1, 2, 3, 4]))
    assert [getattr(line, n) for n in NUMBERS] == pytest.approx([1, 1, 1], rel=1e-5)
    assert all(1 <= low <= high <= 4 for low, high in line.intervals.values())


def test_turning_and_scaling_the_space_change_nothing():
    x = np.random.default_rng(0).normal(size=(50, 6)) * [9, 5, 3, 1, 1, 0.2] + 1
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(6, 6)))[0]
    for other in (x @ turn, 1e-9 * x, x[::-1], np.column_stack([x, np.zeros((50, 2))])):
        for name in NUMBERS:
            assert getattr(effective_rank(other), name) == pytest.approx(getattr(effective_rank(x), name), rel=1e-5)


def test_the_mean_counts_as_a_direction_unless_taken_away():
    x = with_singular_values(np.ones(5))
    far = effective_rank(x + 100)
    assert far.effective_rank < 1.3
    assert far.participation_ratio == pytest.approx(5)
    assert effective_rank(x + 100, centre=True).effective_rank == pytest.approx(5)


def test_the_three_are_ordered_and_rankme_tends_to_the_first():
    for seed in range(20):
        s = np.sort(np.random.default_rng(seed).exponential(size=8))[::-1]
        assert participation_ratio(s) <= entropy_rank(s) <= 8
        assert rankme(s, 0) == pytest.approx(entropy_rank(s))
        assert rankme(s) == pytest.approx(entropy_rank(s), rel=1e-5)
    assert np.isfinite(rankme(np.array([1.0, 0, 0])))


def test_white_noise_has_the_participation_ratio_of_the_marchenko_pastur_law():
    x = np.random.default_rng(0).normal(size=(400, 200))
    assert effective_rank(x, blocks=3).participation_ratio == pytest.approx(1 / (1 / 200 + 1 / 400), rel=0.02)
    assert spectrum(x)[0] == pytest.approx(np.sqrt(400) + np.sqrt(200), rel=0.05)


@pytest.mark.parametrize("rows", [40, 200])
def test_the_interval_covers_and_that_of_the_bootstrap_would_not(rows):
    from plait.measures.bootstrap import intervals

    scale = np.array([3, 2, 1, 1, 0.5, 0.5, 0.3, 0.1])
    rng = np.random.default_rng(0)
    drawn = [rng.normal(size=(rows, 8)) * scale for _ in range(300)]
    wanted = np.mean([participation_ratio(spectrum(x, centre=True)) for x in drawn])
    mean = np.mean([entropy_rank(spectrum(x)) for x in drawn])
    found = [effective_rank(x).intervals for x in drawn[:100]]
    assert np.mean([f["participation_ratio"][0] <= wanted <= f["participation_ratio"][1] for f in found]) >= 0.88
    assert np.mean([f["effective_rank"][0] <= mean <= f["effective_rank"][1] for f in found]) >= 0.88
    if rows == 40:
        wide = rng.normal(size=(rows, 60))
        low, high = intervals(lambda r: {"rank": entropy_rank(spectrum(wide[r]))}, rows, draws=50)["rank"]
        assert high < entropy_rank(spectrum(wide))
        low, high = effective_rank(wide).intervals["effective_rank"]
        assert low < entropy_rank(spectrum(wide)) <= high


def test_what_spans_nothing_is_refused():
    with pytest.raises(ValueError, match="are 0"):
        effective_rank(np.zeros((5, 3)))
    with pytest.raises(ValueError, match="are equal"):
        effective_rank(np.full((5, 3), 0.1))
    with pytest.raises(ValueError, match="at least 2 rows"):
        effective_rank(np.ones((1, 3)))
    with pytest.raises(ValueError, match="NaN"):
        effective_rank([[1.0, np.nan], [1, 2]])

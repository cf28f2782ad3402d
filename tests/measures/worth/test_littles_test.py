import numpy as np
import pytest

from plait.measures.worth.littles_test import littles_test, normal_fit

N = np.nan
SELECTION = np.array(
    [
        *[[78, 13, N], [84, 9, N], [84, 10, N], [85, 10, N], [87, N, N], [91, 3, N], [92, 12, N], [94, 3, N]],
        *[[94, 13, N], [96, N, N], [99, 6, 7], [105, 12, 10], [105, 14, 11], [106, 10, 15], [108, N, 10]],
        *[[112, 10, 10], [113, 14, 12], [115, 14, 14], [118, 12, 16], [134, 11, 12]],
    ]
)
"""IQ, well-being and job performance of 20 applicants: Enders, Applied missing data analysis, 2010, table 1.1."""


def bivariate(rows=80, seed=0):
    """Only the second column is missing, more often where the first is high."""
    rng = np.random.default_rng(seed)
    first = rng.normal(size=rows) * 3 + 5
    second = first + rng.normal(size=rows)
    return np.column_stack([first, np.where(first + rng.normal(size=rows) * 4 > 6, N, second)])


def normal(rows, seed, missing):
    rng = np.random.default_rng(seed)
    table = rng.normal(size=(rows, 4)) @ np.array([[1, 0.5, 0.2, 0], [0, 1, 0.4, 0], [0, 0, 1, 0.6], [0, 0, 0, 1]])
    return np.where(missing(table, rng), N, table)


def at_random(table, rng):
    return rng.random(table.shape) < 0.2


def by_the_first(table, rng):
    hidden = rng.random(table.shape) < 0.5 / (1 + np.exp(-2 * table[:, :1]))
    hidden[:, 0] = False
    return hidden


def test_published_value():
    found = littles_test(SELECTION)
    assert (round(found.statistic, 2), found.df, found.patterns) == (14.63, 5, 4)
    assert found.p == pytest.approx(0.012, abs=5e-4)


def test_with_one_incomplete_column_it_is_an_analysis_of_variance():
    """Then d2 = N r^2, r the correlation of the other column with being missing."""
    for seed in range(5):
        table = bivariate(seed=seed)
        r = np.corrcoef(table[:, 0], np.isnan(table[:, 1]))[0, 1]
        found = littles_test(table)
        assert found.df == 1
        assert found.statistic == pytest.approx(len(table) * r**2, rel=1e-6)


def test_the_fit_is_the_closed_form_where_one_column_is_incomplete():
    """Anderson, JASA 1957: the regression of complete rows, at the mean and variance of all rows."""
    table = bivariate()
    full = table[~np.isnan(table[:, 1])]
    inside = np.cov(full.T, bias=True)
    slope = inside[0, 1] / inside[0, 0]
    mean, covariance = normal_fit(table)
    assert mean[0] == pytest.approx(table[:, 0].mean())
    assert mean[1] == pytest.approx(full[:, 1].mean() + slope * (mean[0] - full[:, 0].mean()), rel=1e-6)
    assert covariance[0, 1] == pytest.approx(slope * table[:, 0].var(), rel=1e-6)
    rest = inside[1, 1] - slope * inside[0, 1]
    assert covariance[1, 1] == pytest.approx(rest + slope**2 * table[:, 0].var(), rel=1e-6)


def test_a_complete_table_says_nothing():
    table = normal(50, 0, lambda t, _: np.zeros(t.shape, bool))
    found = littles_test(table)
    assert (found.df, found.p, found.patterns) == (0, 1, 1)
    assert found.statistic == pytest.approx(0, abs=1e-12)
    assert found.covariance == pytest.approx(np.cov(table.T, bias=True))


def test_units_and_order_do_not_matter_and_rows_without_numbers_do_not_count():
    table = normal(100, 1, at_random)
    found = littles_test(table)
    other = littles_test(table[::-1, [2, 0, 3, 1]] * [10, 1e-3, -1, 7] + [0, 5, 1e3, -2])
    assert (other.df, other.statistic) == (found.df, pytest.approx(found.statistic, rel=1e-6))
    longer = littles_test(np.concatenate([table, np.full((20, 4), N)]))
    assert (longer.df, longer.statistic) == (found.df, pytest.approx(found.statistic))


def test_rejects_where_it_depends_on_what_is_seen():
    assert littles_test(normal(300, 2, by_the_first)).p < 1e-6


@pytest.mark.slow
def test_holds_its_level():
    p = np.array([littles_test(normal(300, seed, at_random)).p for seed in range(200)])
    assert np.mean(p < 0.05) == pytest.approx(0.05, abs=0.045)
    assert np.mean(p < 0.5) == pytest.approx(0.5, abs=0.11)


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (np.ones(5), "2 columns"),
        (np.full((9, 2), np.inf), "finite or NaN"),
        (np.ones((2, 3)), "more rows"),
        (np.column_stack([np.arange(9.0), np.full(9, N)]), "numbers in each"),
        (np.column_stack([np.arange(9.0), np.ones(9)]), r"\[1\] do not vary"),
        (np.column_stack([np.arange(9.0), np.arange(9.0) * 2]), "sum of others"),
    ],
)
def test_what_does_not_fit_is_refused(table, says):
    with pytest.raises(ValueError, match=says):
        littles_test(table)

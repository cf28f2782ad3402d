from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from scipy.stats import chi2, norm
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import PolynomialFeatures

from plait.data.sets.factors import factors, information
from plait.measures.information import interaction_estimate as module
from plait.measures.information.interaction_estimate import (
    held_out,
    interaction_estimate,
    network,
    penalised,
    permuted_null,
    quantised,
)
from plait.measures.information.partial_information import ATOMS, PartialInformation, decompose

Array = np.ndarray


def numbers(found: PartialInformation) -> list[float]:
    return [getattr(found, name) for name in ATOMS]


def made(rows: int, **knobs: Any) -> tuple[Array, Array, Array]:
    table = factors(rows=rows, modalities=2, **({"shared": 0, "unique": 0} | knobs))
    one, two = (np.concatenate(list(table.vectors(name)[1])) for name in "ab")
    return one, two, np.array(table.column("y").to_pylist())


def truth(**knobs: Any) -> list[float]:
    known = information(modalities=2, **({"shared": 0, "unique": 0} | knobs))["y"]
    return [known.redundant(), known.unique("a"), known.unique("b"), known.synergistic()]


class Products(GaussianNB):
    """Quick, and sees an XOR of two numbers."""

    def _seen(self, x: Array) -> Array:
        return PolynomialFeatures(2, interaction_only=True, include_bias=False).fit_transform(x)

    def fit(self, x: Array, y: Array, sample_weight: Array | None = None) -> Products:
        return super().fit(self._seen(x), y, sample_weight)

    def predict_proba(self, x: Array) -> Array:
        return super().predict_proba(self._seen(x))


@pytest.mark.parametrize(
    "knobs",
    [
        {"synergy": 1},
        {"shared": 1},
        {"unique": 1},
        pytest.param({"shared": 1, "unique": 1, "synergy": 1}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_planted_bits_are_found_within_a_twentieth_of_a_bit(knobs: dict[str, int]) -> None:
    found = interaction_estimate(*made(5000, noise=0.2, **knobs), draws=10)
    assert numbers(found) == pytest.approx(truth(**knobs), abs=0.05)
    assert found.null < 0.1


def test_a_noisy_shared_bit_is_as_unique_as_integration_says() -> None:
    """A bit at -1 or 1 under noise of deviation .5 and .8: the densities on a fine grid are the oracle."""
    edges = np.linspace(-4, 4, 41)
    one, two = (
        np.stack([np.diff(norm.cdf(edges, at, deviation)) for at in (-1, 1)], 1) / 2 for deviation in (0.5, 0.8)
    )
    expected = decompose(2 * np.einsum("ay,by->aby", one, two))
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 5000)
    x1, x2 = ((2 * y - 1 + deviation * rng.normal(size=5000))[:, None] for deviation in (0.5, 0.8))
    found = interaction_estimate(x1, x2, y, classifier=lambda seed: GaussianNB(), draws=20)
    assert numbers(found) == pytest.approx(numbers(expected), abs=0.05)
    assert expected.unique_first > 0.2
    assert expected.synergistic > 0.05
    low, high = found.intervals["unique_first"]
    assert low - 0.02 <= expected.unique_first <= high + 0.02


def test_noise_in_few_rows_is_refused_and_in_many_says_nothing() -> None:
    rng = np.random.default_rng(0)
    quick = lambda seed: Products()
    noise = lambda size: (rng.normal(size=(size, 3)), rng.normal(size=(size, 3)), rng.integers(0, 2, size))
    with pytest.raises(ValueError, match="100 rows are too few for 2 classes"):
        interaction_estimate(*noise(100))
    found = interaction_estimate(*noise(2000), classifier=quick, draws=10)
    assert max(numbers(found)) < 0.015
    assert found.null < 0.1


def test_refused_also_where_only_the_cells_that_were_found_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 300)
    nulls = iter([0.01, 0.2])
    monkeypatch.setattr(module, "permuted_null", lambda *_: next(nulls))
    with pytest.raises(ValueError, match=r"0\.200 bits"):
        interaction_estimate(y[:, None], y[:, None], y, classifier=lambda seed: GaussianNB())


def test_null_is_that_of_independence() -> None:
    rng = np.random.default_rng(0)
    told, y = rng.integers(0, 8, 2000), rng.integers(0, 3, 2000)
    expected = chi2.ppf(0.95, 7 * 2) / (2 * 2000 * np.log(2))
    assert permuted_null(told, y, np.ones(2000), None, 0) == pytest.approx(expected, rel=0.15)
    # labels that mean all there is have the same null as labels that mean nothing
    assert permuted_null(y, y, np.ones(2000), None, 0) < 0.01
    # ten copies of each row are no more than one
    groups = np.arange(200).repeat(10)
    many = permuted_null(told[:200].repeat(10), y[:200].repeat(10), np.ones(2000), groups, 0)
    assert many == pytest.approx(permuted_null(told[:200], y[:200], np.ones(200), None, 0), rel=0.2)


def test_no_row_is_judged_by_a_classifier_that_knows_it() -> None:
    """A nearest neighbour repeats what it has seen, so noise would be known for certain."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(600, 2)), rng.integers(0, 2, 600)
    nearest = lambda seed: KNeighborsClassifier(1)
    assert np.mean(held_out(x, y, None, None, nearest, 3, 0).argmax(1) == y) < 0.6
    twice = [np.concatenate([part, part]) for part in (x, y)]
    groups = np.tile(np.arange(600), 2)
    assert np.mean(held_out(*twice, None, None, nearest, 3, 0).argmax(1) == twice[1]) > 0.7
    assert np.mean(held_out(*twice, None, groups, nearest, 3, 0).argmax(1) == twice[1]) < 0.6


def test_cells_hold_rows_with_like_answers() -> None:
    answers = np.repeat([[0.1, 0.9], [0.5, 0.5], [0.9, 0.1]], 5, 0)
    assert [len(set(part)) for part in np.split(quantised(answers, 8, 0), 3)] == [1, 1, 1]
    assert len(set(quantised(answers, 8, 0))) == 3
    p = np.random.default_rng(0).random((500, 1))
    told = quantised(np.concatenate([p, 1 - p], 1), 10, 0)
    assert len(set(told)) == 10
    assert max(np.ptp(p[told == cell]) for cell in range(10)) < 0.25


def test_the_units_of_a_representation_do_not_matter() -> None:
    one, two, y = (part[:400] for part in made(2000, noise=0.5, shared=1))
    options = {"classifier": lambda seed: Products(), "draws": 5, "cells": 6}
    plain = interaction_estimate(one, two, y, **options)
    moved = interaction_estimate(100 + 7 * one, two / 50, np.array(["no", "yes"])[y.astype(int)], **options)
    assert numbers(moved) == pytest.approx(numbers(plain), abs=0.02)


def selected(size: int) -> tuple[Array, Array, Array, Array]:
    """A bit, seen with 10 % errors; a row is likelier to be in the sample if what is seen is wrong."""
    rng = np.random.default_rng(3)
    y = rng.integers(0, 2, size)
    wrong = rng.random(size) < 0.1
    rate = np.where(wrong, 1.0, 0.3)
    kept = rng.random(size) < rate
    one = (y ^ wrong)[:, None] + 0.01 * rng.normal(size=(size, 1))
    return one[kept], rng.normal(size=(kept.sum(), 1)), y[kept], 1 / rate[kept]


def test_weights_undo_a_selection_and_equal_ones_change_nothing() -> None:
    one, two, y, weights = selected(8000)
    known = 1 + 0.1 * np.log2(0.1) + 0.9 * np.log2(0.9)
    options = {"classifier": lambda seed: GaussianNB(), "draws": 10}
    plain = interaction_estimate(one, two, y, **options)
    weighted = interaction_estimate(one, two, y, weights=weights, **options)
    assert weighted.unique_first == pytest.approx(known, abs=0.03)
    assert plain.unique_first < known - 0.1
    assert weighted.rows < len(y) == plain.rows
    same = interaction_estimate(one, two, y, weights=np.full(len(y), 4.0), **options)
    assert numbers(same) == pytest.approx(numbers(plain), abs=1e-9)


def test_the_network_takes_weights_and_repeats_itself() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 2))
    y = (x[:, 0] * x[:, 1] > 0).astype(int)
    one, two = (network(1).fit(x, y, sample_weight=np.ones(200)).predict_proba(x) for _ in range(2))
    assert (one == two).all()


@pytest.mark.parametrize("rows", [250, 1000])
def test_wide_columns_of_few_rows_are_not_drowned_by_narrow_ones_of_noise(rows: int) -> None:
    """Half of the parity is the first of 32 columns, which get narrower and narrower: all is told only together."""
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2, (rows, 2))
    one = rng.normal(size=(rows, 32)) * np.linspace(0.4, 0.02, 32)
    one[:, 0] += 2.0 * bits[:, 0] - 1
    two = 2.0 * bits[:, 1:] - 1 + 0.2 * rng.normal(size=(rows, 1))
    options = {"classifier": penalised, "standardise": False, "cells": 8, "draws": 10}
    found = interaction_estimate(2 * one, 2 * two, bits[:, 0] ^ bits[:, 1], **options)
    assert found.synergistic > 0.8
    assert max(found.redundant, found.unique_first, found.unique_second) < 0.1


def test_columns_are_given_as_they_are_only_if_asked() -> None:
    class Seen(GaussianNB):
        def fit(self, x: Array, y: Array, sample_weight: Array | None = None) -> Seen:
            widths.append(x.std(0))
            return super().fit(x, y)

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(600, 2)) * [5.0, 0.1], rng.integers(0, 2, 600)
    for standardise, expected in ((True, [1, 1]), (False, [5, 0.1])):
        widths: list[Array] = []
        held_out(x, y, None, None, lambda seed: Seen(), 3, 0, standardise)
        assert np.mean(widths, 0) == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("classes", [2, 3])
def test_what_is_refused_has_more_than_is_let_pass_as_it_is_told(classes: int) -> None:
    rng = np.random.default_rng(0)
    said = set()
    for rows in range(60, 400, 20):
        y = np.arange(rows) % classes
        try:
            interaction_estimate(
                y[:, None], rng.normal(size=(rows, 1)), y, classifier=lambda seed: GaussianNB(), draws=0
            )
        except ValueError as error:
            said.add(float(str(error).split(" bits")[0].split()[-1]))
    assert min(said) > module.NULL


def test_account_is_plain_and_atoms_add_up() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 800)
    one = y[:, None] + rng.normal(size=(800, 2))
    found = interaction_estimate(one, rng.normal(size=(800, 1)), y, classifier=lambda seed: GaussianNB(), draws=5)
    again = json.loads(json.dumps(found.account()))
    assert again["null"] == found.null
    assert sum(numbers(found)) == pytest.approx(found.together())
    assert min(numbers(found)) >= 0


def test_what_is_refused() -> None:
    x, y = np.zeros((6, 2)), np.array([0, 1, 0, 1, 0, 1])
    with pytest.raises(ValueError, match="finite vectors"):
        interaction_estimate(np.full((6, 2), np.nan), x, y)
    with pytest.raises(ValueError, match="finite vectors"):
        interaction_estimate(x[:, 0], x, y)
    with pytest.raises(ValueError, match="equally many rows"):
        interaction_estimate(x, x[:5], y)
    with pytest.raises(ValueError, match="fewer than the 3 folds"):
        interaction_estimate(x, x, np.array([0, 1, 0, 1, 0, 0]))
    with pytest.raises(ValueError, match="two classes"):
        interaction_estimate(x, x, np.zeros(6))
    with pytest.raises(ValueError, match="too few for 2 classes"):
        interaction_estimate(x, x, y)
    with pytest.raises(ValueError, match="positive weight"):
        interaction_estimate(x, x, y, weights=-np.ones(6))

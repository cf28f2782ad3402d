from __future__ import annotations

import math

import numpy as np
import pytest
import scripts

from plait.catalogue.verdict import of_rows

stamps = scripts.load("benchmarks/stamps.py")


def test_rows_are_averaged_over_repeats_before_they_are_compared() -> None:
    figures = stamps.Figures([0.25, 0.25])
    for first, second in (([1, 0, 1], [0, 0, 1]), ([1, 1, 1], [0, 0, 0])):
        figures.add_rows("one", np.arange(3), np.array(first))
        figures.add_rows("two", np.arange(3), np.array(second))
    groups = np.array(["a", "b", "b"])
    expected = of_rows(np.array([1.0, 0.5, 0.5]), groups)
    low, high = expected.interval
    told = {"mean": expected.difference, "low": low, "high": high, "resolution": expected.seen_from()}
    assert figures.by_rows("one", "two", groups) == pytest.approx(told)
    assert figures.mean("one") == pytest.approx(5 / 6)


def test_folds_are_compared_as_nadeau_and_bengio_do() -> None:
    figures = stamps.Figures([0.25] * 5)
    for d in (0.01, 0.03, 0.02, 0.05, 0.04):
        figures.add("one", 0.5 + d)
        figures.add("two", 0.5)
    found = figures.by_folds("one", "two")
    # s^2 = 0.00025; t(.975, 4) = 2.776445; 1 / 5 + 1 / 4 = 0.45
    half = 2.776445 * math.sqrt(0.00025 * 0.45)
    assert found == pytest.approx({"mean": 0.03, "low": 0.03 - half, "high": 0.03 + half}, rel=1e-5)


def test_one_fold_has_no_interval() -> None:
    figures = stamps.Figures([0.25])
    figures.add("one", 0.5)
    figures.add("two", 0.4)
    assert math.isnan(figures.by_folds("one", "two")["low"])


def test_ridge_finds_a_linear_map() -> None:
    rng = np.random.default_rng(0)
    images = rng.normal(size=(120, 6)).astype(np.float32)
    captions = (images @ rng.normal(size=(6, 4))).astype(np.float32)

    class Job:
        rich = {"image": (images, np.ones(120, bool)), "caption": (captions, np.ones(120, bool))}

    class Bench:
        same_caption = np.arange(120)

        @staticmethod
        def deal(rows, k, seed):
            for part in np.array_split(rows, k):
                yield np.setdiff1d(rows, part), part

    learn, judge = np.arange(80), np.arange(80, 120)
    *sides, penalty = stamps.ridge(Bench, Job, learn, judge, 0)
    assert penalty == min(stamps.PENALTIES)
    assert stamps.recalls(Bench, judge, *sides)["recall@1"].mean() > 0.9


def test_blocks_have_equal_energy_whatever_their_width() -> None:
    rng = np.random.default_rng(0)
    present = rng.random(200) < 0.7

    class Job:
        rich = {
            "image": (5 + 3 * rng.normal(size=(200, 40)), np.ones(200, bool)),
            "caption": (present[:, None] * rng.normal(size=(200, 7)), present),
        }

    blocks = stamps.balanced_blocks(Job, np.arange(200))
    assert np.square(blocks[:, :40]).sum(1).mean() == pytest.approx(1, rel=1e-4)
    assert np.square(blocks[present, 40:]).sum(1).mean() == pytest.approx(1, rel=1e-4)
    assert not blocks[~present, 40:].any()

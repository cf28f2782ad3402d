"""The rules of a check keep their promises on simulated tables, and those that it must not use visibly break theirs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import scripts
from scipy.stats import binom

protocol = scripts.load("benchmarks/protocol.py")
BATCHES, CHANCE = 16, 1e-3
"""320 tables for each scenario; how unlikely a rate must be under a promise to break it."""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def rates() -> Callable[[str], list[protocol.Rate]]:
    seen: dict[str, list[protocol.Rate]] = {}

    def of(name: str) -> list[protocol.Rate]:
        if name not in seen:
            seen[name] = protocol.SCENARIOS[name](BATCHES)
        return seen[name]

    return of


def breaks(one: protocol.Rate) -> bool:
    """Whether it was said more often than it may be."""
    return binom.sf(round(one.found * one.of) - 1, one.of, one.nominal) < CHANCE


def share(found: list[protocol.Rate], rule: str, said: str) -> float:
    (one,) = (one for one in found if one.rule.startswith(rule) and one.said.startswith(said))
    return one.found


@pytest.mark.parametrize("name", protocol.SCENARIOS)
def test_promises_are_kept_and_what_is_forbidden_breaks_them(name, rates, capsys):
    found = rates(name)
    with capsys.disabled():
        print(f"\n{protocol.printed(found)}")
    for one in found:
        assert one.of >= 300, one
        if one.expected:
            assert breaks(one) == (one.expected == "broken"), one


@pytest.mark.parametrize("pair", [(protocol.WHOLE, protocol.WHOLE), protocol.VIEWS, protocol.PLAIN])
def test_what_counts_as_equal_is_equal(pair):
    assert abs(protocol.truth(pair)) < 0.002


def test_what_does_nothing_passes_until_somebody_asks_if_it_is_alive(rates):
    found = rates("inert")
    assert share(found, "does nothing", "not lower holds") > 0.4
    assert share(found, "does nothing", "holds and alive") == 0
    assert share(found, "does something", "holds and alive") > 0.4


def test_what_is_better_or_worse_is_found(rates):
    better, worse = rates("better"), rates("worse")
    assert share(better, "rows", "higher holds") > 0.85
    assert share(better, "20 fresh draws, gains only where planted", "holds") > 0.8
    assert share(worse, "rows", "higher contradicted") > 0.95
    assert share(better, "rows", "higher holds") > share(better, "folds", "higher holds")


def test_one_baseline_moves_many_claims_together(rates):
    one, own = (float(one.said.rpartition("+-")[2]) for one in rates("shared"))
    assert one > 1.5 * own


def test_the_factor_of_row_intervals_is_needed_and_enough():
    """Without it they miss the truth too often; with it they do not, and are narrower than those of folds."""
    views, seeds = (protocol.width(arms, 600, 4, BATCHES) for arms in ("exchangeable, linear", "other seeds"))
    assert binom.sf(round(views.plain * views.of) - 1, views.of, 0.05) < CHANCE
    for one in (views, seeds):
        assert one.needed < protocol.OVERLAP
        assert binom.sf(round(one.check * one.of) - 1, one.of, 0.05) > CHANCE
    assert seeds.share < 0.6


def test_trainings_that_fail_are_seen_by_folds_and_not_by_rows():
    found = protocol.width("a training in ten fails", 600, 4, BATCHES)
    assert found.rows > 0.2
    assert found.check < found.rows / 2
    steady = protocol.width("other seeds", 600, 4, BATCHES)
    assert steady.check == pytest.approx(steady.rows, abs=0.01)

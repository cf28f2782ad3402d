"""What must be right before a difference may become a verdict.

A gate that fails makes the verdict `unclear`, and is named as the reason.  `strong` matters only to a claim that would
hold, `control` only to one that would be contradicted.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from plait.core.random import key
from plait.core.recipe import Recipe
from plait.workflow.defaults import resolve
from plait.workflow.nested import Judged
from plait.workflow.trials import Outcome, Trial, run_all

from .entry import AtLeast, Entry
from .grounds import Ground
from .panel import told_by_one
from .verdict import Estimate, judge

Array = np.ndarray[Any, np.dtype[Any]]
Expect = str | AtLeast
Against = Callable[[str], Estimate]
CHANGED = 1e-4
"""By how much a probability or an embedding's rank must move to count as another prediction."""
ALIVE = 0.01
"""Share of the rows that a mechanism changes, at least."""
DISCORDANT = 10
"""Groups on which the arms differ, at least."""
LARGE = 0.10
"""Difference from which on a leak is looked for."""
GIVEN_AWAY = 0.99
"""Share of test rows whose label a single number says: it is the label."""
TESTS = Path(__file__).parents[3] / "tests"
"""Beside the sources; an installed package has none."""


@dataclass(frozen=True)
class Gate:
    """passed: None where it was not needed or cannot be said.  seen: what was found, in words."""

    passed: bool | None
    seen: str

    def account(self) -> dict[str, Any]:
        return {"passed": self.passed, "seen": self.seen}


def mechanism(entry: Entry) -> Gate:
    """The tests of the components that carry the entry pass."""
    if not TESTS.exists():
        return Gate(None, "the tests are not at hand")
    paths = []
    for component in entry.carried_by.split(","):
        room, _, name = component.strip().rpartition("/")
        own = TESTS / room / f"test_{name}.py"
        paths.append(own if own.exists() else own.parent)
    passed, said = _tests(tuple(sorted(str(path) for path in set(paths))))
    return Gate(passed, said)


@lru_cache(maxsize=64)
def _tests(paths: tuple[str, ...]) -> tuple[bool, str]:
    command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", "--no-header", *paths]
    # One thread, as `make test` has it.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=TESTS.parent, capture_output=True, text=True, env=environment, check=False)
    last = next((line for line in reversed(done.stdout.splitlines()) if " in " in line), done.stderr.strip())
    return done.returncode == 0, last.strip("= ").partition(" in ")[0]


def alive(entry: Entry, ground: Ground, arms: dict[str, Recipe], measure: str, tag: tuple[Any, ...]) -> Gate:
    """Turned off, the arms train to the same bits; as they are, predictions differ on at least 1 % of the rows."""
    place, seed = ground.grounds.units[0].place, key(*tag, "alive") % 2**31
    off = entry.disabled
    asked: list[Recipe] = [arms["method"], arms["baseline"]]
    if off is not None:
        asked += [resolve(ground.grounds.schema, arms["method"], off.recipe)]
        asked += [resolve(ground.grounds.schema, arms["baseline"], off.baseline)]
    found = [outcomes[0] for outcomes in run_all([[Trial(place, recipe, measure, seed)] for recipe in asked])]
    share = float(np.mean(moved(found[0], found[1], CHANGED)))
    seen = f"predictions differ on {share:.0%} of the rows"
    if off is None:
        return Gate(share >= ALIVE, f"{seen}; the arms are built differently, nothing turns one into the other")
    same = not bool(np.any(moved(found[2], found[3], 0.0)))
    seen += f"; turned off, the arms are {'equal bit for bit' if same else 'not equal'}"
    return Gate(share >= ALIVE and same, seen)


def differs(one: Outcome, other: Outcome, by: float) -> Array:
    """[n] bool: rows whose measure, or what is decided for them if the measure has no rows, differs by more than `by`.

    Probabilities always differ a little; that shows in no measure of decisions.
    """
    first, second = ((_decided(o.predicted) if o.rows is None else o.rows) for o in (one, other))
    return _apart(first, second, by)


def _decided(predicted: Array | None) -> Array | None:
    """[n, ...]: the class, or the labels that are likelier than not, of probabilities; numbers and risks themselves."""
    if predicted is None or predicted.ndim < 2:
        return predicted
    return predicted.argmax(1) if np.allclose(predicted.sum(1), 1, atol=1e-3) else predicted >= 0.5


def moved(one: Outcome, other: Outcome, by: float) -> Array:
    """[n] bool: rows whose prediction, or what is found for them where embeddings are judged, differs by more."""
    first, second = ((o.rows if o.predicted is None else o.predicted) for o in (one, other))
    return _apart(first, second, by)


def _apart(one: Array | None, other: Array | None, by: float) -> Array:
    if one is None or other is None:
        raise ValueError("an outcome has neither predictions nor values of rows")
    gap = np.abs(np.nan_to_num(one.astype(np.float64)) - np.nan_to_num(other.astype(np.float64)))
    return np.asarray(gap.reshape(len(gap), -1).max(1) > by)


def trained(judged: dict[str, Judged]) -> Gate:
    """Everything is finite, no best epoch is the last, and no chosen setting lies at the end of its range."""
    wrong = []
    for name, arm in judged.items():
        outcomes = [outcome for unit in arm.finals for outcome in unit]
        if not all(outcome.finite for outcome in outcomes):
            wrong.append(f"{name} diverged in {sum(not outcome.finite for outcome in outcomes)} of {len(outcomes)}")
        late = sum(outcome.best is not None and outcome.best[0] == outcome.best[1] for outcome in outcomes)
        if late > len(outcomes) / 2:
            wrong.append(f"the best epoch of {name} is the last one in {late} of {len(outcomes)}")
        if arm.search.edges:
            wrong.append(f"{name} is best at the end of {', '.join(arm.search.edges)}")
    return Gate(not wrong, "; ".join(wrong) or "finite, and no setting at the end of its range")


def headroom(value: float, margin: float, discordant: int, better: str, bounded: bool) -> Gate:
    """There is something to gain, and enough groups in which the arms differ."""
    room = 1 - value if better == "higher" else value
    enough = not bounded or room >= 2 * margin
    seen = f"the baseline leaves {room:.3f}, and the arms differ in {discordant} groups"
    return Gate(enough and discordant >= DISCORDANT, seen)


def self_null(noise: float | None, margin: float) -> Gate:
    """The baseline against itself with other seeds differs by less than what counts as a difference.

    noise: what the difference of two such baselines stays below in 19 of 20 cases; None where each unit has a seed and
    data of its own.
    """
    if noise is None:
        return Gate(None, "each draw has a seed of its own, so the interval says it")
    return Gate(noise < margin, f"two baselines of other seeds differ by up to {noise:.3f}")


def leak(difference: float, ground: Ground, recipe: Recipe, measure: str, tag: tuple[Any, ...]) -> Gate:
    """Where the difference is large: no group on both sides, no label among the features, and permuted ones teach
    nothing.
    """
    if abs(difference) <= LARGE:
        return Gate(None, "not needed: the difference is small")
    place = ground.grounds.units[0].place
    learned = np.concatenate([place.train, place.validation])
    if not ground.made and set(ground.groups[learned]) & set(ground.groups[place.test]):
        return Gate(False, "a group is on both sides of a fold")
    if not measure.startswith("test/"):
        return Gate(None, "what is retrieved is not judged by labels")
    table = place.load()
    name, target = next(iter(table.schema.targets.items()))
    if target.kind != "class":
        return Gate(None, f"labels of kind {target.kind} are not permuted")
    if not ground.made and (known := told_by_one(place)) > GIVEN_AWAY:
        return Gate(False, f"one number of a row alone gives the label of {known:.3f} of the test rows away")
    trial = Trial(place, recipe, measure, key(*tag, "leak") % 2**31, final=True, shuffled=True)
    outcome = next(run_all([[trial]]))[0]
    assert outcome.predicted is not None
    rows, codes = table.targets(name)
    truth = np.full(len(table), -1)
    truth[rows] = codes
    truth = truth[place.test]
    right = float((outcome.predicted.argmax(1) == truth)[truth >= 0].mean())
    chance = float(np.bincount(truth[truth >= 0]).max() / (truth >= 0).sum())
    most = chance + 3 * float(np.sqrt(chance * (1 - chance) / (truth >= 0).sum()))
    return Gate(right <= most, f"with permuted labels {right:.3f} are right, the most frequent class is {chance:.3f}")


def strong(value: float, panel: dict[str, float], margin: float, expect: Expect, against: Against) -> Gate:
    """The claim's baseline is not clearly worse than the best simple one, or the claim holds against that one, too.

    value: what the baseline has.  panel: what each simple one has.  against: a simple one -> what the method has more.
    """
    sign = -1.0 if expect == "lower" else 1.0
    best = max(panel, key=lambda name: sign * panel[name])
    seen = f"the baseline has {value:.3f}, the best of the panel {panel[best]:.3f} ({best})"
    if sign * (panel[best] - value) <= margin:
        return Gate(True, seen)
    if isinstance(expect, AtLeast) or expect == "equal":
        return Gate(False, seen)
    found = against(best)
    low, high = found.interval
    held = judge(found, expect, margin)[0] == "holds"
    return Gate(held, f"{seen}, from which the method differs by {found.difference:+.3f} [{low:+.3f}, {high:+.3f}]")


def control(gained: bool) -> Gate:
    """Whether the method gains on planted data, where nobody doubts that it can."""
    return Gate(gained, "on planted data it " + ("gains" if gained else "was not seen to gain"))


def failed(gates: dict[str, Gate], needed: Sequence[str]) -> str | None:
    """The first needed gate that did not pass."""
    return next((name for name in needed if gates[name].passed is False), None)

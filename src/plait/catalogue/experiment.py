"""Checking what is claimed of a measure: no network is trained, so there is nothing to tune, and no panel to beat.

Planted claims are judged as all are, over 20 fresh draws where the condition is on, against the same draws where it is
off; exact ones by what one computation gives.
"""

from __future__ import annotations

import importlib
import pkgutil
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from plait.core.errors import RecipeError, nearest
from plait.core.random import key
from plait.workflow.aside import aside
from plait.workflow.prepare import Progress, silent

from . import experiments, gates, verdict
from .entry import AtLeast, Claim, Data, Entry
from .grounds import DRAWS
from .record import Checked, Tag, both_parts, gains, margin_of, p_of, recorded
from .tables import table
from .verdict import Estimate, Word

Array = np.ndarray[Any, np.dtype[Any]]


def check(entry: Entry, name: str, at: int, attempt: int, *, progress: Progress = silent) -> Checked:
    """Check a measure's claim number `at`.  RecipeError if its experiment is not there."""
    claim, began = entry.claims[at], time.perf_counter()
    found, arms, off = _found(claim, (name, at, attempt), progress)
    word, reason, parts = _word(claim, found, off)
    mechanism = gates.mechanism(entry)
    checked = {"mechanism": mechanism}
    if claim.kind == "planted":
        checked["control"] = gates.control(gains(claim, found))
    needed = ["mechanism", *(["control"] if word == "contradicted" and claim.kind == "planted" else [])]
    if word != "unclear" and (stopped := gates.failed(checked, needed)) is not None:
        word, reason = "unclear", f"gate {stopped}"
    record = recorded(claim, attempt, word, reason, found, {k: g.account() for k, g in checked.items()}, began)
    if claim.kind == "exact":
        return Checked(record)
    record |= {
        "margin": margin_of(claim),
        "p": p_of(claim, found),
        "units": len(arms),
        "method": float(arms[:, 0].mean()),
        "baseline": float(arms[:, 1].mean()),
        "notes": [],
        **parts,
    }
    return Checked(record, {f"{at}/method": arms[:, 0], f"{at}/baseline": arms[:, 1]})


def again(entry: Entry, name: str, at: int, attempt: int, progress: Progress = silent) -> dict[str, Any]:
    """The claim's word with fresh draws."""
    claim = entry.claims[at]
    found, _, off = _found(claim, (name, at, attempt), progress)
    word, reason, _ = _word(claim, found, off)
    return {"data": claim.data, "verdict": word, "reason": reason, **found.account()}


def confirmed(entry: Entry, name: str, at: int, record: Mapping[str, Any], kept: Mapping[str, Array]) -> bool:
    """Whether today's code gives what was recorded: of an exact claim, or of a planted one's first draw."""
    claim = entry.claims[at]
    if claim.kind == "exact":
        return bool(np.isclose(_function(claim)(), record["difference"], rtol=1e-6, atol=1e-9))
    drawn = _drawn(claim.data, claim, (name, at, record["attempt"]), 0)
    return bool(np.allclose(drawn, [kept[f"{at}/method"][0], kept[f"{at}/baseline"][0]], rtol=1e-3, atol=1e-3))


def _found(claim: Claim, tag: Tag, progress: Progress) -> tuple[Estimate, Array, Estimate | None]:
    """-> the difference, both numbers of every draw [U, 2], and how much more it is than where the condition is off."""
    if claim.kind == "exact":
        return Estimate(float(_function(claim)()), 0.0, 1), np.zeros((0, 2)), None
    assert claim.without is not None
    jobs = [partial(_drawn, data, claim, tag, u) for data in (claim.data, claim.without) for u in range(DRAWS)]
    values = []
    with aside(jobs) as results:
        for value in results:
            values.append(value)
            progress("draws", len(values), len(jobs))
    on, off = np.split(np.array(values), 2)
    gap = on[:, 0] - on[:, 1]
    return verdict.of_runs(gap), on, verdict.of_runs(gap - (off[:, 0] - off[:, 1]))


def _drawn(data: Data, claim: Claim, tag: Tag, u: int) -> tuple[float, float]:
    """One draw; both regimes have the same seeds, so nothing but the condition differs."""
    seed = key(*tag, "draw", u) % 2**31
    method, baseline = _function(claim)(partial(table, data, seed=seed), seed)
    return float(method), float(baseline)


def _function(claim: Claim) -> Callable[..., Any]:
    name, _, function = str(claim.by).partition(".")
    if name not in (known := [module.name for module in pkgutil.iter_modules(experiments.__path__)]):
        raise RecipeError(f"{claim.by}: there is no experiment {name!r}.{nearest(name, known)}")
    module = importlib.import_module(f"{experiments.__name__}.{name}")
    if not hasattr(module, function):
        raise RecipeError(f"{claim.by}: the experiment has no function {function!r}.{nearest(function, dir(module))}")
    found: Callable[..., Any] = getattr(module, function)
    return found


def _word(claim: Claim, found: Estimate, more: Estimate | None) -> tuple[Word, str, dict[str, Any]]:
    if isinstance(claim.expect, AtLeast):
        return (*verdict.reaches(found, claim.expect.at_least), {})
    if more is None:
        return (*verdict.judge(found, claim.expect, margin_of(claim)), {})
    word, reason, second = both_parts(claim, found, more)
    return word, reason, {"without": {"data": claim.without}, "more": second}

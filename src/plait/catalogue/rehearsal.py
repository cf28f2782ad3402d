"""A first look at planted claims while an entry is written: on draws that no check uses, and nothing is recorded.

Both arms are trained as they stand.  A condition under which the method is not seen to gain here seldom gains when both
are tuned, so data can be chosen in a minute, and are then judged on draws that had no say in the choice.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from plait.core.errors import RecipeError
from plait.workflow.defaults import resolve
from plait.workflow.nested import Arm, final
from plait.workflow.prepare import Progress, silent
from plait.workflow.trials import run_all

from . import entry as entries
from . import verdict
from .check import BOTH
from .entry import Claim, Data, Entry
from .grounds import DRAWS, ground

Array = np.ndarray[Any, np.dtype[Any]]
FEWEST = 2


def rehearse(name: str, draws: int, *, progress: Progress = silent) -> dict[str, Any]:
    """{name, draws, claims: [...]}: how far an entry's arms are apart where each planted claim's condition is on, and
    off.

    draws: of each condition, 2 to 20.  RecipeError if there is no such entry, if it has no planted claim or no arms, or
    for another number of draws.
    """
    entry = entries.load(name)
    planted = [at for at, claim in enumerate(entry.claims) if claim.kind == "planted"]
    if entry.measures or not planted:
        why = "trains no two arms" if entry.measures else "has no planted claim"
        raise RecipeError(f"{name} {why}, so there is nothing to rehearse.")
    if not FEWEST <= draws <= DRAWS:
        raise RecipeError(f"A rehearsal has {FEWEST} to {DRAWS} draws, not {draws}.")
    claims = [_rehearsed(entry, entry.claims[at], ("rehearsal", name, at), draws, progress) for at in planted]
    return {"name": name, "draws": draws, "claims": claims}


def _rehearsed(entry: Entry, claim: Claim, tag: tuple[Any, ...], draws: int, progress: Progress) -> dict[str, Any]:
    assert claim.without is not None
    on, off = (_values(entry, claim, data, tag, draws, progress) for data in (claim.data, claim.without))
    return {
        "says": claim.says,
        "measure": claim.measure,
        "on": {"data": claim.data, **_told(on)},
        "off": {"data": claim.without, **_told(off)},
        "more": verdict.of_runs(on[0] - on[1] - (off[0] - off[1])).account(),
    }


def _values(entry: Entry, claim: Claim, data: Data, tag: tuple[Any, ...], draws: int, progress: Progress) -> Array:
    """[2, draws] the measure of the method and of the baseline."""
    where = ground(data, tag)
    arms = [
        Arm(arm, resolve(where.grounds.schema, recipe, where.settings))
        for arm, recipe in zip(BOTH, (entry.recipe, entry.baseline), strict=True)
    ]
    jobs = [[final(where.grounds, arm, (), claim.measure, tag, u, 0)] for arm in arms for u in range(draws)]
    found = []
    for (outcome,) in run_all(jobs):
        found.append(outcome.value)
        progress("trials", len(found), len(jobs))
    return np.reshape(found, (2, draws))


def _told(values: Array) -> dict[str, Any]:
    method, baseline = values.mean(1)
    found = verdict.of_runs(values[0] - values[1])
    return {"method": float(method), "baseline": float(baseline), **found.account()}

"""What is recorded of a claim, whoever checked it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from . import verdict
from .entry import AtLeast, Claim
from .tables import named
from .verdict import Estimate, Word

Array = np.ndarray[Any, np.dtype[Any]]
MARGIN, MARGINS = 0.02, {"genes": 0.05}
"""What counts as a difference, and where another one does."""
AGAIN = 1_000
"""Attempts from here on are replications."""
Tag = tuple[str, int, int]
"""Entry, number of the claim, attempt: from which all seeds come."""


@dataclass
class Checked:
    """One claim's record.  arrays: per claim what is kept of single rows, for the file beside the record."""

    record: dict[str, Any]
    arrays: dict[str, Array] = field(default_factory=dict)


def margin_of(claim: Claim) -> float:
    """What counts as a difference."""
    return claim.margin or MARGINS.get(named(claim.data)[0], MARGIN)


def gains(claim: Claim, found: Estimate) -> bool:
    """Whether the whole interval lies where the claim would have it."""
    low, high = found.interval
    return high < 0 if claim.expect == "lower" else low > 0


def both_parts(claim: Claim, found: Estimate, more: Estimate) -> tuple[Word, str, dict[str, Any]]:
    """-> verdict of a planted claim, reason, its second part's record.

    found: the difference where its condition is on; more: how much more that is than where it is off.
    """
    assert not isinstance(claim.expect, AtLeast)
    margin = margin_of(claim)
    (word, reason), (second, why) = (verdict.judge(part, claim.expect, margin) for part in (found, more))
    record = {**more.account(), "verdict": second}
    both = verdict.together([word, second])
    return both, "" if both != "unclear" else reason or f"{why} against where its condition is off", record


def recorded(
    claim: Claim, attempt: int, word: Word, reason: str, found: Estimate, checked: dict[str, Any], began: float
) -> dict[str, Any]:
    """What the evidence has of every claim."""
    name, knobs = named(claim.data)
    regime = ", ".join(f"{knob} {value}" for knob, value in knobs.items()) or "as it is"
    return {
        "says": claim.says,
        "kind": claim.kind,
        "data": name,
        "regime": regime if claim.searched == "data" else f"{regime}; settings found where it is off",
        "measure": claim.measure,
        "expect": claim.expect if isinstance(claim.expect, str) else f"at least {claim.expect.at_least}",
        "verdict": word,
        "reason": reason,
        **found.account(),
        "resolution": found.seen_from(),
        "gates": checked,
        "attempt": attempt,
        "seconds": time.perf_counter() - began,
    }


def p_of(claim: Claim, found: Estimate) -> float | None:
    """One-sided, of what the claim denies; None for claims of equality or of a level."""
    if claim.expect == "lower":
        return Estimate(-found.difference, found.se, found.df).p_above(0.0)
    return found.p_above(0.0) if claim.expect == "higher" else None

"""Numbers as sentences and tables have them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from plait.measures.bootstrap import Interval
from plait.measures.estimate import Estimate
from plait.measures.worth.shapley import Worth
from plait.report.words import DASH, amount, is_share, name


def numbered(found: Worth, i: int) -> tuple[float, Interval]:
    """Number `i` with its interval."""
    return float(found.value[i]), (float(found.interval[i, 0]), float(found.interval[i, 1]))


def span(found: Worth, i: int, measure: str) -> str:
    """The same in words."""
    return ranged(*numbered(found, i), measure)


def ranged(value: float, ends: tuple[float, float] | None, measure: str = "") -> str:
    """`3.1 [1.2, 5.0]`, shares of rows in points; a dash where nothing is known."""
    if not math.isfinite(value):
        return DASH
    scale, form = (100.0, ".1f") if is_share(measure) else (1.0, ".3g")
    said = f"{scale * value:{form}}"
    if ends is None or not all(map(math.isfinite, ends)):
        return said
    return f"{said} [{scale * ends[0]:{form}}, {scale * ends[1]:{form}}]"


def estimated(found: Estimate | None, measure: str = "") -> str:
    """As `ranged`; a dash where there is none."""
    return DASH if found is None else ranged(found.value, found.interval, measure)


def shown(found: Estimate | None) -> bool:
    """Whether it is above nothing, as far as its interval says."""
    return found is not None and found.interval[0] > 0


def lost(found: Estimate, measure: str) -> str:
    """`3.1 points of accuracy`."""
    return amount(found.value, measure) + (f" of {name(measure)}" if is_share(measure) else "")


def listed(names: Sequence[str], last: str = "and") -> str:
    """`a, b and c`."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {last} {names[-1]}"

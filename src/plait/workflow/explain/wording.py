"""Numbers as sentences and tables have them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from plait.measures.bootstrap import Interval
from plait.measures.estimate import Estimate
from plait.measures.worth.shapley import Worth
from plait.report.words import DASH, ERRORS, amount, decimals, is_share, name, scaled


def numbered(found: Worth, i: int) -> tuple[float, Interval]:
    """Number `i` with its interval."""
    return float(found.value[i]), (float(found.interval[i, 0]), float(found.interval[i, 1]))


def span(found: Worth, i: int, measure: str) -> str:
    """The same in words."""
    return ranged(*numbered(found, i), measure)


def ranged(value: float, ends: tuple[float, float] | None, measure: str = "") -> str:
    """`3.1 [1.2, 5.0]`, shares of rows in points; a dash where nothing is known.

    Where no row differs, resampling gives no width, which is not to be read as being sure.
    """
    if not math.isfinite(value):
        return DASH
    if value == 0 and ends is not None and ends[0] == ends[1] == 0:
        return f"{scaled(value, measure)} (no row differs)"
    if ends is None or not all(map(math.isfinite, ends)):
        return scaled(value, measure)
    digits = decimals(*ends)
    said, low, high = (scaled(one, measure, digits) for one in (value, *ends))
    return f"{said} [{low}, {high}]"


def estimated(found: Estimate | None, measure: str = "") -> str:
    """As `ranged`; a dash where there is none."""
    return DASH if found is None else ranged(found.value, found.interval, measure)


def turned(found: Estimate, sign: float) -> Estimate:
    """A level in its measure's own sign: an error, of which less is better, is reckoned with as minus itself."""
    low, high = sorted(sign * end for end in found.interval)
    return Estimate(sign * found.value, (low, high))


def shown(found: Estimate | None) -> bool:
    """Whether it is above nothing, as far as its interval says."""
    return found is not None and found.interval[0] > 0


def level(first: str, found: Mapping[str, Interval]) -> list[str]:
    """Those whose intervals overlap that of the first: it was not told apart from them."""
    return [other for other, ends in found.items() if other != first and ends[1] >= found[first][0]]


def between(found: Estimate, measure: str) -> str:
    """`95 % interval 1.2 to 5.0`."""
    if not all(map(math.isfinite, found.interval)):
        return "too few rows for an interval"
    digits = decimals(*found.interval)
    low, high = (scaled(end, measure, digits) for end in found.interval)
    return f"95 % interval {low} to {high}"


def gained(value: float, measure: str) -> str:
    """What is gained by a measure: `3.1 points`, and of errors `a log loss 0.2 lower`."""
    if measure in ERRORS:
        return f"a {name(measure)} {abs(value):.3g} {'higher' if value < 0 else 'lower'}"
    return amount(value, measure)


def lost(found: Estimate, measure: str) -> str:
    """`3.1 points of accuracy`; of errors the number alone."""
    if measure in ERRORS:
        return f"{found.value:.3g}"
    return amount(found.value, measure) + (f" of {name(measure)}" if is_share(measure) else "")


def falls_by(measure: str) -> str:
    """What happens to a model that gets worse, before `lost`."""
    return f"its {name(measure)} rises by" if measure in ERRORS else "the model loses"


def listed(names: Sequence[str], last: str = "and") -> str:
    """`a, b and c`."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {last} {names[-1]}"

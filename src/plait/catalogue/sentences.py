"""A comparison in plain words: what was shown, what was not, and what could have been seen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from plait.report.words import amount, decimals, is_share, name, scaled

from .panel import LATE

if TYPE_CHECKING:
    from .compare import Compared, Contrast

LEVEL = 0.05
KNOWN = {LATE: "the tuned late-fusion transformer", "concatenation": "a linear model on all features"}


def sentences(found: Compared) -> Iterator[str]:
    """Fusion against the best single modality first, then the recipes, then what picking the best is worth."""
    by_name = {test.a: test for test in found.tests}
    if found.control == LATE:
        yield _fusion(found, by_name["best single"])
        yield _plain(found, by_name["concatenation"])
    if found.recipes:
        yield from _recipes(found, [by_name[name] for name in found.recipes if name in by_name])
    if found.picked is not None:
        best, reached = found.picked.recipe, _level(found.picked.mean, found.measure)
        yield (
            f"The best is {KNOWN.get(best, best)} with {reached} {name(found.measure)}; whoever picks the best one on "
            f"other folds gets {_level(found.picked.corrected, found.measure)}."
        )


def _fusion(found: Compared, test: Contrast) -> str:
    """The control is fusion: gains are turned around."""
    single = f"the best single modality (picked on other rows, mostly {found.single})"
    gain, low, high = _gain(found, test, turned=True)
    if test.p_corrected < LEVEL:
        if gain > 0:
            return f"Fusion beats {single} by {_with_range(gain, low, high, found)}."
        return f"Fusion is worse than {single} by {_with_range(-gain, -high, -low, found)}."
    return f"Fusion was not shown to differ from {single}: {_seen(gain, low, high, test, found)}."


def _plain(found: Compared, test: Contrast) -> str:
    gain, low, high = _gain(found, test)
    if test.p_corrected < LEVEL:
        word, by = ("better", (gain, low, high)) if gain > 0 else ("worse", (-gain, -high, -low))
        return f"{KNOWN['concatenation'].capitalize()} is {word} than {KNOWN[LATE]} by {_with_range(*by, found)}."
    seen = _seen(gain, low, high, test, found)
    return f"{KNOWN['concatenation'].capitalize()} was not shown to differ from {KNOWN[LATE]}: {seen}."


def _recipes(found: Compared, tests: list[Contrast]) -> Iterator[str]:
    control = KNOWN.get(found.control, found.control)
    many = f"{len(tests)} recipe{'s' if len(tests) > 1 else ''}"
    better = [test for test in tests if test.p_corrected < LEVEL and _gain(found, test)[0] > 0]
    worse = [test for test in tests if test.p_corrected < LEVEL and _gain(found, test)[0] < 0]
    assert found.resolution is not None
    if better:
        named = ", ".join(f"{test.a} (by {amount(_gain(found, test)[0], found.measure)})" for test in better)
        yield f"{len(better)} of {many} {'beat' if len(better) > 1 else 'beats'} {control}: {named}."
    else:
        none = f"None of {many} beats" if len(tests) > 1 else f"{tests[0].a} was not shown to beat"
        could = _could(found, found.resolution)
        yield f"{none} {control}; we could have seen a difference of {could} in four of five cases."
    if worse:
        yield f"{len(worse)} {'are' if len(worse) > 1 else 'is'} worse: {', '.join(test.a for test in worse)}."


def _gain(found: Compared, test: Contrast, turned: bool = False) -> tuple[float, float, float]:
    """-> the difference with its ends, so that more is better; of the control, if turned."""
    ends = (test.found.difference, *test.found.interval)
    if found.higher != turned:
        return ends
    return -ends[0], -ends[2], -ends[1]


def _seen(gain: float, low: float, high: float, test: Contrast, found: Compared) -> str:
    could = _could(found, test.resolution)
    # An interval is of one test, and there are many.
    alone = f" by itself, not among {len(found.tests)} tests" if low > 0 or high < 0 else ""
    beside = f"among {len(found.tests)} tests, a difference of {could} would be found in four of five cases"
    return f"{_with_range(gain, low, high, found, alone)}; {beside}"


def _could(found: Compared, difference: float) -> str:
    """One that would have been seen, and whether it would take the control beyond all right."""
    level = next(row.level.difference for row in found.rows if row.recipe == found.control)
    beyond = " (more than is left to gain)" if is_share(found.measure) and level + difference > 1 else ""
    return amount(difference, found.measure, decimals(0, difference)) + beyond


def _with_range(value: float, low: float, high: float, found: Compared, more: str = "") -> str:
    """With the decimals that an interval of this width has a use for."""
    digits = decimals(low, high)
    ends = " to ".join(scaled(end, found.measure, digits) for end in (low, high))
    return f"{amount(value, found.measure, digits)} (95 % {ends}{more})"


def _level(value: float, measure: str) -> str:
    return f"{100 * value:.1f} %" if is_share(measure) else f"{value:.3g}"

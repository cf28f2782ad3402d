"""How modalities lie in the shared space, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from plait.measures.bootstrap import mean_interval
from plait.measures.space.effective_rank import EffectiveRank
from plait.report.words import amount

from .space_measured import K, Moved, Pair
from .wording import listed

COLD, RISE = 0.07, 5
"""Where a learned temperature begins; by how much it is to rise, as in the catalogue's gap_temperature_and_swapping."""
MEASURE = f"recall@{K}"


def words(
    pairs: Sequence[Pair],
    few: Mapping[tuple[str, str], int],
    collapsed: Sequence[str],
    ranks: Mapping[str, EffectiveRank],
    moved: Sequence[Moved],
    temperatures: Mapping[str, Mapping[str, Any]],
    seed: int,
) -> list[str]:
    """few: {pair: its rows}, too few.  collapsed: modalities in one point.  temperatures: {place: {asked, ended}}."""
    said = [*_regions(pairs, bool(few)), *_collapsed(collapsed), *_alike(pairs), *_dimensions(ranks)]
    if moved:
        said += _moving(moved, seed)
    elif pairs:
        said.append(
            "Whether moving them together helps cannot be said: the rows learned from are too few, or not at hand."
        )
    return [*said, *_to_try(temperatures, pairs), *_too_few(few)]


def _regions(pairs: Sequence[Pair], others: bool) -> list[str]:
    """others: whether there are pairs with too few rows."""
    if not pairs:
        return []
    shown, rest = [p for p in pairs if p.apart], [p for p in pairs if not p.apart]
    if not shown:
        said = [f"That modalities lie apart in the space that they share was not shown: {_told(rest)}."]
    elif not rest:
        each = "Each modality lies apart from the others"
        if others:
            which = f"each of the {len(pairs)} pairs" if len(pairs) > 1 else "the one pair"
            each = f"In {which} that can be judged one modality lies apart from the other"
        said = [f"{each} in the space that all share: {_told(shown)}."]
    else:
        said = [
            f"Some modalities lie apart in the space that all share: {_told(shown)} "
            f"({_pairwise(shown)}). Of {_pairwise(rest)} that was not shown."
        ]
    shares = sorted(pair.gap.relative for pair in pairs)
    middles = (
        f"The middles of two modalities are {_between(shares)} as far from each other as cells that do not belong "
        "together"
    )
    together = [pair for pair in pairs if not pair.distant]
    if together:
        which = "any pair" if len(together) == len(pairs) and len(pairs) > 1 else _pairwise(together)
        middles += f"; that these differ at all was not shown of {which}"
    return [*said, f"{middles}."]


def _told(pairs: Sequence[Pair]) -> str:
    shares = sorted(pair.gap.separability for pair in pairs)
    said = _between(shares)
    return (
        f"from where a cell lies one can tell which of two modalities it is of, in {said} of cases (50 % by guessing)"
    )


def _between(shares: Sequence[float]) -> str:
    """Of shares in order."""
    low, high = (f"{100 * share:.0f}" for share in (shares[0], shares[-1]))
    return f"{low} %" if low == high else f"{low} to {high} %"


def _pairwise(pairs: Sequence[Pair]) -> str:
    return listed([f"{a} with {b}" for a, b in (pair.names for pair in pairs)])


def _collapsed(names: Sequence[str]) -> list[str]:
    return [f"All cells of {listed(names)} lie in one point: nothing can be found by them."] if names else []


def _alike(pairs: Sequence[Pair]) -> list[str]:
    known = [pair for pair in pairs if pair.neighbours is not None]
    if not known:
        return []
    alike = [pair for pair in known if pair.alike]
    near = "Rows that lie near each other in one modality lie near each other in another, too"
    if not alike:
        return [
            f"That rows near each other in one modality are so in another was not shown of any of {len(known)} pairs."
        ]
    best = max(alike, key=_beyond)
    found = best.neighbours
    assert found is not None
    said = "" if len(known) == 1 else f" for {len(alike)} of {len(known)} pairs"
    return [
        f"{near}, more than by chance{said}: {listed(best.names)} share {K * found.mutual_knn:.1f} of their {K} "
        f"nearest rows ({K * found.chance['mutual_knn']:.1f} by chance)."
    ]


def _beyond(pair: Pair) -> float:
    assert pair.neighbours is not None
    return pair.neighbours.mutual_knn - pair.neighbours.chance["mutual_knn"]


def _dimensions(ranks: Mapping[str, EffectiveRank]) -> list[str]:
    if not ranks:
        return []
    order = sorted(ranks, key=lambda name: ranks[name].effective_rank)
    used = [f"{ranks[name].effective_rank:.0f}" for name in order]
    said = [
        f"{order[0]} uses about {used[0]}",
        *(f"{name} {rank}" for name, rank in zip(order[1:], used[1:], strict=True)),
    ]
    some = ranks[order[0]]
    return [f"Of the {some.width} dimensions of the space, {listed(said)}, as far as {some.rows} rows show."]


def _moving(moved: Sequence[Moved], seed: int) -> list[str]:
    change = np.concatenate([one.after - one.before for one in moved])
    groups = np.concatenate([one.groups for one in moved])
    low, high = mean_interval(change, groups=groups, seed=seed, exact=False)
    mean = float(change.mean())
    between = f"(95 % interval {100 * low:.1f} to {100 * high:.1f})"
    each = f"searches between modalities that have a right answer among the first {K}"
    remedy = "Moving all modalities to one middle, which needs no new training,"
    if low > 0:
        said = f"{remedy} helps: {each} become more, by {amount(mean, MEASURE)} {between}."
    elif high < 0:
        said = f"{remedy} does harm: {each} become fewer, by {amount(-mean, MEASURE)} {between}."
    else:
        said = (
            f"Moving all modalities to one middle needs no new training, but that it helps or harms was not shown: the "
            f"share of {each} changes by {amount(mean, MEASURE)} {between}."
        )
    up, down = sum(one.change[0] > 0 for one in moved), sum(one.change[1] < 0 for one in moved)
    return [f"{said} Of {len(moved)} kinds of search, {up} were shown to improve and {down} to worsen."]


def _to_try(temperatures: Mapping[str, Mapping[str, Any]], pairs: Sequence[Pair]) -> list[str]:
    steady = {place: now for place, now in temperatures.items() if not isinstance(now["asked"], list | tuple)}
    if not steady or not any(pair.apart and pair.distant for pair in pairs):
        return []
    place, now = next(iter(steady.items()))
    learned = now["asked"] == "learned"
    first = COLD if learned else now["asked"]
    ended = "" if now["ended"] is None else f", from {COLD:g} to {now['ended']:.2g}"
    kept = f"it was learned{ended}" if learned else f"it was {first:g}"
    return [
        f"To try in a new fit: a temperature that rises ({kept}), by --set '{place}=[{first:g}, {RISE * first:g}]'. On "
        "made data the gap was then smaller, and searches found no fewer right answers (plait catalogue show "
        "gap_temperature_and_swapping); its effect on this table was not measured."
    ]


def _too_few(few: Mapping[tuple[str, str], int]) -> list[str]:
    if not few:
        return []
    said = listed([f"{a} with {b} ({rows})" for (a, b), rows in few.items()])
    return [f"Too few test rows have both, or too few that do not belong together, for a word on {said}."]

"""How do modalities lie in the shared space: in regions of their own or together, and would moving them help?"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from plait.core.component import arguments_of, find
from plait.core.recipe import Recipe
from plait.data.schema import JOINT
from plait.measures.bootstrap import Interval, mean_interval
from plait.measures.space.alignment_uniformity import AlignmentUniformity, alignment_uniformity
from plait.measures.space.effective_rank import EffectiveRank, effective_rank
from plait.measures.space.gap_correction import gap_correction, mean_direction
from plait.measures.space.modality_gap import ModalityGap, modality_gap
from plait.measures.space.representation_alignment import RepresentationAlignment, representation_alignment
from plait.report.figures import clouds, forest
from plait.report.words import DASH, amount

from ..evaluate import GALLERY, searches, vectors_at
from ..model import Embeddings
from .explain import QUESTIONS
from .section import CannotSay, Drawing, Grid, Section
from .subject import Array, Subject
from .wording import listed, ranged

LEAST = 30
"""Rows, and groups of them for neighbours, below which nothing is said of a pair."""
FOLDS = 5
MOST = 1_000
"""Rows on which a pair is measured at most: the cost of neighbours grows with their square."""
K = 10
DRAWN = 400
"""Points in the figure."""
WARM = 0.2
"""A temperature above the one that a learned temperature begins at, 0.07."""
MEASURE = f"recall@{K}"
METHOD = (
    "All of unit embeddings of test rows that have both modalities. Distance: between the two mean directions, "
    "without the bias of few rows; as a share: of the root mean square distance of rows that do not belong together "
    "(Liang et al., arXiv:2203.02053). Told apart: accuracy of a linear classifier on pairs that it was not fitted "
    "on; it finds any direction in which two modalities differ, so it can be high where the middles coincide. Cone: "
    "mean cosine of different rows of a modality, 1 if all point the same way. Alignment: mean squared distance "
    "within a row, about 2 for strangers; uniformity: 0 if all is one point, the lower the more evenly spread (Wang & "
    "Isola, arXiv:2005.10242). Dimensions in use: effective rank of rows minus their mean (Roy & Vetterli 2007), of "
    f"equally many rows of each modality. Shared neighbours: of the {K} nearest, of one row of each group (Huh et al., "
    "arXiv:2405.07987). Moving to one middle: each modality minus its mean over the rows that were learned from "
    "(Zhang et al., arXiv:2401.08567), judged by searches on test rows, where a row with an equal cell is a right "
    "answer too. Intervals are 95 %, of changes on the same searches; of many lines about one in twenty leaves out "
    "zero by chance. Temperature and gap: Yaras et al., arXiv:2412.07909. A gap does no harm where one modality is "
    "searched at a time; it does where results of several are ranked together, or a model made for one is given "
    "another. Nothing here says why a gap is there, and a space that no objective trained has all of these numbers, "
    "too."
)


@dataclass(frozen=True, eq=False)
class Pair:
    """Of two modalities.  neighbours: None where too few groups are."""

    names: tuple[str, str]
    gap: ModalityGap
    spread: AlignmentUniformity
    neighbours: RepresentationAlignment | None

    @property
    def apart(self) -> bool:
        """Whether it was shown that they keep to regions of their own."""
        return self.gap.intervals["separability"][0] > 0.5

    @property
    def distant(self) -> bool:
        """Whether it was shown that their middles lie apart."""
        return self.gap.intervals["distance"][0] > 0

    @property
    def alike(self) -> bool:
        """Whether it was shown that they share more neighbours than by chance."""
        found = self.neighbours
        return found is not None and found.intervals["mutual_knn"][0] > found.chance["mutual_knn"]


@dataclass(frozen=True, eq=False)
class Moved:
    """A search before and after the means were taken away, as recall of the queries.  chance: of a random order."""

    name: str
    before: Array
    after: Array
    chance: float
    groups: Array
    change: Interval


def answer(subject: Subject) -> Section:
    """CannotSay without a shared space, or two modalities that enough rows have together."""
    if len(subject.names) < 2:
        raise CannotSay("There is one modality, so there is nothing that it could share a space with.")
    found = {name: part for name, part in subject.embeddings.items() if name != JOINT}
    collapsed = [name for name, (_, vectors) in found.items() if len(vectors) > 1 and _one_point(vectors)]
    usable = {name: part for name, part in found.items() if name not in collapsed}
    pairs, few = _pairs(subject, usable)
    if not pairs and not collapsed:
        raise CannotSay(f"No two modalities are found together in {LEAST} test rows: too few to say how they lie.")
    ranks = _ranks(subject, usable)
    moved = _moved(subject, usable) if pairs else []
    settings = _settings(subject.model.recipe)
    words = [*_regions(pairs), *_collapsed(collapsed), *_alike(pairs), *_dimensions(ranks)]
    if moved:
        words += _moving(moved, subject.seed)
    elif pairs:
        words.append(
            "Whether moving them together helps cannot be said: the rows learned from are too few, or not at hand."
        )
    words += [*_to_try(settings, pairs), *_too_few(few)]
    drawings = []
    if pairs:
        drawings.append(_drawing(usable, pairs, subject.seed))
    if moved:
        drawings.append(_changes(moved))
    account = {
        "pairs": {
            "~".join(pair.names): {
                "gap": pair.gap.account(),
                "spread": pair.spread.account(),
                "neighbours": None if pair.neighbours is None else pair.neighbours.account(),
            }
            for pair in pairs
        },
        "too_few_rows": {"~".join(names): rows for names, rows in few.items()},
        "collapsed": collapsed,
        "dimensions": {name: rank.account() for name, rank in ranks.items()},
        "moved": {
            one.name: {
                "before": float(one.before.mean()),
                "after": float(one.after.mean()),
                "chance": one.chance,
                "change": float((one.after - one.before).mean()),
                "interval": list(one.change),
                "queries": len(one.before),
            }
            for one in moved
        },
        "temperatures": settings,
    }
    return Section("space", QUESTIONS["space"], words, drawings, _grids(pairs, ranks, moved), METHOD, account)


def _one_point(vectors: Array) -> bool:
    return bool(np.ptp(vectors, axis=0).max() < 1e-5)


def _pairs(subject: Subject, found: Embeddings) -> tuple[list[Pair], dict[tuple[str, str], int]]:
    """-> pairs that enough rows have, and how many rows the others have."""
    pairs, few = [], {}
    rng = np.random.default_rng(subject.seed)
    couples = list(itertools.combinations(found, 2))
    for i, names in enumerate(couples):
        subject.progress("pairs", i, len(couples))
        rows = np.intersect1d(found[names[0]][0], found[names[1]][0])
        if len(rows) < LEAST or len(np.unique(subject.groups[rows])) < FOLDS:
            few[names] = len(rows)
            continue
        if len(rows) > MOST:
            rows = np.sort(rng.choice(rows, MOST, replace=False))
        a, b = (vectors_at(found[name], rows) for name in names)
        groups, seed = subject.groups[rows], subject.seed
        pairs.append(
            Pair(
                names,
                modality_gap(a, b, groups=groups, folds=FOLDS, seed=seed),
                alignment_uniformity(a, b, groups=groups, seed=seed),
                _neighbours(a, b, groups, seed),
            )
        )
    return pairs, few


def _neighbours(a: Array, b: Array, groups: Array, seed: int) -> RepresentationAlignment | None:
    """Of one row of each group: copies would be each other's nearest in any space."""
    rows = np.sort(np.unique(groups, return_index=True)[1])
    if len(rows) < LEAST:
        return None
    try:
        return representation_alignment(a[rows], b[rows], k=K, seed=seed)
    except ValueError:
        # Nearly all rows lie in one point, and without a block of them all do.
        return None


def _ranks(subject: Subject, found: Embeddings) -> dict[str, EffectiveRank]:
    """Of as many rows of each, since the number grows with them."""
    enough = {name: part for name, part in found.items() if len(part[0]) >= LEAST}
    least = min([MOST, *(len(rows) for rows, _ in enough.values())])
    rng = np.random.default_rng(subject.seed)
    out = {}
    for name, (rows, vectors) in enough.items():
        at = np.sort(rng.choice(len(rows), least, replace=False))
        groups = subject.groups[rows[at]]
        # Nothing is said where nearly all rows lie in one point: without a block of them, all may.
        with suppress(ValueError):
            out[name] = effective_rank(vectors[at], centre=True, groups=groups, seed=subject.seed)
    return out


def _moved(subject: Subject, found: Embeddings) -> list[Moved]:
    """Searches with every modality's mean over the rows that were learned from taken away."""
    learned = subject.learned_embeddings
    means = {
        name: mean_direction(learned[name][1])
        for name in found
        if len(learned[name][0]) >= LEAST and not _one_point(learned[name][1])
    }
    before = {name: found[name] for name in means}
    after = {name: (rows, gap_correction(vectors, means[name])) for name, (rows, vectors) in before.items()}
    out = []
    for search in searches(before, subject.table.take(subject.test), subject.seed):
        if len(search.rows) < LEAST:
            continue
        first, second = search.ranks(before), search.ranks(after)
        was, now = first.recall(K), second.recall(K)
        groups = subject.groups[search.rows[first.query]]
        change = mean_interval(now - was, groups=groups, seed=subject.seed, exact=False)
        out.append(Moved(search.name, was, now, float(first.chance(K).mean()), groups, change))
    return out


def _settings(recipe: Recipe) -> dict[str, Any]:
    """{place in the recipe: temperature} of objectives whose temperature can be learned."""
    out = {}
    for name, given in recipe.objectives.items():
        known = arguments_of(find("objectives", given.get("use", name)))
        if known.get("temperature", ("", None))[1] == "learned":
            out[f"objectives.{name}.temperature"] = given.get("temperature", "learned")
    return out


def _regions(pairs: Sequence[Pair]) -> list[str]:
    if not pairs:
        return []
    shown, rest = [p for p in pairs if p.apart], [p for p in pairs if not p.apart]
    if not shown:
        said = [
            f"That modalities keep to regions of their own in the space that they share was not shown: {_told(rest)}."
        ]
    elif not rest:
        said = [f"Each modality keeps to a region of its own in the space that all share: {_told(shown)}."]
    else:
        said = [
            f"Some modalities keep to regions of their own in the space that all share: {_told(shown)} "
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
        middles += f"; that they differ at all was not shown of {which}"
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


def _to_try(settings: Mapping[str, Any], pairs: Sequence[Pair]) -> list[str]:
    if not settings or not any(pair.apart and pair.distant for pair in pairs):
        return []
    place, now = next(iter(settings.items()))
    value = WARM if now == "learned" else max(WARM, 2 * now)
    kept = " (it was learned, and a saved model does not keep it)" if now == "learned" else f" (it was {now:g})"
    return [
        f"To try in a new fit: a higher, fixed temperature{kept}, such as --set {place}={value:g}. It tends to draw "
        "the regions together and may cost precision; its effect on this table was not measured."
    ]


def _too_few(few: Mapping[tuple[str, str], int]) -> list[str]:
    if not few:
        return []
    said = listed([f"{a} with {b} ({rows})" for (a, b), rows in few.items()])
    return [f"Too few test rows have both, or too few that do not belong together, for a word on {said}."]


def _drawing(found: Embeddings, pairs: Sequence[Pair], seed: int) -> Drawing:
    """Test rows along the two directions in which all modalities together are spread most."""
    names = list(dict.fromkeys(itertools.chain.from_iterable(pair.names for pair in pairs)))
    rng, most = np.random.default_rng(seed), max(20, DRAWN // len(names))
    drawn = {}
    for name in names:
        vectors = found[name][1]
        drawn[name] = vectors[np.sort(rng.choice(len(vectors), min(most, len(vectors)), replace=False))]
    every = np.concatenate(list(drawn.values())).astype(np.float64)
    centre = every.mean(0)
    _, spread, axes = np.linalg.svd(every - centre, full_matrices=False)
    share = float((spread[:2] ** 2).sum() / (spread**2).sum())
    points = {name: (vectors - centre) @ axes[:2].T for name, vectors in drawn.items()}
    return Drawing(
        clouds(points),
        f"Test rows in the two directions, of {every.shape[1]}, along which they are spread most; these hold "
        f"{100 * share:.0f} % of the spread. Modalities that overlap here may lie apart in the rest.",
    )


def _changes(moved: Sequence[Moved]) -> Drawing:
    lines = [(_arrow(one.name), (float((one.after - one.before).mean()), one.change), "") for one in moved]
    return Drawing(
        forest(lines, MEASURE, 0.0, gains=True),
        "How far moving all modalities to one middle changes the share of searches with a right answer among the first "
        f"{K}, with 95 % intervals; where one reaches the line, no change was shown.",
    )


def _arrow(name: str) -> str:
    return name.replace("->", " \N{RIGHTWARDS ARROW} ")


def _grids(pairs: Sequence[Pair], ranks: Mapping[str, EffectiveRank], moved: Sequence[Moved]) -> list[Grid]:
    grids = []
    if pairs:
        grids.append(
            Grid(
                "Distance between modalities",
                ("pair", "rows", "distance", "as a share, %", "told apart, %", f"shared of {K} nearest", "by chance"),
                [
                    (
                        " ~ ".join(pair.names),
                        str(pair.gap.rows),
                        _fixed(pair.gap.distance, pair.gap.intervals["distance"]),
                        *(
                            ranged(getattr(pair.gap, key), pair.gap.intervals[key], "accuracy")
                            for key in ("relative", "separability")
                        ),
                        *_shared(pair.neighbours),
                    )
                    for pair in pairs
                ],
            )
        )
        least = min(pair.spread.uniform for pair in pairs)
        grids.append(
            Grid(
                f"How each of a pair is spread; if evenly, cone 0 and uniformity {least:.2f}",
                ("pair", "alignment", "cone, first", "second", "uniformity, first", "second"),
                [
                    (
                        " ~ ".join(pair.names),
                        *(
                            _fixed(getattr(of, key), of.intervals[key])
                            for of, keys in (
                                (pair.spread, ("alignment",)),
                                (pair.gap, ("within_a", "within_b")),
                                (pair.spread, ("uniformity_a", "uniformity_b")),
                            )
                            for key in keys
                        ),
                    )
                    for pair in pairs
                ],
            )
        )
    if ranks:
        grids.append(
            Grid(
                "Dimensions in use",
                ("modality", "effective rank", "of", "rows"),
                [
                    (name, _fixed(r.effective_rank, r.intervals["effective_rank"], 1), str(r.width), str(r.rows))
                    for name, r in ranks.items()
                ],
            )
        )
    if moved:
        grids.append(
            Grid(
                f"Right answers among the first {K}, in per cent of the searches among at most {GALLERY:,} rows",
                ("search", "searches", "by chance", "as it is", "moved to one middle", "change in points"),
                [
                    (
                        _arrow(one.name),
                        str(len(one.before)),
                        *(f"{100 * float(x):.1f}" for x in (one.chance, one.before.mean(), one.after.mean())),
                        ranged(float((one.after - one.before).mean()), one.change, MEASURE),
                    )
                    for one in moved
                ],
            )
        )
    return grids


def _shared(found: RepresentationAlignment | None) -> tuple[str, str]:
    if found is None:
        return DASH, DASH
    low, high = found.intervals["mutual_knn"]
    return _fixed(K * found.mutual_knn, (K * low, K * high), 1), f"{K * found.chance['mutual_knn']:.1f}"


def _fixed(value: float, ends: Interval, digits: int = 2) -> str:
    # + 0 makes -0 a 0.
    said = [f"{round(number, digits) + 0.0:.{digits}f}" for number in (value, *ends)]
    return f"{said[0]} [{said[1]}, {said[2]}]"

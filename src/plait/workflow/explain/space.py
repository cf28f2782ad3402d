"""How do modalities lie in the shared space: in regions of their own or together, and would moving them help?"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from plait.core.component import arguments_of, find
from plait.data.schema import JOINT
from plait.measures.bootstrap import Interval
from plait.measures.space.effective_rank import EffectiveRank
from plait.measures.space.representation_alignment import RepresentationAlignment
from plait.report.figures import clouds, forest
from plait.report.words import DASH

from ..evaluate import GALLERY
from ..model import Embeddings, Model
from .explain import QUESTIONS
from .section import CannotSay, Drawing, Grid, Section
from .space_measured import LEAST, K, Moved, Pair, moved_to_one_middle, one_point, pairs_of, ranks_of
from .space_words import MEASURE, words
from .subject import Subject
from .wording import ranged

DRAWN = 400
"""Points in the figure."""
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


def answer(subject: Subject) -> Section:
    """CannotSay without a shared space, or two modalities that enough rows have together."""
    if len(subject.names) < 2:
        raise CannotSay("There is one modality, so there is nothing that it could share a space with.")
    found = {name: part for name, part in subject.embeddings.items() if name != JOINT}
    collapsed = [name for name, (_, vectors) in found.items() if len(vectors) > 1 and one_point(vectors)]
    usable = {name: part for name, part in found.items() if name not in collapsed}
    pairs, few = pairs_of(subject, usable)
    if not pairs and not collapsed:
        raise CannotSay(f"No two modalities are found together in {LEAST} test rows: too few to say how they lie.")
    ranks = ranks_of(subject, usable)
    moved = moved_to_one_middle(subject, usable) if pairs else []
    temperatures = _temperatures(subject.model)
    said = words(pairs, few, collapsed, ranks, moved, temperatures, subject.seed)
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
        "temperatures": temperatures,
    }
    return Section("space", QUESTIONS["space"], said, drawings, _grids(pairs, ranks, moved), METHOD, account)


def _temperatures(model: Model) -> dict[str, dict[str, Any]]:
    """{place in the recipe: {asked, ended}} of objectives whose temperature can be learned.

    ended: what it was at the end of training; None of a run that did not keep it.
    """
    out = {}
    ended = model.info.get("figures", {})
    for name, given in model.recipe.objectives.items():
        known = arguments_of(find("objectives", given.get("use", name)))
        if known.get("temperature", ("", None))[1] == "learned":
            out[f"objectives.{name}.temperature"] = {
                "asked": given.get("temperature", "learned"),
                "ended": ended.get(f"objectives.{name}", {}).get("temperature"),
            }
    return out


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

"""Does one modality drown the others: what was learned of each beside the others, against a model of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from plait.measures.bootstrap import intervals
from plait.measures.trust.balance import Balance, balance, balance_of, contribution_gap
from plait.measures.trust.linear_probe import linear_hazard, linear_probe, linear_readout
from plait.report.figures import forest
from plait.report.words import DASH, FEW, amount, is_share, name

from ..model import Model
from .explain import QUESTIONS
from .gradients import gradients
from .on_the_way import on_the_way
from .section import CannotSay, Drawing, Grid, Part, Section, joined
from .subject import Array, Subject
from .wording import estimated, level, listed, numbered, ranged, turned

METHOD = (
    "Held back: a linear model (a classifier, of each label if there are several; of numbers a ridge regression) "
    "is fitted to what the model makes of one modality, the others hidden (what its head reads), on the rows that "
    "were learned from, its penalty chosen by cross-validation with rows that belong together in one fold; test "
    "rows judge it, beside a model that was trained on this modality alone (its upper bound: Wang et al., "
    "arXiv:1905.12681). As one fitted anew may be worse than the one that was trained, `linear models on both sides` "
    "reads that model, too, by a linear one; a modality is called held back where both differences are shown, on "
    f"{FEW} test rows or more. Such a shortfall may also come from training that suits the whole and not this part, "
    "and one interval in twenty misses. `ahead`: the mean probability of the truth over that of each other modality, "
    "1 where they are even; it cannot tell a modality that was held back from one that knows little (Peng et al., "
    "arXiv:2203.15332). Gap of shares: the largest Shapley value of the measure minus the smallest (Xu et al., "
    "arXiv:2502.10816); never below 0, so that some gap is there by chance. Gradients: of the loss from each "
    "modality alone, over the rows of a batch that have it, in the parameters that all share (fusion and head), on "
    "separate batches of learned rows, with the weights as training left them (cosine below 0: a step that helps "
    "one harms the other; Yu et al., arXiv:2001.06782). That is the end of training, and says nothing of what "
    "happened on the way. Whether a pair is below 0 is a t-test over the batches, corrected for the pairs (Holm). "
    "Intervals resample test rows, or for gradients batches, for the models as they are."
)


def answer(subject: Subject) -> Section:
    """Raises CannotSay on one modality, without a target, or without the rows that were learned from."""
    if len(subject.names) < 2:
        raise CannotSay("There is one modality, which no other can drown.")
    if not len(subject.learned):
        raise CannotSay("This needs the rows that the model learned from: ask about a run's own rows.")
    words: list[str] = []
    drawings: list[Drawing] = []
    grids: list[Grid] = []
    account: dict[str, Any] = {"target": subject.target, "measure": subject.measure}
    try:
        found, anew = _held_back(subject)
    except CannotSay as why:
        words.append(f"Whether one modality holds another back cannot be said. {why}")
    else:
        words += _words(subject, found, anew)
        grids.append(_grid(subject, found, anew))
        drawings.append(_drawing(subject, found, anew))
        account |= {"modalities": list(subject.names), **found.account(), "anew": anew.account()}
    for part in (_gap, gradients):
        try:
            said, more, numbers = part(subject)
        except CannotSay as why:
            words.append(str(why))
        else:
            words.append(said)
            grids += more
            account |= numbers
    here = Part(list(dict.fromkeys(words)), drawings, grids, [METHOD], account)
    return joined("balance", QUESTIONS["balance"], [here, on_the_way(subject) if subject.deep else Part()])


def _held_back(subject: Subject) -> tuple[Balance, Balance]:
    """Probes of the model against models of one modality, and against probes of these.  CannotSay without them."""
    apart = subject.singly
    joint = _probed(subject, dict.fromkeys(subject.names, subject.model))
    own = _probed(subject, subject.alone)
    there = [np.isfinite(joint[name][subject.labelled]).reshape(len(subject.labelled), -1).all(1) for name in joint]
    have = subject.have[subject.labelled] & np.stack(there, 1)
    if not have.any():
        raise CannotSay("No modality has both test rows and enough rows that were learned from.")
    one, *others = (np.stack([p[name] for name in subject.names], 1) for p in (joint, apart, own))
    how: dict[str, Any] = {"groups": subject.groups[subject.labelled], "seed": subject.seed}
    if subject.about.kind == "class":
        rows = subject.labelled
        first, second = (balance(one[rows], p[rows], subject.truth, have, **how) for p in others)
    else:
        value, *values = (_where(subject, p, have) for p in (one, *others))
        first, second = (_in_own_sign(balance_of(value, p, have, **how), subject.sign) for p in values)
    return first, second


def _where(subject: Subject, predicted: Array, have: Array) -> Array:
    """[p, M] values of the rows that have each modality, among themselves; NaN of others.  predicted: [n, M, ...]."""
    out = np.full(have.shape, np.nan)
    for m, on in enumerate(have.T):
        out[on, m] = subject.values(predicted[:, m], on)
    return out


def _in_own_sign(found: Balance, sign: float) -> Balance:
    """Errors as errors again."""
    probe, alone = ([turned(level, sign) for level in levels] for levels in (found.probe, found.alone))
    return replace(found, probe=probe, alone=alone)


def _probed(subject: Subject, models: Mapping[str, Model]) -> dict[str, Array]:
    """{modality: [n, ...] read off what its model makes of it alone}; NaN without it, or if few were learned from."""
    learned = subject.encoded.dataset.take(subject.learned)
    values, known = learned.target(subject.target).dense(len(learned), 0)
    truth, labelled = values.numpy(), known.numpy()
    made = {
        id(m): (m.alone(learned, subject.target), m.alone(subject.dataset, subject.target)) for m in models.values()
    }
    shape = (len(subject.dataset), *([len(subject.about.classes)] if subject.about.classes else []))
    out = {}
    for modality in subject.names:
        before, asked = made[id(models[modality])]
        found = np.full(shape, np.nan)
        if modality in before and modality in asked:
            rows, features = before[modality]
            taught = rows[labelled[rows]]
            groups = subject.learned_groups[taught]
            if len(np.unique(groups)) >= FEW:
                at, seen = asked[modality]
                found[at] = _read(subject, features[labelled[rows]], truth[taught], seen, groups)
        out[modality] = found
    return out


def _read(subject: Subject, features: Array, truth: Array, asked: Array, groups: Array) -> Array:
    """What linear models that are fitted to features [l, D] and their truth [l, ...] say of asked [q, D]."""
    seed, kind = subject.seed, subject.about.kind
    if kind == "class":
        return linear_probe(features, truth, asked, len(subject.classes), groups=groups, seed=seed)
    if kind == "number":
        return linear_readout(features, truth, asked, groups=groups, seed=seed)
    if kind == "survival":
        return linear_hazard(features, truth, asked, groups=groups, seed=seed)
    found = np.empty((len(asked), truth.shape[1]))
    for label, has in enumerate(truth.T):
        known = ~np.isnan(has)
        if len(np.unique(groups[known])) >= FEW:
            codes = has[known].astype(np.int64)
            found[:, label] = linear_probe(features[known], codes, asked, 2, groups=groups[known], seed=seed)[:, 1]
        else:
            # Too few to read it from: how often it is given.
            found[:, label] = has[known].mean() if known.any() else 0.5
    return found


def _shown(found: Balance, anew: Balance) -> tuple[list[int], list[int]]:
    """-> modalities that were held back, and those of which more was learned beside the others."""
    enough = [m for m, rows in enumerate(found.rows) if rows >= FEW]
    held = [m for m in enough if min(found.shortfall[m].interval[0], anew.shortfall[m].interval[0]) > 0]
    more = [m for m in enough if max(found.shortfall[m].interval[1], anew.shortfall[m].interval[1]) < 0]
    return held, more


def _words(subject: Subject, found: Balance, anew: Balance) -> list[str]:
    names = subject.names
    held, more = _shown(found, anew)
    few = [m for m, rows in enumerate(found.rows) if rows < FEW]
    said = []
    if held:
        held = sorted(held, key=lambda m: -found.shortfall[m].value)
        less = [f"{amount(found.shortfall[m].value, subject.measure)}" for m in held]
        if is_share(subject.measure):
            which = listed([f"{by} more from {names[m]}" for by, m in zip(less, held, strict=True)])
            how = f"of the rows, a model trained on that alone tells {which}"
        else:
            which = listed([f"by {by} for {names[m]}" for by, m in zip(less, held, strict=True)])
            does = "orders the times better" if subject.pairwise else "is less far off"
            how = f"a model trained on that alone {does}, {which}"
        said.append(
            f"Beside the others, the model learned less of {listed([names[m] for m in held])} than there is to learn: "
            f"{how}."
        )
    elif len(few) == len(names):
        said.append(
            f"There are too few rows to tell: no modality has both {FEW} test rows and {FEW} rows to learn from."
        )
    else:
        # Both must be shown, so the smaller of both ends is what may be there unseen.
        room = {
            m: min(one.shortfall[m].interval[1] for one in (found, anew)) for m in range(len(names)) if m not in few
        }
        widest = max(room, key=lambda m: room[m])
        said.append(
            "No modality was shown to drown the others: that the model learned less of any than a model of that one "
            "alone was not shown."
        )
        if room[widest] > 0:
            most = amount(room[widest], subject.measure)
            said.append(f"These rows leave room for it: {names[widest]} could have lost up to {most}.")
    if more:
        said.append(f"Of {listed([names[m] for m in more])} it learned more beside the others than a model of its own.")
    if few and len(few) < len(names):
        rows = listed([f"{names[m]} ({found.rows[m]} rows)" for m in few])
        said.append(f"Nothing is said of {rows}: that takes both {FEW} test rows and {FEW} rows to learn from.")
    return said


def _grid(subject: Subject, found: Balance, anew: Balance) -> Grid:
    measure = subject.measure
    ahead = bool(np.isfinite(found.discrepancy).any())
    lines = [
        (
            subject.names[m],
            estimated(found.probe[m], measure),
            estimated(found.alone[m], measure),
            estimated(found.shortfall[m], measure),
            estimated(anew.shortfall[m], measure),
            *([f"{found.discrepancy[m]:.2f}" if np.isfinite(found.discrepancy[m]) else DASH] if ahead else []),
            str(found.rows[m]),
        )
        for m in _order(found)
    ]
    head = (
        "modality",
        "beside others",
        "a model of it alone",
        "held back",
        "held back, linear models on both sides",
        *(["ahead of the others (1: even)"] if ahead else []),
        "rows",
    )
    scale = "in per cent of" if is_share(measure) else "over"
    return Grid(f"{name(measure).capitalize()} from one modality, {scale} the rows that have it", head, lines)


def _drawing(subject: Subject, found: Balance, anew: Balance) -> Drawing:
    held, _ = _shown(found, anew)
    points = [
        (
            subject.names[m],
            (found.shortfall[m].value, found.shortfall[m].interval),
            "asked" if m in held else "",
        )
        for m in _order(found)
        if found.rows[m]
    ]
    return Drawing(
        forest(points, subject.measure, 0.0, gains=True),
        "How much better a model of each modality alone is than what is read off the joint model of it, with 95 % "
        "intervals. Right of the line: less was learned beside the others; a diamond where that was shown.",
    )


def _order(found: Balance) -> list[int]:
    """The most held back first, those without rows last."""
    return np.argsort([-s.value for s in found.shortfall], kind="stable").tolist()


def _gap(subject: Subject) -> tuple[str, list[Grid], dict[str, Any]]:
    """How unevenly the worth is shared out."""
    names, measure = subject.names, subject.measure
    groups, shares = subject.groups[subject.labelled], subject.shares
    rows = shares.rows
    assert rows is not None
    if len(rows) < FEW:
        raise CannotSay(f"How unevenly worth is shared out is not told: {len(rows)} test rows have a label, not {FEW}.")
    value = contribution_gap(shares.value)
    ends = intervals(
        lambda chosen: {"gap": contribution_gap(rows[chosen].mean(0))}, len(rows), groups=groups, seed=subject.seed
    )["gap"]
    first, last = names[int(shares.value.argmax())], names[int(shares.value.argmin())]
    ends_of = {n: numbered(shares, i)[1] for i, n in enumerate(names)}
    if last in level(first, ends_of):
        said = (
            f"Of what the modalities are worth together {first} has the most and {last} the least on these rows, but "
            "that they differ was not shown: their intervals overlap."
        )
    else:
        said = (
            f"{first} gives the most and {last} the least of what the modalities are worth together, "
            f"{amount(value, measure)} apart; that alone is no fault, as one may just know more."
        )
    scale = "in points of " if is_share(measure) else "in "
    grid = Grid(
        "How uneven the shares are",
        (f"gap, {scale}{name(measure)}", "rows"),
        [(ranged(value, ends, measure), str(len(rows)))],
    )
    return said, [grid], {"gap": {"value": value, "interval": ends, "first": first, "last": last}}

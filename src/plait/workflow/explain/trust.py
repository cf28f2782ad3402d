"""When can the model be trusted: where it is sure, where it has all it needs, where rows are like those it learned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from plait.measures.bootstrap import intervals, mean_interval
from plait.measures.calibration import calibration
from plait.measures.estimate import Estimate
from plait.measures.trust.auroc import auroc
from plait.measures.trust.conflict import conflict
from plait.measures.trust.selective_prediction import fewest, risk_coverage, selective_prediction
from plait.report.figures import answered, forest
from plait.report.words import DASH, FEW, amount, name

from .alike import METHOD as ALIKE
from .alike import alike
from .doubted import doubted
from .explain import QUESTIONS
from .section import CannotSay, Drawing, Grid, Part, Section, joined
from .subject import Array, Subject
from .unlike import distances, unlike
from .wording import estimated, ranged

PATTERNS = 20
"""Patterns of presence in a table, those with the most rows."""
METHOD = (
    "Sure: the probability of the class that it says; rows are answered in that order (Geifman et al., "
    "arXiv:1805.08206). That it knows where it is right is said where the surest half is shown to be right more often "
    "than all rows, or wrong rows to have less confidence than right ones. Stated and real: means over rows; the root "
    "mean square is over bins of equal mass, corrected for the bias of few rows (Kumar et al., arXiv:1909.10155), and "
    "0 where no error is found above that. A pattern is the modalities that a row has; of patterns with fewer than "
    f"{FEW} rows nothing is said. Rows with other patterns may be other rows in other ways too: a difference is no "
    "effect of what is missing. Warning signs: the share of pairs of a wrong and a right row in which the wrong one "
    "has more of the sign, 50 % by chance; without an interval where so few rows are wrong, or right, that chance "
    "reaches as far (Mann & Whitney, Ann. Math. Statist. 1947). Contradiction: the Jensen-Shannon divergence of what "
    "the model says from each modality alone (Lin, IEEE Trans. Inf. Theory 1991), on rows with two or more. Distance: "
    "of a row's joint embedding to the tenth nearest training row (Sun et al., arXiv:2204.06507), against that of "
    "validation rows, which did not train the model that was chosen. "
    "Intervals resample rows, or groups of rows that belong together, for the model as it is. All of it is about rows "
    "like the test rows: of rows from elsewhere it says nothing, and their confidence may be wrong as well."
)


def answer(subject: Subject) -> Section:
    """Raises CannotSay where none of its parts has an answer."""
    parts: list[Part] = []
    refused: list[str] = []
    account: dict[str, Any] = {}
    for key, ask in PARTS.items():
        try:
            found = ask(subject)
        except CannotSay as why:
            refused.append(str(why))
            account[key] = {"refused": str(why)}
        else:
            parts.append(found)
            account[key] = found.account
    refused = [why for why in dict.fromkeys(refused) if why]
    if not any(part.words for part in parts):
        raise CannotSay(" ".join(refused))
    whole = joined("trust", QUESTIONS["trust"], [Part(method=[METHOD]), *parts, Part(refused)])
    return replace(whole, account=account)


def _sure(subject: Subject) -> Part:
    """What is gained by answering only where it is surest."""
    confidence, correct = _confidence(subject)
    groups = subject.groups[subject.labelled]
    found = selective_prediction(confidence, correct, groups=groups, seed=subject.seed)

    def gain(rows: Array) -> dict[str, float]:
        risk = risk_coverage(confidence[rows], 1.0 - correct[rows])
        return {"gain": float(risk[-1] - risk[fewest(0.5, len(rows)) - 1])}

    every = np.arange(len(correct))
    low, high = intervals(gain, len(correct), groups=groups, seed=subject.seed)["gain"]
    half, whole = (f"{100 * found.accuracy[share].value:.0f} %" for share in (0.5, 1.0))
    if correct.all():
        said = f"It is right on all of the {len(correct)} test rows, which cannot show where it errs."
    else:
        little = _little(subject)
        knows = low > 0 or little.interval[0] > 0.5
        said = "Trust it more the surer it is" if knows else "That it knows where it is right was not shown"
        said += f": of the half of the rows where it is surest {half} are right, of all rows {whole}"
        pairs = f"; of a wrong row and a right one it is less sure of the wrong one in {_pairs(little)}"
        said += f"{pairs if correct.any() else ''}."
    risk = risk_coverage(confidence, 1.0 - correct)
    shares = np.arange(1, len(risk) + 1) / len(risk)
    # The first few rows jump between 0 and 1.
    seen = np.unique(np.linspace(min(len(risk) - 1, len(risk) // 20), len(risk) - 1, 200).astype(int))
    marks = [(c, (1 - one.value, (1 - one.interval[1], 1 - one.interval[0]))) for c, one in found.accuracy.items()]
    lines = [(f"{100 * c:.0f} %", estimated(one, "accuracy")) for c, one in found.accuracy.items()]
    return Part(
        [said],
        [
            Drawing(
                answered(list(zip(shares[seen].tolist(), risk[seen].tolist(), strict=True)), marks),
                "How many of the answered rows are wrong if the unsure ones are left out; squares with 95 % "
                "intervals. A line that falls to the left: it knows where it errs.",
            )
        ],
        [Grid("If only the surest rows are answered", ("answered", "right, in per cent"), lines)],
        account={
            **found.account(),
            "gain_of_surest_half": {"value": gain(every)["gain"], "interval": (low, high)},
        },
    )


def _stated(subject: Subject) -> Part:
    """Calibration, of all rows and by pattern."""
    confidence, correct = _confidence(subject)
    predicted = subject.predicted[subject.labelled]
    groups = subject.groups[subject.labelled]
    lines, account, words = [], [], []
    for pattern, rows in [(None, np.arange(len(correct))), *_patterns(subject)]:
        label = "all rows" if pattern is None else _pattern(pattern)
        if pattern is not None and len(rows) < FEW:
            lines.append((label, str(len(rows)), DASH, DASH, DASH, DASH))
            account.append({"present": pattern, "rows": len(rows), "refused": f"fewer than {FEW} rows"})
            continue
        excess = confidence[rows] - correct[rows]
        ends = mean_interval(excess, groups=groups[rows], seed=subject.seed, exact=False)
        found = calibration(predicted[rows], subject.truth[rows], seed=subject.seed)
        states, right, over = (float(values.mean()) for values in (confidence[rows], correct[rows], excess))
        own = mean_interval(correct[rows], groups=groups[rows], seed=subject.seed)
        lines.append(
            (
                label,
                str(len(rows)),
                ranged(states, None, "accuracy"),
                ranged(right, own, "accuracy"),
                ranged(over, ends, "accuracy"),
                ranged(found["rms_debiased"], None, "accuracy"),
            )
        )
        numbers = {"states": states, "right": right, "right_interval": own, "too_sure": over, "interval": ends, **found}
        account.append({"present": pattern, "rows": len(rows), **numbers})
        how = "too sure" if ends[0] > 0 else "too modest" if ends[1] < 0 else ""
        if pattern is None:
            words.append(_overall(how, states, right))
        elif how:
            words.append(f"On rows that have just {label} it is {how}, by {amount(abs(over), 'accuracy')}.")
    head = ("rows that have just", "rows", "states", "right", "too sure by", "off by (r.m.s.)")
    return Part(
        words,
        [],
        [Grid("Stated confidence and what is right, in per cent", head, lines[: PATTERNS + 1])],
        account={"patterns": account},
    )


def _overall(how: str, states: float, right: float) -> str:
    said = f"It states {100 * states:.0f} % confidence on average and is right in {100 * right:.0f} %"
    return f"{said}: on the whole it is {how}." if how else f"{said}: that it is too sure or too modest was not shown."


def _having(subject: Subject) -> Part:
    """Of other targets than classes: how far off it is by what rows have."""
    if subject.about.kind == "class":
        raise CannotSay("")
    measure = subject.measure
    values, groups = subject.values(subject.predicted), subject.groups[subject.labelled]
    sign = subject.sign
    words = [f"Over all test rows its {name(measure)} is {sign * values.mean():.3g}."]
    lines, account = [], []
    for pattern, rows in _patterns(subject):
        label, size = _pattern(pattern), str(len(rows))
        if len(rows) < FEW:
            lines.append((label, size, DASH, DASH))
            account.append({"present": pattern, "rows": len(rows), "refused": f"fewer than {FEW} rows"})
            continue
        inside = np.isin(np.arange(len(values)), rows)
        apart = np.empty(len(values))
        for part in (inside, ~inside):
            apart[part] = subject.values(subject.predicted, part)

        def ahead(chosen: Array, inside: Array = inside, values: Array = apart) -> dict[str, float]:
            here, there = values[chosen][inside[chosen]], values[chosen][~inside[chosen]]
            return {"ahead": float(here.mean() - there.mean()) if len(here) and len(there) else float("nan")}

        value = sign * float(apart[rows].mean())
        ends = mean_interval(sign * apart[rows], groups=groups[rows], seed=subject.seed, exact=False)
        better = ahead(np.arange(len(values)))["ahead"]
        other = intervals(ahead, len(values), groups=groups, seed=subject.seed)["ahead"]
        lines.append((label, size, ranged(value, ends, measure), ranged(better, other, measure)))
        numbers = {"value": value, "interval": ends, "better": better, "better_interval": other}
        account.append({"present": pattern, "rows": len(rows), **numbers})
        if other[0] > 0 or other[1] < 0:
            how = "better" if other[0] > 0 else "worse"
            words.append(
                f"On rows that have just {label} it is {how} than on the others, by {amount(abs(better), measure)}."
            )
    head = ("rows that have just", "rows", name(measure), "better than the others by")
    grids = [Grid(f"{name(measure).capitalize()} by what a row has", head, lines[:PATTERNS])]
    if all("refused" in pattern for pattern in account):
        words.append(f"By what a row has nothing is told: no {FEW} labelled test rows have just the same modalities.")
        grids = []
    return Part(words, [], grids, account={"measure": measure, "patterns": account})


def _signs(subject: Subject) -> Part:
    """What tells a wrong row from a right one."""
    _, correct = _confidence(subject)
    groups, seed = subject.groups[subject.labelled], subject.seed
    wrong = correct == 0
    if wrong.all() or not wrong.any():
        which = "all" if wrong.all() else "none"
        raise CannotSay(f"It is wrong on {which} of the test rows, so that no sign tells wrong rows from right ones.")
    found = {"little confidence": (_little(subject), len(wrong))}
    words, account = [], {}
    have = subject.have[subject.labelled]
    several = have.sum(1) > 1
    if several.any():
        alone = subject.decided((n,) for n in subject.names)
        singles = np.stack([alone[(n,)][subject.labelled] for n in subject.names], 1)
        fused = subject.predicted[subject.labelled]
        said = conflict(singles, fused, have, subject.truth, groups=groups, seed=seed)
        assert said.detector is not None
        detector = _beyond_chance(said.detector, wrong[several])
        account["conflict"] = {"modalities": list(subject.names), **replace(said, detector=detector).account()}
        found["contradicting modalities"] = (detector, said.rows)
        words.append(_told(detector, "where single modalities contradict each other", "contradicts itself more"))
    try:
        at, distance, *_ = distances(subject)
    except CannotSay:
        pass
    else:
        place = np.full(len(subject.dataset), np.nan)
        place[at] = distance
        score = place[subject.labelled]
        known = np.isfinite(score)
        far = _beyond_chance(auroc(score[known], wrong[known], groups=groups[known], seed=seed), wrong[known])
        found["far from what was learned"] = (far, int(known.sum()))
        words.append(_told(far, "where rows are far from what was learned", "is further away"))
    points = [(label, (one.value, one.interval), "") for label, (one, _) in found.items() if np.isfinite(one.value)]
    account["signs"] = {
        label: {"auroc": one.value, "interval": one.interval, "rows": rows} for label, (one, rows) in found.items()
    }
    return Part(
        words,
        [
            Drawing(
                forest(points, "auc", 0.5),
                "How well a sign tells wrong rows from right ones (AUC), with 95 % intervals; the line is chance.",
            )
        ],
        account=account,
    )


def _little(subject: Subject) -> Estimate:
    """How well little confidence tells wrong rows from right ones."""
    confidence, correct = _confidence(subject)
    wrong = correct == 0
    found = auroc(1 - confidence, wrong, groups=subject.groups[subject.labelled], seed=subject.seed)
    return _beyond_chance(found, wrong)


def _beyond_chance(found: Estimate, wrong: Array) -> Estimate:
    """Without an interval where chance reaches as far: resampled, a handful of wrong rows seems surer than it is."""
    few, many = sorted((int(wrong.sum()), int((~wrong).sum())))
    by_chance = 1.96 * np.sqrt((few + many + 1) / (12 * few * many)) if few else np.inf
    within = abs(found.value - 0.5) <= by_chance and not found.interval[0] <= 0.5 <= found.interval[1]
    return replace(found, interval=(float("nan"), float("nan"))) if within else found


def _told(sign: Estimate, where: str, more: str) -> str:
    """What a sign says of errors.  more: what a row has that shows more of it."""
    if not np.isfinite(sign.value):
        return f"Errors {where} cannot be told from others: of such rows all are right, or all wrong."
    pairs = f"of a wrong row and a right one, the wrong one {more} in {_pairs(sign)}"
    if not np.isfinite(sign.interval[0]):
        return f"Whether to be wary {where}, so few cases cannot tell: {pairs}."
    if sign.interval[0] > 0.5:
        return f"Be wary {where}: {pairs}."
    if sign.interval[1] < 0.5:
        return f"Errors are less frequent {where}: {pairs}."
    return f"That errors are more frequent {where} was not shown: {pairs}."


def _pairs(sign: Estimate) -> str:
    return f"{100 * sign.value:.0f} % of all pairs (50 % by chance)"


def _unlike(subject: Subject) -> Part:
    try:
        words, grids, account = unlike(subject)
    except CannotSay as why:
        raise CannotSay(
            f"Whether the test rows as a whole are unlike those it learned from cannot be said. {why}"
        ) from why
    return Part(words, [], grids, account=account)


def _alike(subject: Subject) -> Part:
    words, grids, account = alike(subject)
    return Part(words, [], grids, [ALIKE], account)


PARTS: dict[str, Callable[[Subject], Part]] = {
    "surest": _sure,
    "stated": _stated,
    "having": _having,
    "signs": _signs,
    "unlike": _unlike,
    "doubted": doubted,
    "groups": _alike,
}


def _confidence(subject: Subject) -> tuple[Array, Array]:
    """[p] probability of what is said, and whether it is right, 0 or 1, of the labelled rows."""
    if subject.about.kind != "class":
        why = f"That is asked of classes; {subject.target} is a target of kind {subject.about.kind}."
        raise CannotSay(f"Whether it knows where it errs cannot be said. {why}")
    predicted = subject.predicted[subject.labelled]
    return predicted.max(1).astype(np.float64), (predicted.argmax(1) == subject.truth).astype(np.float64)


def _patterns(subject: Subject) -> list[tuple[list[str], Array]]:
    """(modalities, rows among the labelled that have just these), the most frequent first."""
    have = [tuple(row) for row in subject.have[subject.labelled].tolist()]
    return [
        (
            [n for n, has in zip(subject.names, pattern, strict=True) if has],
            np.array([one == pattern for one in have]).nonzero()[0],
        )
        for pattern, _ in Counter(have).most_common()
    ]


def _pattern(present: Sequence[str]) -> str:
    return ", ".join(present) or "nothing"

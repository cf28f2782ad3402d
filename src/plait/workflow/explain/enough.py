"""Whether one modality would be enough: models of one modality against the model of all, on the same rows."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from plait.core.plain import plain
from plait.measures.estimate import Estimate, mean
from plait.measures.trust.best_single import BestSingle, best_of
from plait.report.words import amount, is_share, name

from .section import CannotSay, Grid, Part
from .subject import Array, Subject
from .wording import between, estimated, turned


@dataclass(frozen=True)
class _Terms:
    """How a kind of target is spoken of.  better, worse: of several; ahead: of one, with `{}` for how much."""

    better: str
    worse: str
    ahead: str
    unseen: str


TERMS = {
    "class": _Terms(
        "answer more rows right", "answer fewer rows right", "answers {} more rows right", "the most frequent class"
    ),
    "number": _Terms(
        "are less far off", "are further off", "is less far off, by {},", "the mean of the rows it learned from"
    ),
    "multi_label": _Terms(
        "are less far off",
        "are further off",
        "is less far off, by {},",
        "how often rows it learned from have each label",
    ),
    "survival": _Terms(
        "order the times better", "order the times worse", "orders them better, by {},", "one risk for all rows"
    ),
}


def enough(subject: Subject) -> Part:
    """Says why where it cannot say.  The target is of one of the kinds of `TERMS`."""
    terms = TERMS[subject.about.kind]
    try:
        single, together, beyond = _single(subject)
    except CannotSay as why:
        return Part([f"Whether one modality would be enough cannot be said. {why}"])
    account = {
        "measure": subject.measure,
        "modalities": list(subject.names),
        **single.account(),
        "together": plain(together),
        "beyond_best": plain(beyond),
    }
    method = (
        f"Alone: models trained on one modality; a row without it is answered with {terms.unseen}. Which one is best "
        "is chosen on one half of the rows and judged on the other (after Thomason et al., arXiv:1811.00613), but "
        "where all together are compared with it, on all rows, which favours it a little. Intervals are 95 % and "
        "resample rows, or groups of them, for the models as they are."
    )
    return Part(
        [_words(subject, terms, single, beyond)],
        [],
        [_grid(subject, terms, single, together, beyond)],
        [method],
        {"single": account},
    )


def _single(subject: Subject) -> tuple[BestSingle, Estimate, Estimate]:
    """-> single modalities; the measure of all together; how much better it is than the best of them, on the same rows.

    Levels are in the measure's own sign.
    """
    groups, seed = subject.groups[subject.labelled], subject.seed
    if len(np.unique(groups)) < 2:
        raise CannotSay("All labelled test rows belong together.")
    unseen = subject.model.priors(len(subject.dataset))[subject.target]
    alone = np.stack([subject.values(_or(subject, name, unseen)) for name in subject.names], 1)
    found = best_of(alone, subject.values(unseen), groups=groups, seed=seed)
    together = subject.values(subject.predicted)
    beyond = mean(together - alone[:, found.best], groups=groups, seed=seed, exact=False)
    scores = [turned(score, subject.sign) for score in found.score]
    found = replace(found, score=scores, unseen=turned(found.unseen, subject.sign))
    return found, turned(mean(together, groups=groups, seed=seed), subject.sign), beyond


def _or(subject: Subject, modality: str, unseen: Array) -> Array:
    """What a model of it alone predicts; on rows without it, `unseen`."""
    said, there = subject.singly[modality], subject.have[:, subject.names.index(modality)]
    return np.where(there.reshape(-1, *[1] * (said.ndim - 1)), said, unseen)


def _words(subject: Subject, terms: _Terms, single: BestSingle, beyond: Estimate) -> str:
    best, measure = subject.names[single.best], subject.measure
    by = f"{amount(beyond.value, measure)}, {between(beyond, measure)}"
    gained = f"{terms.ahead.format(amount(single.gain.value, measure))} than always saying {terms.unseen}"
    if single.gain.interval[0] <= 0:
        if beyond.interval[0] <= 0:
            return (
                "Whether one modality would be enough cannot be told: no model of one modality was shown to do better "
                f"than always saying {terms.unseen}, nor all together better than a model of {best} alone ({by})."
            )
        gained = f"was not shown to do better than always saying {terms.unseen}"
    if beyond.interval[0] > 0:
        return (
            f"One modality is not enough: all together {terms.better} than a model of {best} alone ({by}), which "
            f"{gained}."
        )
    if beyond.interval[1] < 0:
        return (
            f"One modality is enough: all together {terms.worse} than a model of {best} alone ({by}), which {gained}."
        )
    return (
        f"One modality may be enough: that all together do better than a model of {best} alone was not shown ({by}), "
        f"and that model {gained}. These rows cannot tell whether fusion is worth it on this table."
    )


def _grid(subject: Subject, terms: _Terms, single: BestSingle, together: Estimate, beyond: Estimate) -> Grid:
    names, measure = subject.names, subject.measure
    points = is_share(measure)
    order = sorted(range(len(names)), key=lambda i: -subject.sign * single.score[i].value)
    return Grid(
        f"From one modality alone: {'rows that are answered right' if points else name(measure)}",
        ("model", f"{name(measure)}, %" if points else name(measure)),
        [
            ("all together", estimated(together, measure)),
            *((f"{names[i]} alone", estimated(single.score[i], measure)) for i in order),
            (terms.unseen, estimated(single.unseen, measure)),
            (f"best alone better than that{', points' if points else ''}", estimated(single.gain, measure)),
            (f"all better than the best alone{', points' if points else ''}", estimated(beyond, measure)),
        ],
    )

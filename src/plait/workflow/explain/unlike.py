"""Rows unlike those that were learned from: how many there are, and which."""

from __future__ import annotations

from typing import Any

import numpy as np

from plait.data.schema import JOINT
from plait.measures.trust.out_of_distribution import k_nearest, out_of_distribution
from plait.report.words import DASH, FEW

from .section import CannotSay, Grid
from .subject import Array, Subject
from .wording import ranged

NEIGHBOURS = 10
FURTHEST = 10


def unlike(subject: Subject) -> tuple[list[str], list[Grid], dict[str, Any]]:
    """-> words, tables, account.  CannotSay without a shared space, the rows that were learned from, or enough rows."""
    at, distance, held, groups = distances(subject)
    if len(held) < FEW:
        raise CannotSay(f"There are {len(held)} validation rows to compare with, and {FEW} are needed.")
    together = np.concatenate([groups, subject.groups[at] + groups.max() + 1])
    found = out_of_distribution(held, distance, groups=together, seed=subject.seed)
    low, high = found.fpr95.interval
    beyond, ends = 1 - found.fpr95.value, (1 - high, 1 - low)
    refitted = bool(subject.model.info.get("refit"))
    how, outcomes = _outcomes(subject)
    usual = float(np.quantile(held, 0.95))
    furthest = _furthest(subject, at, distance, how, outcomes)
    grids = [
        Grid(
            "Test rows further from the training rows than 95 % of the validation rows",
            ("per cent of the test rows", "test rows", "validation rows"),
            [(ranged(beyond, ends, "accuracy"), str(found.outliers), str(found.inside))],
        ),
        Grid(
            f"The test rows furthest from what it learned; 95 % of the validation rows are nearer than {usual:.2f}",
            ("row", "distance", "it has", *([how.replace("_", " ")] if how else [])),
            [
                (
                    str(row["id"]),
                    f"{row['distance']:.2f}",
                    ", ".join(row["present"]),
                    *([_outcome(row[how])] if how else []),
                )
                for row in furthest
            ],
        ),
    ]
    account = {
        "refit": refitted,
        "beyond": {"value": beyond, "interval": ends},
        "further_than_validation": {"auroc": found.auroc.value, "interval": found.auroc.interval},
        "validation_rows": found.inside,
        "test_rows": found.outliers,
        "usual": usual,
        "furthest": furthest,
    }
    first = _words(beyond, ends, refitted)
    return (
        [first, "The test rows that are furthest from what it learned are listed: look at them first."],
        grids,
        account,
    )


def distances(subject: Subject) -> tuple[Array, Array, Array, Array]:
    """-> places of test rows that have an embedding, their distances to training rows; those of validation rows, and
    their groups.  CannotSay without a shared space or the rows that were learned from."""
    watched = subject.watched
    at, values = _directed(*subject.embeddings[JOINT])
    rows, known = _directed(*subject.learned_embeddings[JOINT])
    held = watched[rows]
    if (~held).sum() < NEIGHBOURS or not len(at):
        raise CannotSay("There are too few rows with an embedding.")
    train = known[~held]
    inside = k_nearest(known[held], train, NEIGHBOURS)
    return at, k_nearest(values, train, NEIGHBOURS), inside, subject.learned_groups[rows[held]]


def _directed(rows: Array, values: Array) -> tuple[Array, Array]:
    """Without embeddings that have no direction."""
    some = np.linalg.norm(values, axis=1) > 0
    return rows[some], values[some]


def _words(beyond: float, ends: tuple[float, float], refitted: bool) -> str:
    share = f"{100 * beyond:.0f} % of the test rows are further from what it learned than 95 % of the validation rows"
    if refitted:
        return (
            "Whether test rows are unlike those it learned from cannot be told by comparison with validation rows, as "
            f"the model that was kept has learned from these too: {share}."
        )
    if ends[0] > 0.05:
        return f"Test rows are unlike those it learned from: {share}, where 5 % would be of rows of the same kind."
    return f"That test rows are unlike those it learned from was not shown: {share}."


def _furthest(subject: Subject, at: Array, distance: Array, how: str, outcomes: dict[int, Any]) -> list[dict[str, Any]]:
    ids = subject.dataset.ids
    return [
        {
            "id": ids[at[i]],
            "distance": float(distance[i]),
            "present": [n for n, has in zip(subject.names, subject.have[at[i]], strict=True) if has],
            **({how: outcomes.get(int(at[i]))} if how else {}),
        }
        for i in np.argsort(-distance, kind="stable")[:FURTHEST]
    ]


def _outcomes(subject: Subject) -> tuple[str, dict[int, Any]]:
    """What is told of labelled rows, and that by their place: whether they are right, or of numbers how far off.

    Nothing of other targets.
    """
    kind = subject.about.kind if subject.model.targets else None
    if kind not in ("class", "number"):
        return "", {}
    rows, said = subject.labelled.tolist(), subject.predicted[subject.labelled]
    if kind == "number":
        return "off_by", dict(zip(rows, np.abs(said - subject.truth).tolist(), strict=True))
    return "right", dict(zip(rows, (said.argmax(1) == subject.truth).tolist(), strict=True))


def _outcome(found: bool | float | None) -> str:
    if found is None:
        return DASH
    return ("no", "yes")[found] if isinstance(found, bool) else f"{found:.3g}"

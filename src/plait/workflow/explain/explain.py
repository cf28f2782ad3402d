"""`plait explain`: the questions, asked of one model and its rows."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from plait.core.errors import DataError, MissingExtra, RecipeError, RunError, nearest
from plait.data.copies import left_out

from ..evaluate import doubt_notes, overlap, single_models
from ..model import Model
from ..prepare import Progress, silent
from ..report import write_from
from ..run import EXPLANATION, asked_about, read_json, write_json
from .section import Answer, CannotSay, Section
from .subject import Subject

QUESTIONS = {
    "worth": "What is each modality worth?",
    "interactions": "Do modalities repeat or complete each other?",
    "space": "How do modalities lie in the shared space?",
    "dependence": "What does the model lean on?",
    "balance": "Does one modality drown the others?",
    "trust": "When can the model be trusted?",
    "robustness": "What breaks it?",
}
"""By the module that answers."""


@dataclass(frozen=True)
class Explanation:
    """rows: judged ones.  notes: what the reader should know first.  own: whether they are the test rows of the table
    that the model was fitted on.
    """

    rows: int
    sections: list[Section]
    notes: list[str]
    own: bool = True

    def account(self) -> dict[str, Any]:
        """As `plait explain --json` prints it, and as the report is made from."""
        return {"rows": self.rows, "notes": self.notes, "sections": [section.plain() for section in self.sections]}


def explain(
    model: Model,
    source: Any = None,
    *,
    sections: Sequence[str] | None = None,
    deep: bool = False,
    by: str | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Explanation:
    """Answer questions about a model on its run's own test rows, or on all rows of another table.

    source: another table; or the one that the model was fitted on, wherever it lies now, whose test rows are taken.
    sections: names of `QUESTIONS`; all where None.  deep: also what takes minutes: damaged cells, and models trained
    anew.  by: a column of groups that are to be treated alike.
    Of a run's own rows the answers are kept, and its report is written anew.
    RecipeError on an unknown question, RunError if the run's data is needed and not there, DataError without rows.
    """
    asked = list(QUESTIONS) if sections is None else list(sections)
    if not asked:
        raise RecipeError(f"No question is asked. There are {', '.join(QUESTIONS)}.")
    for name in asked:
        if name not in QUESTIONS:
            raise RecipeError(f"There is no question {name!r}.{nearest(name, QUESTIONS)}")
    subject, notes, own = _subject(model, source, deep, by, seed, progress)
    found = []
    for i, name in enumerate(asked):
        progress("questions", i, len(asked))
        found.append(_answered(name, subject))
    progress("questions", len(asked), len(asked))
    explanation = Explanation(len(subject.test), found, notes, own)
    if own and model.folder is not None:
        _keep(model.folder, explanation, subject)
    return explanation


def _answered(name: str, subject: Subject) -> Section:
    answer: Answer = importlib.import_module(f"plait.workflow.explain.{name}").answer
    try:
        return answer(subject)
    except CannotSay as why:
        return Section(name, QUESTIONS[name], [str(said) for said in why.args])


def _subject(
    model: Model, source: Any, deep: bool, by: str | None, seed: int, progress: Progress
) -> tuple[Subject, list[str], bool]:
    notes: list[str] = []
    table, splits = asked_about(model, source)
    if splits is not None:
        test, learned = splits["test"], np.concatenate([splits["train"], splits["validation"]])
        if source is not None:
            notes.append(f"The model was fitted on this table: asked are its {len(test)} test rows.")
    else:
        test, learned = np.arange(len(table)), np.zeros(0, np.int64)
        notes.append("These are other rows than the run's own: nothing that needs the rows it learned from is said.")
        notes += overlap(model, table)
    notes += doubt_notes(table, splits or {"test": test})
    if not len(test):
        raise DataError("There are no test rows. Give some: plait explain RUN DATA.")
    encoded = model.encode(table, progress)
    alone: dict[str, Model] = {}
    if model.targets and len(model.names) > 1:
        try:
            alone = single_models(model, (table, encoded) if splits is not None else None, progress)
        except (RunError, RecipeError) as error:
            notes.append(f"No single-modality models: {error}")
    if by is not None:
        table.column(by)
    subject = Subject(model, table, encoded, test, learned, alone, deep, by, seed, progress)
    return subject, [*notes, *left_out(subject.few_values)], splits is not None


def _keep(folder: Path, explanation: Explanation, subject: Subject) -> None:
    """What was answered before and not now stays."""
    path = folder / EXPLANATION
    before = read_json(path)["sections"] if path.exists() else []
    account = explanation.account()
    answered = {section["name"]: section for section in [*before, *account["sections"]]}
    account["sections"] = [answered[name] for name in QUESTIONS if name in answered]
    write_json(path, account)
    try:
        write_from(folder, subject.model, subject.table, subject.encoded.dataset)
    except MissingExtra as error:
        explanation.notes.append(f"The report was not written anew. {error}")

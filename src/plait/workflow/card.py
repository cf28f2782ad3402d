"""The model card: what a model is, what it was made from, what it is worth and what it is not for, as Markdown.

No cell of the data is in it.  Source of the form: Mitchell et al., "Model Cards for Model Reporting", FAT* 2019.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from plait.report.report import Report
from plait.report.words import ends, headline, interval, name, number, test_rows

from .model import Model

FEW = 300
"""Test rows below which the card warns of wide intervals."""


def text(report: Report, model: Model, samples: Mapping[str, int]) -> str:
    """The card of a run.  samples: of the fit, rows by split and training cells by modality."""
    parts = [
        f"# {report.title}",
        _about(report, model.network.projection is not None),
        "## Data",
        _data(report, model, samples),
        "## What it is worth",
        _figures(report),
        "## What it is not for",
        _limits(report, model),
        "## Use",
        _use(report),
        "## How to repeat it",
        f"```\n{report.command}\n```",
        "With " + ", ".join(f"{package} {version}" for package, version in report.versions.items()) + ".",
        "<details><summary>The recipe</summary>\n\n```yaml\n" + report.recipe + "```\n\n</details>",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _about(report: Report, searchable: bool) -> str:
    what = ", ".join(f"{modality} ({column.kind})" for modality, column in report.modalities.items())
    aim = (
        f"It predicts {', '.join(f'`{target}`' for target in report.targets)}"
        if report.targets
        else "It predicts nothing: it was fitted without a target"
    )
    space = ", and puts cells of every modality into one space, where they can be searched" if searchable else ""
    return f"A multimodal model made with Plait. It reads {what}; any of them may be missing in a row. {aim}{space}."


def _data(report: Report, model: Model, samples: Mapping[str, int]) -> str:
    schema = model.schema
    split = (
        f"given by the column `{schema.split}`"
        if schema.split is not None
        else f"drawn at random, rows with equal `{schema.group}` on one side"
        if schema.group is not None
        else "drawn at random, rows with an equal cell on one side"
    )
    sizes = ", ".join(f"{samples[part]:,} {part}" for part in ("train", "validation", "test"))
    rows = [
        (modality, column.kind, _share(column.count, report.rows), f"{column.quarantined:,}")
        for modality, column in report.modalities.items()
    ]
    rows += [
        (f"{target} (target)", column.kind.replace("_", " "), _share(column.count, report.rows), "")
        for target, column in report.targets.items()
    ]
    table = _table(("", "kind", "present or labelled", "unreadable"), rows)
    learned = samples["train"] + samples["validation"]
    again = (
        f" Training rows were learned from, validation rows chose, then the same training was repeated on all "
        f"{learned:,} of them; validation figures are from before."
        if model.info["refit"]
        else ""
    )
    return f"{report.rows:,} rows: {sizes}, {split}.{again}\n\n{table}"


def _share(count: int, rows: int) -> str:
    return f"{count:,} ({100 * count / rows:.0f} %)" if rows else f"{count:,}"


def _figures(report: Report) -> str:
    found = report.evaluation
    test = [
        (name(measure), number(value, measure), interval(ends(found, measure), measure))
        for measure, value in found.get("test", {}).items()
    ]
    searches = [
        (pair, *(number(entry[f"recall@{k}"], "recall@") for k in (1, 10)), f"{entry['gallery']:,}")
        for pair, entry in found.get("retrieval", {}).items()
    ]
    parts = [
        " ".join(headline(report)),
        _table((f"{report.target}, {test_rows(report)}", "value", "95 % interval"), test),
        _table(("search", "recall@1", "recall@10", "gallery"), searches),
        "" if found else "It was not evaluated: there were no test rows.",
    ]
    return "\n\n".join(part for part in parts if part)


def _limits(report: Report, model: Model) -> str:
    rows = report.evaluation.get("rows", 0)
    said = [
        "Data of another kind or origin than its table: the figures come from rows of the same table, and say nothing "
        "about others.",
        "Decisions about people, unless it was tested on them for that purpose, group by group.",
    ]
    if rows < FEW:
        said.append(f"Fine comparisons: there are only {rows:,} test rows, and the intervals are as wide as they look.")
    if model.schema.group is None and model.schema.split is None:
        said.append(
            "Rows that have near-duplicates: no group column kept them on one side, so the figures may flatter. "
            "Fit with --group if there are any."
        )
    if report.targets:
        said.append("Rows with none of its modalities: they get what is most frequent, without being looked at.")
    said += [f"Mind: {warning}" for warning in report.warnings]
    return "\n".join(f"- {line}" for line in said)


def _use(report: Report) -> str:
    predict = "model.predict(rows)           # a table, a data frame, a path, or one row as a dict\n"
    return (
        "```python\nimport plait\n\n"
        'model = plait.load("RUN")        # this folder\n'
        f"{predict if report.targets else ''}"
        "model.embed(rows)             # unit vectors, one a row\n```\n\n"
        "The columns that it reads are in `schema.yaml`."
    )


def _table(head: tuple[str, ...], rows: list[Any]) -> str:
    if not rows:
        return ""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)

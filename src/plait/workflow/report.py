"""The report and the model card of a run folder, written anew from what lies in it and the run's own rows."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from plait.data.cache import writing
from plait.data.dataset import Dataset
from plait.data.duplicates import equal_groups
from plait.data.kinds import image
from plait.data.table import Table
from plait.report.report import Cell, Column, Found, Report, Search, write_report
from plait.training.loop import HISTORY
from plait.training.runs import read_config

from . import card
from .model import Model
from .run import EVALUATION, EXPLANATION, FIT, own_rows, read_json, read_splits

if TYPE_CHECKING:
    from .train import Fitted

REPORT = "report.html"
CARD = "README.md"

SHOWN = ("text", "image", "audio")
"""Kinds whose cells a person can take in at a glance."""
HITS = 5
THUMBNAIL = 192
CHOICE = (
    "The queries were drawn by chance from the test rows, before anything was searched, and only the cell shown was "
    "asked with. Found are the five nearest cells of one other modality among all test rows that have it; the number "
    "is the cosine. A match has an equal cell of either of the two modalities."
)


def write(folder: str | Path, fitted: Fitted | None = None) -> Path:
    """Write `report.html` and the model card of a run; -> the path of the report.

    fitted: of the run, if it is at hand; otherwise its data is read again.  RunError if it is not there or has changed,
    MissingExtra without matplotlib; the model card is written nevertheless.
    """
    folder = Path(folder)
    if fitted is not None:
        return write_from(folder, fitted.model, fitted.table, fitted.encoded.dataset, fitted.account())
    model = Model.load(folder)
    table, _ = own_rows(model)
    return write_from(folder, model, table, model.encode(table).dataset)


def write_from(
    folder: Path, model: Model, table: Table, dataset: Dataset, account: Mapping[str, Any] | None = None
) -> Path:
    """`write`, of the run's table and its stored cells.  account: of the fit; that of the folder where None."""
    told = read_json(folder / FIT) if account is None else account
    report = build(folder, model, table, dataset, told)
    with writing(folder / CARD) as part:
        part.write_text(card.text(report, model, told["samples"]), encoding="utf-8")
    write_report(folder / REPORT, report)
    return folder / REPORT


def build(folder: Path, model: Model, table: Table, dataset: Dataset, account: Mapping[str, Any]) -> Report:
    """What there is to report of a run; of several targets, the first."""
    config, splits = read_config(folder), read_splits(folder)
    schema, names = table.schema, list(model.names)
    have = dataset.only(names).have.numpy()
    targets = {name: Column(t.kind, len(table.targets(name)[0])) for name, t in schema.targets.items()}
    target = next(iter(targets), None)
    modalities = {
        name: Column(schema.modalities[name].kind, int(have[:, i].sum()), _quarantined(table, name))
        for i, name in enumerate(names)
    }
    evaluation = read_json(path) if (path := folder / EVALUATION).exists() else {}
    history = _history(folder / HISTORY)
    return Report(
        title=Path(config["source"]).name if config.get("source") else folder.name,
        rows=len(table),
        modalities=modalities,
        presence=have,
        targets=targets,
        target=target,
        history=history,
        kept=_kept(history, model.info["best"]),
        evaluation=_of(target, targets, evaluation),
        searches=searches(model, table, dataset, splits["test"], config["seed"]),
        choice=CHOICE,
        questions=read_json(path)["sections"] if (path := folder / EXPLANATION).exists() else (),
        warnings=[*account["warnings"], *evaluation.get("notes", ())],
        quarantine=[(cell.row, cell.column, cell.reason) for cell in table.quarantine],
        recipe=yaml.safe_dump(model.recipe.dump(), sort_keys=False, allow_unicode=True),
        command=command(config, folder),
        seconds=account["seconds"],
        versions=config["versions"],
    )


def _quarantined(table: Table, name: str) -> int:
    columns = table.schema.modalities[name].columns
    return sum(cell.column in (*columns, ", ".join(columns)) for cell in table.quarantine)


def _history(path: Path) -> list[dict[str, Any]]:
    """A mapping for each epoch, those of all stages counted on, with keys such as "validation/loss"."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [
        {
            "epoch": i,
            "at": (line["stage"], line["epoch"]),
            **{f"{side}/{name}": v for side in ("train", "validation") for name, v in line[side].items()},
        }
        for i, line in enumerate(lines)
    ]


def _kept(history: Sequence[Mapping[str, Any]], best: Mapping[str, Any]) -> int | None:
    """best: of the last stage, as the loop tells it; the recipe keeps the last epoch where there is none."""
    if not history:
        return None
    stage, last = history[-1]["at"]
    at = (stage, best.get("epoch", last))
    return next(record["epoch"] for record in history if record["at"] == at)


def _of(target: str | None, targets: Mapping[str, Any], found: Any) -> Any:
    """An evaluation with the figures of one target alone, whose names then do without it."""
    if isinstance(found, list):
        return [_of(target, targets, entry) for entry in found]
    if not isinstance(found, dict) or len(targets) < 2:
        return found
    others = tuple(f"{name}/" for name in targets if name != target)
    return {
        key.removeprefix(f"{target}/"): _of(target, targets, value)
        for key, value in found.items()
        if not key.startswith(others)
    }


_OPTIONS = {"settings": "set", "kinds": "kind"}
"""Options whose names differ from those of the arguments."""


def command(config: Mapping[str, Any], folder: Path) -> str:
    """What to type to fit the same model on the same data: a command, or a line of Python if some was in memory."""
    asked = dict(config.get("arguments", {}))
    memory = asked.pop("in_memory", [])
    if config.get("source") is None or memory:
        given = {key: value for key, value in asked.items() if key not in memory}
        said = [f"{name}={name}" for name in memory] + [f"{name}={value!r}" for name, value in given.items()]
        first = "table" if config.get("source") is None else repr(config["source"])
        last = [f"seed={config['seed']}", f"out={str(folder)!r}"]
        return f"plait.fit({', '.join([first, *said, *last])})"
    words = ["plait", "fit", config["source"]]
    for name, value in asked.items():
        option = f"--{_OPTIONS.get(name, name)}"
        values = [f"{column}={kind}" for column, kind in value.items()] if isinstance(value, dict) else value
        for each in values if isinstance(values, list) else [values]:
            words += [option] if each is True else [option, str(each)]
    return shlex.join([*words, "--seed", str(config["seed"]), "--out", str(folder)])


def searches(model: Model, table: Table, dataset: Dataset, test: np.ndarray, seed: int, most: int = 3) -> list[Search]:
    """Example searches among the test rows, from one modality to another, chosen as `CHOICE` says."""
    kinds = {name: table.schema.modalities[name].kind for name in model.names}
    names = [name for kind in SHOWN for name in model.names if kinds[name] == kind]
    if len(names) < 2 or not len(test):
        return []
    found = model.embeddings(dataset.take(test))
    seen = table.take(test)
    out = []
    for source in names if found else ():
        # A picture is the most telling answer; failing that, the first modality that is another.
        wanted = min((n for n in names if n != source), key=lambda n: (kinds[n] != "image", names.index(n)))
        rows, gallery = found[wanted]
        asking = np.intersect1d(found[source][0], rows)
        if len(asking) < 2:
            continue
        query = min(asking.tolist(), key=lambda row: _lot(seed, source, seen.ids[row]))
        vector = found[source][1][np.searchsorted(found[source][0], query)]
        cosine = gallery @ vector
        same = equal_groups(seen, (source, wanted))
        hits = [
            Found(
                seen.ids[rows[at]],
                float(cosine[at]),
                _cells(seen, int(rows[at]), (wanted, names[0]), kinds),
                bool(same[rows[at]] == same[query]),
            )
            for at in np.argsort(-cosine, kind="stable")[:HITS]
        ]
        out.append(Search(_cells(seen, query, (source,), kinds), hits))
        if len(out) == most:
            break
    return out


def _lot(seed: int, source: str, id: str) -> bytes:
    return hashlib.blake2b(json.dumps([seed, source, id]).encode(), digest_size=16).digest()


def _cells(table: Table, row: int, names: tuple[str, ...], kinds: Mapping[str, str]) -> list[Cell]:
    """The cells that the row has, to look at or listen to."""
    out = []
    for name in dict.fromkeys(names):
        for raw in table.cells(name, [row]):
            value = image.decode(raw, size=THUMBNAIL) if kinds[name] == "image" and isinstance(raw, bytes) else raw
            if isinstance(value, (str, bytes, np.ndarray)):
                out.append(Cell(name, value))
    return out

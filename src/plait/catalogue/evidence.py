"""What was recorded when an entry's claims were checked: `evidence/NAME.json`, written by the check alone."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from plait.core.component import available, find
from plait.core.errors import RecipeError, RunError
from plait.core.mapping import read_mapping
from plait.core.recipe import Recipe
from plait.workflow.defaults import RECIPES
from plait.workflow.fingerprint import fingerprint, modules_of

from . import entry as entries
from .entry import Entry
from .tables import named
from .verdict import discoveries, together

EVIDENCE = Path(__file__).parent / "evidence"
ROOTS = ("plait.catalogue.check", "plait.workflow.defaults")
"""What every check runs, beside the components of both arms, all encoders and its data."""
UNCHECKED = "unchecked"
UNSOUND = "unsound"
"""Of an entry that cannot be read; its title then says why."""


def depends_on(entry: Entry, at: int | None = None) -> str:
    """The fingerprint of the checks of an entry's claims, or of its claim number `at`.

    It is of the code that both arms reach, the default recipe under them, the data, and what the entry asks for.
    """
    default = read_mapping(RECIPES / "default.yaml", "recipe", RecipeError)
    claims = entry.claims if at is None else [entry.claims[at]]
    if entry.measures:
        modules = ["plait.catalogue.experiment", *(f"plait.{path}" for path in entry.carriers)]
        modules += [f"plait.catalogue.experiments.{str(claim.by).partition('.')[0]}" for claim in claims]
    else:
        modules = [*ROOTS, *(find("encoders", name).__module__ for name in available("encoders"))]
        for arm in (entry.recipe, entry.baseline, default):
            modules += modules_of(Recipe.parse(arm))
    for claim in claims:
        for data in (claim.data, claim.without, claim.replicate):
            modules += [] if data is None else [f"plait.data.sets.{named(data)[0]}"]
    numbers = range(len(entry.claims)) if at is None else [at]
    return fingerprint(modules, [default, [asked_of(entry, number) for number in numbers]])


def asked_of(entry: Entry, at: int) -> str:
    """The fingerprint of what an entry asks for in its claim number `at`, whatever code answers."""
    fields = {"recipe", "baseline", "disabled", "knobs", "repeats"}
    if entry.predicts_from is not None:
        fields.add("predicts_from")
    arms = entry.model_dump(mode="json", include=fields)
    claim = entry.claims[at]
    return fingerprint([], [arms, claim.asked() if entry.measures else claim.asked("by")])


def read(name: str, folder: Path | None = None) -> dict[str, Any] | None:
    """What is recorded of an entry; None if it was never checked.  RunError if the file is damaged."""
    path = (folder or EVIDENCE) / f"{name}.json"
    if not path.exists():
        return None
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RunError(f"{path} is damaged ({error}). Check the claims of {name} again.") from error
    return found


def stale(entry: Entry, recorded: Mapping[str, Any] | None) -> bool:
    """Whether what is recorded of an entry was seen with other code, or of another recipe."""
    return recorded is not None and recorded["fingerprint"] != depends_on(entry)


def one_sided(claim: Mapping[str, Any]) -> bool:
    """Whether a recorded claim holds where it could not have been contradicted: nothing planted shows that the method
    ever gains.
    """
    return claim["verdict"] == "holds" and claim["gates"].get("control", {}).get("passed") is False


def qualified(claim: Mapping[str, Any]) -> str:
    """What is to be said beside a recorded verdict: why it is unclear, or that it is one-sided."""
    return claim["reason"] or ("one-sided" if one_sided(claim) else "")


def overview() -> list[dict[str, Any]]:
    """As `plait catalogue --json` prints it: of every entry its head, its verdict in one word, and if that is stale."""
    found = []
    for name in entries.names():
        try:
            entry = entries.load(name)
        except RecipeError as error:
            # One that is not sound must not hide the others.
            nothing = dict.fromkeys(("family", "component", "scale"), "")
            found.append({"name": name, "title": str(error), **nothing, "verdict": UNSOUND, "stale": False})
            continue
        recorded = read(name)
        found.append(
            {
                "name": name,
                "title": entry.title,
                "family": entry.family,
                "component": entry.carried_by,
                "scale": entry.scale,
                "verdict": UNCHECKED
                if recorded is None
                else together([claim["verdict"] for claim in recorded["claims"]]),
                "stale": stale(entry, recorded),
            }
        )
    return found


def summary() -> dict[str, Any]:
    """What the claims of all entries came to: how many, their verdicts, how many could not have been contradicted, why
    they are unclear; of those that say that a method gains, how many stand together (Benjamini-Hochberg, q = .10); how
    many verdicts were found again.
    """
    found = [claim for name in entries.names() for claim in (read(name) or {"claims": []})["claims"]]
    count = sum(len(entries.load(name).claims) for name in entries.names())
    verdicts = Counter(claim["verdict"] for claim in found)
    p = [claim["p"] for claim in found if claim.get("p") is not None]
    again = [claim for claim in found if claim["replication"] is not None]
    return {
        "claims": count,
        "verdicts": {**dict(verdicts.most_common()), UNCHECKED: count - len(found)},
        "one_sided": sum(map(one_sided, found)),
        "reasons": dict(Counter(claim["reason"] for claim in found if claim["reason"]).most_common()),
        "tested": len(p),
        "discovered": int(discoveries(np.array(p)).sum()) if p else 0,
        "replications": len(again),
        "replicated": sum(claim["verdict"] == claim["replication"]["verdict"] for claim in again),
    }

"""What was recorded when an entry's claims were checked: `evidence/NAME.json`, written by the check alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plait.core.component import available, find
from plait.core.errors import RecipeError, RunError
from plait.core.mapping import read_mapping
from plait.core.recipe import Recipe
from plait.workflow.defaults import RECIPES
from plait.workflow.fingerprint import fingerprint
from plait.workflow.trials import modules_of

from . import entry as entries
from .entry import Entry
from .tables import named
from .verdict import together

EVIDENCE = Path(__file__).parent / "evidence"
ROOTS = ("plait.catalogue.check", "plait.workflow.defaults")
"""What every check runs, beside the components of both arms, all encoders and its data."""
UNCHECKED = "unchecked"


def depends_on(entry: Entry, at: int | None = None) -> str:
    """The fingerprint of the checks of an entry's claims, or of its claim number `at`.

    It is of the code that both arms reach, the default recipe under them, the data, and what the entry asks for.
    """
    default = read_mapping(RECIPES / "default.yaml", "recipe", RecipeError)
    modules = [*ROOTS, *(find("encoders", name).__module__ for name in available("encoders"))]
    for arm in (entry.recipe, entry.baseline, default):
        modules += modules_of(Recipe.parse(arm))
    claims = entry.claims if at is None else [entry.claims[at]]
    for claim in claims:
        for data in (claim.data, claim.without, claim.replicate):
            modules += [] if data is None else [f"plait.data.sets.{named(data)[0]}"]
    arms = entry.model_dump(mode="json", include={"recipe", "baseline", "disabled", "knobs", "repeats"})
    return fingerprint(modules, [default, arms, [claim.model_dump(mode="json") for claim in claims]])


def read(name: str) -> dict[str, Any] | None:
    """What is recorded of an entry; None if it was never checked.  RunError if the file is damaged."""
    path = EVIDENCE / f"{name}.json"
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


def overview() -> list[dict[str, Any]]:
    """As `plait catalogue --json` prints it: of every entry its head, its verdict in one word, and if that is stale."""
    found = []
    for name in entries.names():
        entry = entries.load(name)
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

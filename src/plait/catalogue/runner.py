"""`plait claim`: all claims of an entry, checked, written down and entered in the ledger."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from plait.core.errors import RunError
from plait.core.plain import plain
from plait.data.cache import cache_root, writing
from plait.workflow.prepare import Progress, silent
from plait.workflow.run import locked, versions, write_json

from . import entry as entries
from . import experiment, gates, ledger
from .check import check, confirmed, replicated
from .evidence import EVIDENCE, asked_of, depends_on, read
from .record import AGAIN, Checked
from .verdict import together

Array = np.ndarray[Any, np.dtype[Any]]


def claim(
    name: str,
    *,
    folder: Path = EVIDENCE,
    replicate: bool = True,
    again: bool = False,
    keep: bool = False,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Check an entry's claims and write `folder/NAME.json` and `folder/NAME.npz` -> what was recorded.

    replicate: look again, with fresh seeds, for whatever holds or is contradicted.  again: make another attempt, with
    other draws and folds.  keep: take what is recorded of claims that nothing has changed for, neither words nor code.
    What was done before comes from the cache.  RecipeError if there is no such entry, RunError if another process
    checks it, DataError if its data cannot be had.
    """
    entry = entries.load(name)
    # Code that changes while it is checked leaves it stale.
    began, today = time.perf_counter(), depends_on(entry)
    with locked(cache_root() / "checks" / name):
        found: dict[int, Checked] = {}
        before = _recorded(name, folder) if keep else []
        # What nothing on planted data speaks for cannot be contradicted elsewhere: the planted ones come first.
        planted = [at for at, one in enumerate(entry.claims) if one.kind == "planted"]
        for at in [*planted, *(at for at in range(len(entry.claims)) if at not in planted)]:
            says, fingerprint = entry.claims[at].says, depends_on(entry, at)
            attempt = ledger.attempt_of(folder, name, says, again)
            ledger.note(folder, "begun", name, says, fingerprint, attempt)
            gains = any(found[i].record["gates"]["control"]["passed"] for i in planted if i in found)
            kept = before[at] if at < len(before) else None
            if kept is not None and (kept.record["fingerprint"], kept.record["attempt"]) == (fingerprint, attempt):
                found[at] = kept if at in planted else _regated(kept, gains)
            elif entry.measures:
                found[at] = experiment.check(entry, name, at, attempt, progress=progress)
            else:
                found[at] = check(entry, name, at, attempt, controlled=gains, progress=progress)
            record = found[at].record
            record |= {"fingerprint": fingerprint, "asked": asked_of(entry, at)}
            record.setdefault("replication", None)
            if (
                replicate
                and record["replication"] is None
                and record["verdict"] != "unclear"
                and record["kind"] in ("compare", "planted")
            ):
                look = experiment.again if entry.measures else replicated
                record["replication"] = look(entry, name, at, attempt + AGAIN, progress)
            told = {key: record[key] for key in ("verdict", "reason", "difference", "interval")}
            ledger.note(folder, "done", name, says, fingerprint, attempt, **told)
        records = [found[at].record for at in range(len(entry.claims))]
        account: dict[str, Any] = {
            "name": name,
            "verdict": together([record["verdict"] for record in records]),
            "fingerprint": today,
            "versions": versions(),
            "seconds": time.perf_counter() - began,
            "claims": records,
        }
        with writing(folder / f"{name}.npz") as part, part.open("wb") as file:
            arrays: Any = {key: value for one in found.values() for key, value in one.arrays.items()}
            np.savez_compressed(file, **arrays)
        write_json(folder / f"{name}.json", account)
    # As it is in the file: trials that a search did not ask for have no score.
    written: dict[str, Any] = plain(account)
    return written


def _recorded(name: str, folder: Path) -> list[Checked]:
    """What is recorded of each claim of an entry."""
    account = read(name, folder)
    if account is None:
        return []
    with np.load(folder / f"{name}.npz") as file:
        arrays = dict(file)
    return [
        Checked(record, {key: value for key, value in arrays.items() if key.startswith(f"{at}/")})
        for at, record in enumerate(account["claims"])
    ]


def _regated(checked: Checked, gains: bool) -> Checked:
    """With what planted claims say today: all else that a verdict rests on is of the claim's own trainings."""
    record = checked.record
    if "control" in record["gates"]:
        record["gates"]["control"] = gates.control(gains).account()
        if record["verdict"] == "contradicted" or record["reason"] == "gate control":
            verdict, reason = ("contradicted", "") if gains else ("unclear", "gate control")
            if verdict != record["verdict"]:
                # Another word was not found again by the old one's replication.
                record |= {"verdict": verdict, "reason": reason, "replication": None}
    return checked


def confirm(name: str, *, folder: Path = EVIDENCE, progress: Progress = silent) -> dict[str, Any]:
    """After a change of code: where one training of each arm still says of every row what was recorded, the evidence is
    the new code's too -> {"name", "confirmed": says of claims, "changed": says of those that have to be checked again}.

    A claim whose data, recipe or knobs were changed is not confirmed, other words for the same recipe are.  RunError if
    nothing was recorded.
    """
    entry = entries.load(name)
    recorded = read(name, folder)
    if recorded is None:
        raise RunError(f"The claims of {name} were never checked. Check them: plait claim {name}")
    with locked(cache_root() / "checks" / name), np.load(folder / f"{name}.npz") as kept:
        by_words = {record["says"]: record for record in recorded["claims"]}
        same, changed = [], []
        for at, one in enumerate(entry.claims):
            progress("claims", at, len(entry.claims))
            record, now = by_words.get(one.says), depends_on(entry, at)
            if record is not None and record["fingerprint"] == now:
                same.append(one.says)
            elif record is not None and (more := _confirmed(entry, name, at, record, kept)) is not None:
                ledger.note(folder, "confirmed", name, one.says, now, record["attempt"], before=record["fingerprint"])
                record |= {"fingerprint": now, "asked": asked_of(entry, at), **more}
                same.append(one.says)
            else:
                changed.append(one.says)
        # What is confirmed need not be checked with what is not; the entry is stale until all of it is.
        whole = recorded["fingerprint"] if changed else depends_on(entry)
        write_json(folder / f"{name}.json", {**recorded, "fingerprint": whole})
    return {"name": name, "confirmed": same, "changed": changed}


def _confirmed(
    entry: entries.Entry, name: str, at: int, record: dict[str, Any], kept: Mapping[str, Array]
) -> dict[str, Any] | None:
    same = record["asked"] == asked_of(entry, at)
    if entry.measures:
        return {} if same and experiment.confirmed(entry, name, at, record, kept) else None
    return confirmed(entry, name, at, record, kept, same)

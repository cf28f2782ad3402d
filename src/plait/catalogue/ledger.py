"""Every check that was begun, in a file to which lines are only added: a result that was not liked cannot be unmade.

Attempt k of a claim has block k of the seeds, its own draws and folds.  A check that is repeated, on another machine or
after a change of code, is the same attempt and meets the same; another attempt has to be asked for, and is seen here.
"""

from __future__ import annotations

import fcntl
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from plait.core.errors import RunError
from plait.core.plain import plain
from plait.data.cache import explained

LEDGER = "ledger.jsonl"


def attempt_of(folder: Path, entry: str, says: str, again: bool = False) -> int:
    """The attempt that a claim is at, from 1; the next one if it is to be checked again."""
    known = [line["attempt"] for line in lines(folder) if line["entry"] == entry and line["says"] == says]
    return max(known, default=0) + 1 if again or not known else max(known)


def note(folder: Path, state: str, entry: str, says: str, fingerprint: str, attempt: int, **more: Any) -> None:
    """Add a line.  DataError if the folder cannot be written."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    line = {"at": now, "state": state, "entry": entry, "says": says, "fingerprint": fingerprint, "attempt": attempt}
    path = folder / LEDGER
    with explained(path):
        folder.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.write(json.dumps(plain(line | more), ensure_ascii=False, allow_nan=False) + "\n")


def lines(folder: Path) -> list[dict[str, Any]]:
    """All lines.  RunError if one is damaged: a ledger that can be mended by hand would be none."""
    path = folder / LEDGER
    if not path.exists():
        return []
    found = []
    # Not `str.splitlines`, which also cuts at separators that a claim may have in its words.
    for number, text in enumerate(path.read_bytes().splitlines(), 1):
        try:
            line = json.loads(text)
            if missing := [name for name in ("entry", "says", "attempt") if name not in line]:
                raise ValueError(f"it does not say {', '.join(missing)}")
        except (TypeError, ValueError) as error:
            raise RunError(
                f"{path}, line {number}, is damaged ({error}). Restore the file; it is only added to."
            ) from error
        found.append(line)
    return found

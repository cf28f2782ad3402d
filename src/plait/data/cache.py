"""The folder for derived files, and the only way a file gets into it: whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from plait.core.errors import DataError

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.EEXIST, errno.EISDIR}


def cache_root() -> Path:
    """$PLAIT_CACHE, else $XDG_CACHE_HOME/plait, else ~/.cache/plait.  Not created here."""
    if own := os.environ.get("PLAIT_CACHE"):
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "plait"


@contextlib.contextmanager
def writing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`; when the block ends well it becomes `path`, otherwise nothing is left behind.

    Raises DataError where the disk is full or the folder is not writable.
    """
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        os.close(handle)
        part = Path(name)
        try:
            yield part
            with part.open("rb+") as written:
                os.fsync(written.fileno())
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turns a full disk or a folder that may not be written, met inside the block, into a DataError."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise DataError(
                f"No space left for {path}. Free some space, or let PLAIT_CACHE name a folder on a larger disk."
            ) from error
        ours = error.filename is not None and Path(error.filename).parent in (path.parent, *path.parents)
        if error.errno in REFUSED and ours:
            raise DataError(
                f"Cannot write {path}: {error.strerror}. Take another place, or set PLAIT_CACHE."
            ) from error
        raise

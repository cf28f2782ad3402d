"""Optional packages: imported where they are used, and asked for by the extra that brings them."""

from __future__ import annotations

import importlib
from types import ModuleType

from .errors import MissingExtra


def need(module: str, extra: str) -> ModuleType:
    """Import `module`, which the extra `plait[extra]` installs.  Raises MissingExtra naming the extra."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != module.split(".")[0]:
            raise
        raise MissingExtra(
            f"This needs the package {module.split('.')[0]!r}, which is not installed. "
            f"Install it with: pip install 'plait[{extra}]'"
        ) from error

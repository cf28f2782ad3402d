"""YAML files that hold a mapping: recipes, schemas, a run's configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from .errors import PlaitError


def read_mapping(path: str | Path, what: str, error: type[PlaitError]) -> dict[str, Any]:
    """The mapping.  Raises `error`, which says what is wrong with the file; what: to call it by, "recipe"."""
    try:
        data = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as cause:
        raise error(f"There is no {what} {path}.") from cause
    except OSError as cause:
        raise error(f"{path}: cannot be read ({cause.strerror}).") from cause
    except UnicodeDecodeError as cause:
        raise error(f"{path}: is not UTF-8 text.") from cause
    except yaml.YAMLError as cause:
        raise error(f"{path}: is not valid YAML: {cause}") from cause
    if not isinstance(data, dict):
        raise error(f"{path}: is no {what}: expected a mapping at the top, found {type(data).__name__}.")
    return data

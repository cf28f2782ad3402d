"""What a label, category or number says, as text or as a Python value."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from plait.core.errors import CellError

from .schema import Target

ENOUGH = 0.95
"""Share of the filled cells of text from which on it is numbers, or dates: the rest are bad cells, not another kind."""
DATE = (
    r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
    r"([T ]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9]([.,][0-9]+)?)?( ?(Z|[+-][0-9]{2}(:?[0-9]{2})?))?)?$"
)
"""2024-05-17, 2024-05-17T10:30, 2024-05-17 10:30:00.5+02:00."""
NO_NUMBER = ("", "nan", "na", "n/a", "null", "none")


def is_number(type: pa.DataType) -> bool:
    """Whether an Arrow type holds real numbers."""
    return bool(pa.types.is_integer(type) or pa.types.is_floating(type) or pa.types.is_decimal(type))


def as_label(value: Any) -> str | None:
    """A cell as the text of a class or category: 3.0 is '3', blank and NaN are None."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip() or None


def parse_number(said: str | None) -> float | str | None:
    """Text as a number; None if it says that there is none; the reason, as text, if it is no number."""
    if said is None or said.strip().lower() in NO_NUMBER:
        return None
    try:
        return float(said)
    except ValueError:
        return f"{said[:40]!r} is not a number"


def are_dates(column: pa.ChunkedArray, share: float) -> bool:
    """Whether at least a share of what is filled in is a date: by its Arrow type, or text as ISO 8601 writes it."""
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        return True
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return False
    said = pc.utf8_trim_whitespace(column)
    filled = said.filter(pc.invert(pc.is_in(pc.utf8_lower(said), pa.array(NO_NUMBER, said.type)))).drop_null()
    return len(filled) > 0 and (pc.sum(pc.match_substring_regex(filled, DATE)).as_py() or 0) >= share * len(filled)


def parse_date(said: str | None) -> float | str | None:
    """ISO 8601 text as seconds since 1970, UTC where it names no zone; else as `parse_number`: None, or the reason."""
    if said is None or said.strip().lower() in NO_NUMBER:
        return None
    try:
        moment = datetime.fromisoformat(said.strip())
    except ValueError:
        return f"{said[:40]!r} is no date such as 2024-05-17"
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def labels_of(value: Any) -> list[str] | None:
    """Labels of a multi-label cell: a list, or text like 'a|b'; '|' alone: no label holds, blank: unlabelled (None)."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, str):
        if not value.strip():
            return None
        value = value.split("|")
    parts = value if isinstance(value, list) else [value]
    return [label for part in parts if (label := as_label(part)) is not None]


def _class(said: tuple[Any, ...], target: Target) -> int | None:
    label = as_label(said[0])
    return None if label is None else _code(label, target)


def _code(label: str, target: Target) -> int:
    classes = target.classes or ()
    if label not in classes:
        raise CellError(f"{label!r} is not among the {len(classes)} classes of the schema")
    return classes.index(label)


def _multi_label(said: tuple[Any, ...], target: Target) -> list[float] | None:
    labels = labels_of(said[0])
    if labels is None:
        return None
    codes = {_code(label, target) for label in labels}
    return [float(code in codes) for code in range(len(target.classes or ()))]


def _number(said: tuple[Any, ...], target: Target) -> float | None:
    return _as_number(said[0])


def _survival(said: tuple[Any, ...], target: Target) -> list[float] | None:
    time, event = _as_number(said[0]), _as_number(said[1])
    if time is None and event is None:
        return None
    if time is None or event is None:
        raise CellError("has a time without an event, or the reverse")
    if time < 0 or event not in (0, 1):
        raise CellError(f"has time {time:g} and event {event:g}, expected a time of 0 or more and an event of 0 or 1")
    return [time, event]


def _as_number(value: Any) -> float | None:
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        value = value.strip().lower() == "true"
    if not isinstance(value, str | int | float | Decimal | None):
        raise CellError(f"is {type(value).__name__}, expected a number")
    number = parse_number(value) if isinstance(value, str) or value is None else float(value)
    if isinstance(number, str):
        raise CellError(number)
    if number is None or math.isnan(number):
        return None
    if math.isinf(number):
        raise CellError("is infinite")
    return number


READ = {"class": _class, "multi_label": _multi_label, "number": _number, "survival": _survival}
SHAPE: dict[str, Any] = {
    "class": lambda target: ((), np.int64),
    "multi_label": lambda target: ((len(target.classes or ()),), np.float32),
    "number": lambda target: ((), np.float64),
    "survival": lambda target: ((2,), np.float64),
}

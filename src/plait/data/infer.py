"""Schema inference: from Arrow types and a sample of the values to kinds.  What was decided goes into notes.

The rules, in order, are in `docs/tables.md`.  A column that the user asks for (`kinds`, `ignore`, `target`, `id`,
`split`, `group`) is never guessed at.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from plait.core.errors import CellError, SchemaError, nearest

from . import _cells
from ._cells import Files
from ._labels import ENOUGH, are_dates, as_label, is_number, labels_of, parse_number
from .schema import KINDS, Modality, Schema, Target, TargetKind
from .splits import SPLITS

SAMPLE = 200
"""Cells that are looked at, spread over the column."""
CATEGORIES = 100
"""Distinct values up to which short text is a category."""
TOKEN_WIDTH = 32
"""Width from which nested lists are tokens rather than a series."""
FEW = 20
"""Distinct whole numbers up to which a target is a class."""
MANY = 50
"""Rows from which on a text that mostly says something else in each is no class."""

ANY = 1e-9
"""A share that a single cell has."""

IMAGES = {"png", "jpg", "jpeg", "webp", "gif", "bmp", "tif", "tiff", "svg"}
SOUNDS = {"wav", "ogg", "flac", "mp3", "oga", "opus"}
ARRAYS = {"npy", "json", "csv"}
PATHS = 0.9
"""Share of cells that end like files from which on a column is one of paths."""
ID = re.compile(r"(^|[_. -])(id|ids|idx|index|key|uid|uuid|guid)$", re.IGNORECASE)
ROLES = (*KINDS, "number", "category")
"""What `kinds` accepts: the kinds, and number or category for a column of the tabular group."""
TARGETED: Mapping[str, TargetKind] = {
    "number": "number", "category": "class", "class": "class", "multi_label": "multi_label"
}  # fmt: skip
"""What it accepts of a target's column, and the kind of target that it then is."""


@dataclass
class _Found:
    """What a column seems to be."""

    kind: str
    modality: Modality | None = None
    categories: tuple[str, ...] | None = None
    why: str = ""


@dataclass
class Inferred:
    """A schema, and what a person should know about how it came about."""

    schema: Schema
    notes: list[str] = field(default_factory=list)


def infer(
    columns: pa.Table,
    files: Files,
    *,
    given: Schema | None = None,
    target: str | Sequence[str] | None = None,
    kinds: Mapping[str, str] | None = None,
    ignore: Iterable[str] = (),
    id: str | None = None,
    split: str | None = None,
    group: str | None = None,
) -> Inferred:
    """The schema of a table, or `given` with the edits that are asked for.

    target: a column, 'time,event' for survival, or several of these.  kinds: {column: kind}.
    Raises SchemaError if a named column does not exist or cannot be what it is said to be.
    """
    kinds = dict(kinds or {})
    targets = [target] if isinstance(target, str) else list(target or [])
    pairs = {said: tuple(part.strip() for part in said.split(",")) for said in targets}
    for said, parts in pairs.items():
        if said in columns.column_names:
            pairs[said] = (said,)
        elif len(parts) > 2:
            raise SchemaError(
                f"Target {said!r} names {len(parts)} columns; expected one, or two for survival: 'time,event'."
            )
    named = [
        *kinds,
        *ignore,
        *(part for parts in pairs.values() for part in parts),
        *(c for c in (id, split, group) if c),
    ]
    for column in named:
        if column not in columns.column_names:
            raise SchemaError(f"The table has no column {column!r}.{nearest(column, columns.column_names)}")
    for said, one in given.targets.items() if given is not None else ():
        # A target stays one where what is said of it may be said of a target.
        if kinds.get(one.columns[0]) in TARGETED:
            pairs.setdefault(said, one.columns)
    told = {said: _told(parts, kinds) for said, parts in pairs.items()}
    for column, kind in kinds.items():
        if kind not in ROLES:
            raise SchemaError(f"Column {column!r} cannot be of kind {kind!r}.{nearest(kind, ROLES)}")
    if both := {*ignore} & {*sum(pairs.values(), ())}:
        raise SchemaError(f"Column {min(both)!r} is named as a target, and as one to ignore. Say one of them.")

    notes: list[str] = []
    schema = given or Schema()
    if given is None:
        split = split or _split_column(columns, {*kinds, *ignore, *sum(pairs.values(), ())}, notes)
    schema = schema.with_roles(id=id, split=split, group=group)
    if list(ignore):
        schema = schema.ignoring(*ignore)
    known = _known_rows(columns, schema.split)
    for said, parts in pairs.items():
        found_target = infer_target(columns, parts, known, told[said])
        schema = schema.with_target(said if len(parts) == 1 else parts[0], found_target)
    schema = schema.without(*kinds).with_roles(group=schema.group)
    if group and given is None and group not in kinds and group not in schema.ignored:
        notes.append(f"{group}: not learned from (rows are grouped by it; say its kind to learn from it too)")
    # A group is something to learn from where its kind is said.
    taken = set(schema.columns) - set(kinds)
    tabular: dict[str, tuple[str, ...] | None] = {}
    for column in columns.column_names:
        if column in taken or (given is not None and column not in kinds):
            continue
        found = _look(column, columns.column(column), files, kinds.get(column))
        if found.kind == "id" and schema.id is None and ID.search(column):
            schema = schema.with_roles(id=column)
            notes.append(f"{column}: taken as the id ({found.why})")
        elif found.kind in ("id", "ignored"):
            schema = schema.ignoring(column)
            notes.append(f"{column}: ignored ({found.why})")
        elif found.kind == "tabular":
            tabular[column] = found.categories
        elif found.modality is not None:
            schema = schema.with_modality(_free(column, schema), found.modality)
            if found.why:
                notes.append(f"{column}: {found.modality.kind} ({found.why})")
    if tabular:
        numbers = [column for column, categories in tabular.items() if categories is None]
        schema = _grouped(schema, tabular, [c for c in numbers if are_dates(columns.column(c), 0.5)])
    return Inferred(schema, notes)


def _told(parts: tuple[str, ...], kinds: dict[str, str]) -> TargetKind | None:
    """The kind that a target is said to be, taken out of `kinds`.  SchemaError where a target cannot be that."""
    said = {part: kinds.pop(part) for part in parts if part in kinds}
    for column, kind in said.items():
        if len(parts) > 1:
            raise SchemaError(
                f"Column {column!r} belongs to a time and its event, which have no other kind: leave it out."
            )
        if kind not in TARGETED:
            raise SchemaError(
                f"Column {column!r} is a target, which can be {', '.join(TARGETED)}, and not {kind!r}. "
                + ("Name another target to learn from it." if kind in ROLES else nearest(kind, TARGETED).strip())
            )
        return TARGETED[kind]
    return None


def _free(name: str, schema: Schema) -> str:
    while name in schema.modalities or name in schema.targets:
        name += "_"
    return name


def _grouped(schema: Schema, columns: Mapping[str, tuple[str, ...] | None], dates: Sequence[str]) -> Schema:
    """All numbers and categories as one tabular modality, joined to one that is there."""
    name = next((n for n, m in schema.modalities.items() if m.kind == "tabular"), None) or _free("tabular", schema)
    before = schema.modalities.get(name)
    known = dict(before.categories) if before else {}
    known |= {column: values for column, values in columns.items() if values is not None}
    members = (*(before.columns if before else ()), *columns)
    dated = (*(before.dates if before else ()), *dates)
    return schema.with_modality(name, Modality(kind="tabular", columns=members, categories=known, dates=dated))


def _split_column(columns: pa.Table, spoken_for: set[str], notes: list[str]) -> str | None:
    if "split" not in columns.column_names or "split" in spoken_for:
        return None
    values = {as_label(value) for value in pc.unique(columns.column("split")).to_pylist()}
    if not values or not all(value is not None and value.lower() in SPLITS for value in values):
        return None
    notes.append("split: taken as the given split (its values are names of splits)")
    return "split"


def _known_rows(columns: pa.Table, split: str | None) -> pa.Table:
    """The rows whose labels may be looked at: all, or with a given split those outside the test part."""
    if split is None or split not in columns.column_names:
        return columns
    said = [as_label(value) for value in columns.column(split).to_pylist()]
    return columns.filter(pa.array([SPLITS.get((value or "").lower()) != "test" for value in said]))


def infer_target(
    columns: pa.Table, names: Sequence[str], rows: pa.Table | None = None, kind: TargetKind | None = None
) -> Target:
    """What kind of target these columns are, and its classes.  rows: the rows to learn that from, all by default.

    Two columns are survival.  Lists, and text like 'a|b', are multi-label.  Text, booleans and up to 20 different whole
    numbers, also where empty cells made floats of them, are classes; other numbers are numbers, as is text of which at
    least 95 % are numbers, more than 20 of them.  SchemaError of what is neither, unless `kind` says it is.
    """
    if len(names) == 2:
        return Target(kind="survival", columns=tuple(names))
    values = (columns if rows is None else rows).column(names[0])
    type = values.type
    if _cells.is_list(type):
        if pa.types.is_floating(type.value_type):
            raise SchemaError(f"Column {names[0]!r} holds vectors of numbers, which cannot be a target. Name another.")
        if kind not in (None, "multi_label"):
            raise SchemaError(f"Column {names[0]!r} holds lists of text, which are multi_label and no {kind}.")
        kind = "multi_label"
    elif is_number(type):
        kind = kind or ("class" if _codes_classes(values) else "number")
    elif _cells.is_text(type):
        parts = [value for value in pc.unique(values).to_pylist() if value and value.strip()]
        if kind is None and len(parts) > FEW and _mostly_numbers(values):
            kind = "number"
        kind = kind or ("multi_label" if parts and _seems_multi_label(parts) else _as_class(names[0], values))
    elif pa.types.is_boolean(type) or pa.types.is_null(type):
        kind = kind or "class"
    else:
        raise SchemaError(
            f"Column {names[0]!r} holds {type}, which cannot be a target; expected text, numbers or lists of text."
        )
    if kind == "number":
        _has_numbers(names[0], values)
        return Target(kind="number", columns=tuple(names))
    if kind == "multi_label":
        labels = {label for value in values.to_pylist() for label in labels_of(value) or ()}
    else:
        labels = {label for value in pc.unique(values).to_pylist() if (label := as_label(value)) is not None}
    return Target(kind=kind, columns=tuple(names), classes=tuple(ordered(labels)))


def _codes_classes(values: pa.ChunkedArray) -> bool:
    """Whether numbers are few and whole; floats only where empty cells made them so, or where they are 0 and 1."""
    said = values.cast(pa.float64())
    said = said.filter(pc.invert(pc.is_nan(said)))
    distinct = set(pc.unique(said).to_pylist())
    if len(distinct) > FEW or any(not value.is_integer() for value in distinct):
        return False
    return bool(pa.types.is_integer(values.type) or distinct == {0.0, 1.0} or (distinct and len(said) < len(values)))


def _as_class(name: str, values: pa.ChunkedArray) -> TargetKind:
    """SchemaError where most rows say what no other row says, so that there is nothing to learn it from."""
    rows = Counter(label for value in values.to_pylist() if (label := as_label(value)) is not None)
    total, alone = rows.total(), sum(count == 1 for count in rows.values())
    if total >= MANY and 2 * alone > total:
        number = f" If it is a number, say so: --kind {name}=number." if _share_of_numbers(values) else ""
        raise SchemaError(
            f"Column {name!r} says {len(rows)} different things in {total} rows, {alone} of them in one row alone: "
            "that is free text or a name, not a class. Name another target, or bring what is rare together."
            f"{number}"
        )
    return "class"


def _seems_multi_label(values: list[str]) -> bool:
    """Text with '|' whose parts come back: as many values, far fewer different parts."""
    if not any("|" in value for value in values):
        return False
    parts = [part for value in values for part in labels_of(value) or ()]
    return len(set(parts)) < len(parts)


def ordered(labels: Iterable[str]) -> list[str]:
    """Numbers by size, anything else as text."""
    labels = list(labels)
    if all(not isinstance(parse_number(label), str) for label in labels):
        return sorted(labels, key=lambda label: (parse_number(label) or 0.0, label))
    return sorted(labels)


def _look(name: str, column: pa.ChunkedArray, files: Files, asked: str | None) -> _Found:
    type = column.type
    rows = _filled(column)
    if asked is not None:
        return _as_asked(name, column, rows, files, asked)
    if not len(rows):
        return _Found("ignored", why="it is empty in every row")
    if _cells.is_file(type) or _cells.is_binary(type):
        return _content(name, column, rows, files)
    if _cells.is_list(type):
        return _nested(name, column, rows, files)
    if is_number(type) or pa.types.is_timestamp(type) or pa.types.is_date(type):
        return _numeric(name, column)
    if pa.types.is_boolean(type):
        return _Found("tabular", categories=("False", "True"))
    if _cells.is_text(type):
        return _said(name, column, rows, files)
    return _Found("ignored", why=f"no kind reads {type}")


def _filled(column: pa.ChunkedArray) -> list[int]:
    """Rows of up to SAMPLE cells that are not null or blank, spread over the column."""
    valid = column.is_valid()
    if _cells.is_text(column.type):
        valid = pc.and_(valid, pc.fill_null(pc.not_equal(pc.utf8_trim_whitespace(column), ""), False))
    rows = np.flatnonzero(valid.to_numpy())
    if len(rows) > SAMPLE:
        rows = rows[np.linspace(0, len(rows) - 1, SAMPLE).astype(np.int64)]
    return [int(row) for row in rows]


def _as_asked(name: str, column: pa.ChunkedArray, rows: list[int], files: Files, asked: str) -> _Found:
    if asked in ("tabular", "number", "category"):
        numeric = is_number(column.type) or pa.types.is_null(column.type) or pa.types.is_timestamp(column.type)
        numeric = numeric or pa.types.is_date(column.type)
        if _cells.is_list(column.type) or pa.types.is_struct(column.type) or _cells.is_binary(column.type):
            raise SchemaError(f"Column {name!r} holds {column.type}, which cannot be {asked}.")
        if asked == "number" and not are_dates(column, ANY):
            _has_numbers(name, column)
        if asked == "number" or (asked == "tabular" and (numeric or _reads_as_numbers(column))):
            return _Found("tabular")
        return _Found("tabular", categories=_categories(column))
    if asked in ("image", "audio", "text"):
        if _cells.is_list(column.type) or is_number(column.type):
            raise SchemaError(f"Column {name!r} holds {column.type}, which cannot be {asked}.")
        return _Found(asked, Modality(kind=asked, columns=(name,)))  # type: ignore[arg-type]
    arrays, names = _arrays(name, column, rows, files)
    if asked == "series":
        return _Found("series", _series(name, arrays, names))
    wanted = 1 if asked == "vector" else 2
    widths = [array.shape[-1] for array in arrays if array.ndim == wanted]
    if not widths:
        raise SchemaError(
            f"Column {name!r} has no cell that could be read as {asked}; the forms are in docs/tables.md."
        )
    width = max(set(widths), key=widths.count)
    return _Found(asked, Modality(kind=asked, columns=(name,), width=width))  # type: ignore[arg-type]


def _content(name: str, column: pa.ChunkedArray, rows: list[int], files: Files) -> _Found:
    kinds: list[str] = []
    for row in rows[:20]:
        value = column[row].as_py()
        path = str(value.get("member") or value["path"] or "") if isinstance(value, dict) else ""
        suffix = _suffix(path)
        if suffix in ARRAYS:
            return _from_arrays(name, column, rows, files)
        try:
            kinds.append(_by_suffix(suffix) or sniff(_cells.content(column[row], files) or b""))
        except CellError:
            kinds.append("")
    kind = max(set(kinds), key=kinds.count) if kinds else ""
    if kind in ("image", "audio", "text"):
        return _Found(kind, Modality(kind=kind, columns=(name,)))  # type: ignore[arg-type]
    return _Found("ignored", why="its bytes are no image, sound or text that is known here")


def _suffix(path: str) -> str:
    return os.path.splitext(path)[1].lower().lstrip(".")


def _by_suffix(suffix: str) -> str:
    return "image" if suffix in IMAGES else "audio" if suffix in SOUNDS else ""


def sniff(content: bytes) -> str:
    """'image', 'audio', 'text' or '' from the first bytes of a file."""
    head = content[:512]
    if head.startswith((b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\0", b"MM\0*")) or head[8:12] == b"WEBP":
        return "image"
    if head.startswith((b"OggS", b"fLaC", b"ID3", b"\xff\xfb", b"\xff\xf3", b"\xff\xf2")) or head[8:12] == b"WAVE":
        return "audio"
    if b"<svg" in content[:4096]:
        return "image"
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return ""
    return "text" if content and b"\0" not in head else ""


def _nested(name: str, column: pa.ChunkedArray, rows: list[int], files: Files) -> _Found:
    inner = column.type.value_type
    if is_number(inner) or _cells.is_list(inner) or pa.types.is_struct(inner):
        return _from_arrays(name, column, rows, files)
    return _Found("ignored", why=f"no kind reads {column.type}; as a target it would be multi-label")


def _from_arrays(name: str, column: pa.ChunkedArray, rows: list[int], files: Files) -> _Found:
    """vector, tokens or series, from the shapes of a sample."""
    arrays, names = _arrays(name, column, rows, files)
    if not arrays:
        return _Found("ignored", why="no cell could be read as numbers")
    type = column.type
    shapes = {array.shape[1:] if array.ndim > 1 else () for array in arrays}
    if all(array.ndim == 1 for array in arrays):
        lengths = {len(array) for array in arrays}
        if pa.types.is_fixed_size_list(type) or (len(lengths) == 1 and min(lengths) > 1):
            return _Found("vector", Modality(kind="vector", columns=(name,), width=lengths.pop()))
        return _Found("series", _series(name, arrays, names), why="lists of different lengths")
    if any(array.ndim != 2 for array in arrays) or len(shapes) != 1:
        return _Found("ignored", why="its arrays have different widths, or more than two axes")
    width = arrays[0].shape[1]
    fixed = _cells.is_list(type) and pa.types.is_fixed_size_list(type.value_type)
    if not names and (fixed or width >= TOKEN_WIDTH):
        return _Found("tokens", Modality(kind="tokens", columns=(name,), width=width), why=f"{width} numbers a step")
    return _Found("series", _series(name, arrays, names))


def _arrays(name: str, column: pa.ChunkedArray, rows: list[int], files: Files) -> tuple[list[_cells.Array], list[str]]:
    """The readable sample, and the names of the columns within a cell where it has names."""
    spec = Modality(kind="series", columns=(name,))
    found: list[_cells.Array] = []
    for row in rows:
        try:
            array = _cells.array(column[row], spec, files)
        except CellError:
            continue
        if array is not None:
            found.append(array)
    names: list[str] = []
    for row in rows[:5]:
        names = names or _names_within(column[row], files)
    return found, names


def _names_within(cell: pa.Scalar, files: Files) -> list[str]:
    type = cell.type
    if _cells.is_list(type):
        return [f.name for f in type.value_type] if pa.types.is_struct(type.value_type) else []
    try:
        if _cells.is_file(type):
            content = _cells.content(cell, files) or b""
        elif str(cell.as_py()).strip().startswith("{"):
            content = str(cell.as_py()).encode()
        elif _suffix(str(cell.as_py())) in ("csv", "json"):
            content = files.read(str(cell.as_py()).strip())
        else:
            return []
    except CellError:
        return []
    try:
        said = content.decode("utf-8").lstrip()
        if said.startswith("{"):
            return list(json.loads(said))
    except (UnicodeDecodeError, ValueError):
        return []
    head = [entry.strip().strip('"') for entry in said.split("\n", 1)[0].split(",")]
    return head if said[:1] not in "[" and any(isinstance(parse_number(entry), str) for entry in head) else []


def _series(name: str, arrays: list[_cells.Array], names: list[str]) -> Modality:
    """Time is a first column named like one, or one that grows at every step of every cell in the sample."""
    columns = [array.reshape(len(array), -1) for array in arrays]
    widths = [array.shape[1] for array in columns]
    if not widths:
        raise SchemaError(
            f"Column {name!r} has no cell that could be read as a series; the forms are in docs/tables.md."
        )
    width = max(set(widths), key=widths.count)
    named = names if len(names) == width else []
    if named:
        time = named[0].lower() in ("t", "time", "timestamp", "seconds", "ms")
    else:
        long = [array[:, 0] for array in columns if len(array) > 2]
        time = width > 1 and bool(long) and all((np.diff(first) > 0).all() for first in long)
    channels = named[time:] or [f"channel_{number}" for number in range(width - time)]
    return Modality(kind="series", columns=(name,), channels=tuple(channels), time=time)


def _numeric(name: str, column: pa.ChunkedArray) -> _Found:
    filled = column.drop_null()
    if pa.types.is_floating(column.type) and pc.all(pc.is_nan(filled)).as_py():
        return _Found("ignored", why="it is empty in every row")
    if pa.types.is_integer(column.type) and len(filled) == len(column) > 1:
        unique = pc.count_distinct(filled).as_py() == len(column)
        low, high = pc.min_max(filled)["min"].as_py(), pc.min_max(filled)["max"].as_py()
        if unique and (ID.search(name) or (high - low == len(column) - 1 and low in (0, 1))):
            return _Found("id", why="whole numbers that are all different")
    return _Found("tabular")


def _said(name: str, column: pa.ChunkedArray, rows: list[int], files: Files) -> _Found:
    sample = [column[row].as_py().strip() for row in rows]
    suffixes = [_suffix(value) if len(value) < 1024 and "\n" not in value else "" for value in sample]
    suffix = max(set(suffixes), key=suffixes.count)
    if suffix in IMAGES | SOUNDS | ARRAYS and any(_exists(value, files) for value in sample):
        kind = _by_suffix(suffix)
        if kind:
            return _Found(kind, Modality(kind=kind, columns=(name,)))  # type: ignore[arg-type]
        return _from_arrays(name, column, rows, files)
    if all(value[0] in "[{" for value in sample):
        found = _from_arrays(name, column, rows, files)
        if found.kind != "ignored":
            return found
    if _reads_as_numbers(column):
        return _Found("tabular")
    if suffix in IMAGES | SOUNDS | ARRAYS and suffixes.count(suffix) >= PATHS * len(suffixes):
        return _Found("ignored", why=f"none of its .{suffix} files is there: {_refused(sample[0], files)}")
    return _words(name, column, sample)


def _refused(path: str, files: Files) -> str:
    """Why a file cannot be had."""
    try:
        return f"there is no {files.locate(path).absolute()}"
    except CellError as error:
        return str(error)


def _exists(path: str, files: Files) -> bool:
    try:
        return files.locate(path).is_file()
    except (CellError, OSError):
        return False


def _reads_as_numbers(column: pa.ChunkedArray) -> bool:
    return _mostly_numbers(column) or are_dates(column, ENOUGH)


def _mostly_numbers(column: pa.ChunkedArray) -> bool:
    """Text of which at least 95 % of what is filled in are numbers: the rest are bad cells, not another kind."""
    return _cells.is_text(column.type) and _share_of_numbers(column) >= ENOUGH


def _has_numbers(name: str, column: pa.ChunkedArray) -> None:
    """SchemaError if what is filled in of a column of text is never a number."""
    said = next((value for value in column.to_pylist() if isinstance(value, str) and value.strip()), None)
    if said is not None and not _share_of_numbers(column):
        raise SchemaError(f"Column {name!r} cannot be a number: none of its cells is one, such as {said[:40]!r}.")


def _share_of_numbers(column: pa.ChunkedArray) -> float:
    """Of what is filled in of a column of text."""
    read = [parse_number(value) for value in column.to_pylist()]
    numbers, words = sum(isinstance(n, float) for n in read), sum(isinstance(n, str) for n in read)
    return numbers / (numbers + words) if numbers else 0.0


def _words(name: str, column: pa.ChunkedArray, sample: list[str]) -> _Found:
    """Text, a category, or an id."""
    counted = pc.value_counts(column)
    values = {label for value in counted.field("values").to_pylist() if (label := as_label(value)) is not None}
    present = len(column) - column.null_count
    words = float(np.mean([len(value.split()) for value in sample]))
    length = float(np.mean([len(value) for value in sample]))
    distinct = len(values)
    if distinct == present > 1:
        bare = not any(re.search(r"\s", value) for value in sample)
        if bare and (ID.search(name) or np.mean([bool(re.search(r"\d", value)) for value in sample]) >= 0.9):
            return _Found("id", why="single words with digits, all different")
    if distinct <= CATEGORIES and 2 * distinct <= present and words <= 4 and length <= 40:
        return _Found("tabular", categories=tuple(ordered(values)))
    share = _share_of_numbers(column)
    why = f"{share:.0%} of its cells are numbers; --kind {name}=number sets the others aside" if share >= 0.5 else ""
    return _Found("text", Modality(kind="text", columns=(name,)), why=why)


def _categories(column: pa.ChunkedArray) -> tuple[str, ...]:
    return tuple(ordered({label for value in pc.unique(column).to_pylist() if (label := as_label(value)) is not None}))

"""Schema: what the columns of a table are.  Inferred (`infer.py`), printed, edited, saved with the model as YAML.

    id: name
    split: fold
    modalities:
      photo:   {kind: image, columns: [photo]}
      tabular: {kind: tabular, columns: [age, city], categories: {city: [Bern, Oslo]}}
    targets:
      species: {kind: class, columns: [species], classes: [bee, wasp]}
    ignored: [url]

A schema never changes: every edit gives a new one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Self, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from plait.core.component import known_keys
from plait.core.errors import SchemaError, nearest
from plait.core.mapping import read_mapping

from .cache import writing

Kind = Literal["image", "text", "audio", "series", "tabular", "vector", "tokens"]
TargetKind = Literal["class", "multi_label", "number", "survival"]
KINDS: tuple[str, ...] = get_args(Kind)
TARGET_KINDS: tuple[str, ...] = get_args(TargetKind)
JOINT = "joint"
"""The name of the embedding of all that a row has; no modality is called so."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Modality(_Strict):
    """One modality: its kind, the columns it is read from, and what that kind needs to be read the same way again."""

    kind: Kind
    columns: tuple[str, ...]
    categories: dict[str, tuple[str, ...]] = {}
    """tabular: the known values of each categorical column; the other columns are numbers."""
    dates: tuple[str, ...] = ()
    """tabular: those of the numbers that are dates; where they are text, ISO 8601 is read."""
    channels: tuple[str, ...] = ()
    """series: names of the channels, C of them, the time column not counted."""
    time: bool = False
    """series: whether the first value of each step is its time."""
    width: int | None = None
    """vector, tokens: D."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.columns or (len(self.columns) > 1 and self.kind != "tabular"):
            raise ValueError(f"a modality of kind {self.kind} has exactly one column" if self.columns else "no columns")
        needs = {
            "categories": ("tabular",),
            "dates": ("tabular",),
            "channels": ("series",),
            "time": ("series",),
            "width": ("vector", "tokens"),
        }
        for field, kinds in needs.items():
            if getattr(self, field) and self.kind not in kinds:
                raise ValueError(f"{field!r} belongs to kind {' or '.join(kinds)}, this is {self.kind}")
        for field in ("categories", "dates"):
            if stray := set(getattr(self, field)) - set(self.columns):
                raise ValueError(f"{field} of {sorted(stray)}, which are not among its columns {list(self.columns)}")
        if both := set(self.categories) & set(self.dates):
            raise ValueError(f"{sorted(both)} cannot be categories and dates")
        return self


class Target(_Strict):
    """What is to be predicted.  columns: one, or (time, event).  classes: of class and multi_label, in code order."""

    kind: TargetKind
    columns: tuple[str, ...]
    classes: tuple[str, ...] | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        expected = 2 if self.kind == "survival" else 1
        if len(self.columns) != expected:
            what = "two columns, time and event" if expected == 2 else "one column"
            raise ValueError(f"a target of kind {self.kind} has {what}, found {list(self.columns)}")
        if (self.classes is not None) != (self.kind in ("class", "multi_label")):
            raise ValueError(
                f"classes {'missing' if self.classes is None else 'given'} for a target of kind {self.kind}"
            )
        return self


class Schema(_Strict):
    """Roles of the columns; a column has exactly one role, except that `group` and `id` may name any column."""

    modalities: dict[str, Modality] = {}
    targets: dict[str, Target] = {}
    id: str | None = None
    split: str | None = None
    group: str | None = None
    ignored: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> Self:
        seen: dict[str, str] = {}
        for role, column in self._roles():
            if column in seen:
                raise ValueError(f"column {column!r} is both {seen[column]} and {role}")
            seen[column] = role
        if both := set(self.modalities) & set(self.targets):
            raise ValueError(f"{sorted(both)} name both a modality and a target")
        if JOINT in self.modalities:
            raise ValueError(f"{JOINT!r} means all modalities together, and none can be called so; rename or ignore it")
        return self

    def _roles(self) -> Iterator[tuple[str, str]]:
        for name, modality in self.modalities.items():
            yield from ((f"in modality {name!r}", column) for column in modality.columns)
        for name, target in self.targets.items():
            yield from ((f"in target {name!r}", column) for column in target.columns)
        yield from (("ignored", column) for column in self.ignored)
        if self.split is not None:
            yield "the split", self.split

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column with a role, each once."""
        named = [column for _, column in self._roles()] + [c for c in (self.id, self.group) if c is not None]
        return tuple(dict.fromkeys(named))

    def without(self, *columns: str) -> Schema:
        """The schema with these columns free again: in no modality, target or other role."""
        gone = set(columns)
        modalities: dict[str, Modality] = {}
        for name, modality in self.modalities.items():
            left = tuple(c for c in modality.columns if c not in gone)
            if left:
                known = {c: values for c, values in modality.categories.items() if c not in gone}
                dates = tuple(c for c in modality.dates if c not in gone)
                modalities[name] = modality.model_copy(update={"columns": left, "categories": known, "dates": dates})
        return Schema(
            modalities=modalities,
            targets={name: target for name, target in self.targets.items() if not gone & set(target.columns)},
            id=None if self.id in gone else self.id,
            split=None if self.split in gone else self.split,
            group=None if self.group in gone else self.group,
            ignored=tuple(c for c in self.ignored if c not in gone),
        )

    def with_modality(self, name: str, modality: Modality) -> Schema:
        """These columns as this modality, and nothing else but the group; a modality of the same name is replaced."""
        freed = self.without(*modality.columns)
        return freed._edited(modalities={**freed.modalities, name: modality}, group=self.group)

    def with_target(self, name: str, target: Target) -> Schema:
        """These columns as this target, and no longer an input."""
        freed = self.without(*target.columns)
        return freed._edited(targets={**freed.targets, name: target}, group=self.group)

    def ignoring(self, *columns: str) -> Schema:
        """These columns ignored as inputs and targets; rows can still be grouped by one."""
        freed = self.without(*columns)
        return freed._edited(ignored=(*freed.ignored, *columns), group=self.group)

    def with_roles(self, *, id: str | None = None, split: str | None = None, group: str | None = None) -> Schema:
        """These columns as id, split or group (None: as before).  Id and split are no inputs; a group may be one."""
        freed = self.without(*(c for c in (id, split) if c is not None))
        return freed._edited(id=id or freed.id, split=split or freed.split, group=group or freed.group)

    def _edited(self, **changes: Any) -> Schema:
        return _checked({**self.model_dump(), **changes}, "the schema")

    def fit_to(self, names: Iterable[str], partial: bool = False) -> None:
        """Raises SchemaError if a column is not among `names`.  partial: enough that one modality has a column."""
        have = list(names)
        inputs = [column for modality in self.modalities.values() for column in modality.columns]
        if partial:
            if inputs and not set(inputs) & set(have):
                raise SchemaError(f"The table has no column of any modality ({_listed(inputs)}), only {_listed(have)}.")
            return
        for column in self.columns:
            if column not in have and column not in self.ignored:
                role = next((role for role, c in self._roles() if c == column), "the id or the group")
                raise SchemaError(f"The table has no column {column!r} ({role} in the schema).{nearest(column, have)}")

    def dump(self) -> dict[str, Any]:
        """Plain data for YAML or JSON, defaults left out."""
        plain: dict[str, Any] = self.model_dump(mode="json", exclude_defaults=True)
        return plain

    def save(self, path: str | Path) -> None:
        """Write as YAML.  Raises DataError if the disk is full."""
        with writing(Path(path)) as part:
            part.write_text(yaml.safe_dump(self.dump(), sort_keys=False, allow_unicode=True), encoding="utf-8")

    @classmethod
    def load(cls, source: str | Path | Mapping[str, Any]) -> Schema:
        """From a YAML file, or what `dump` gives.  Raises SchemaError naming the place and the nearest right key."""
        if isinstance(source, Mapping):
            return _checked(dict(source), "the schema")
        return _checked(read_mapping(source, "schema", SchemaError), str(source))


def _listed(names: Iterable[str], most: int = 12) -> str:
    named = [repr(n) for n in names]
    return (
        ", ".join(named[:most]) + (f" and {len(named) - most} more" if len(named) > most else "") if named else "none"
    )


def _checked(plain: dict[str, Any], where: str) -> Schema:
    try:
        return Schema.model_validate(plain)
    except ValidationError as error:
        # An unknown key comes first: it is often why another one seems to be missing.
        first = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
        place = ".".join(str(part) for part in first["loc"])
        said = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            said = f"unknown key.{nearest(str(first['loc'][-1]), known_keys(Schema, first['loc'][:-1]))}"
        elif first["type"] == "literal_error":
            kinds = KINDS if first["loc"][0] == "modalities" else TARGET_KINDS
            said = f"there is no kind {first['input']!r}.{nearest(str(first['input']), kinds)}"
        raise SchemaError(f"In {where}, at {place or 'the top'}: {said}") from error

"""An entry of the catalogue: a published system as a recipe, what to hold it against, and what it claims.

`entries/NAME.yaml` is the entry NAME.  Its recipe lies over the default one, so it runs on any table:
`plait fit DATA --target COLUMN --recipe NAME --out RUN`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from plait.core.component import SLOTS, complaint, find
from plait.core.errors import RecipeError, nearest
from plait.core.mapping import read_mapping
from plait.core.recipe import Recipe
from plait.workflow.defaults import ENTRIES

FAMILIES = (
    "fusion", "trust", "missing", "balance", "alignment", "self_supervision", "few_labels", "generation", "security",
    "continual", "measures",
)  # fmt: skip

Data = str | dict[str, dict[str, Any]]
"""A data set's name, or {name: its knobs}."""

SECONDS = "cost/seconds"
"""What claims of kind `time` are about."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class AtLeast(_Strict):
    """The measure itself, not a difference, reaches a value."""

    at_least: float


class Claim(_Strict):
    """One falsifiable sentence, and how it is checked.

    kind: `exact` (an identity or a count), `compare` (method against baseline on real rows), `planted` (data drawn
    afresh from a known truth; it must gain on `data`, and more there than on `without`, where its condition is off),
    `time` (seconds of both arms in turns: told, never judged).
    searched: of a planted claim, whether settings are searched on `data`, or on `without`, because what the claim is
    about comes at test, unforeseen.
    expect: of the method's measure minus the baseline's.  margin: what counts as a difference; the data set's if None.
    replicate: other data on which what was seen is looked for again; fresh seeds and draws or folds of `data` if None.
    by: of a measure, MODULE.FUNCTION of `experiments`, which gives the numbers.
    """

    says: str
    kind: Literal["exact", "compare", "planted", "time"]
    data: Data
    without: Data | None = None
    searched: Literal["data", "without"] = "data"
    measure: str
    expect: Literal["higher", "lower", "not_lower", "equal"] | AtLeast
    margin: float | None = Field(default=None, gt=0)
    replicate: Data | None = None
    by: str | None = None

    def asked(self, *leave: str) -> dict[str, Any]:
        """What fingerprints are taken of.  A field that came later than they did is left out where it says nothing."""
        later = {name for name in ("searched",) if getattr(self, name) == type(self).model_fields[name].default}
        return self.model_dump(mode="json", exclude={*leave, *later})

    @model_validator(mode="after")
    def _whole(self) -> Claim:
        if (self.kind == "planted") != (self.without is not None):
            raise ValueError("a planted claim, and no other, says with `without` where its condition is off")
        if self.searched == "without" and self.without is None:
            raise ValueError("only a planted claim says where settings are searched")
        if (self.kind == "time") != (self.measure == SECONDS):
            raise ValueError(f"a claim of kind time, and no other, is of the measure {SECONDS}")
        for data in (self.data, self.without, self.replicate):
            if isinstance(data, dict) and len(data) != 1:
                raise ValueError(f"one data set is needed, found {', '.join(data) or 'none'}")
        return self


class Disabled(_Strict):
    """Settings of each arm under which the mechanism is turned off: the two then train to the same bits."""

    recipe: list[str]
    baseline: list[str] = Field(default_factory=list)


class Searched(_Strict):
    """Where a setting is searched: between two numbers, evenly or by their logarithms, or among some values."""

    log: tuple[float, float] | None = None
    linear: tuple[float, float] | None = None
    choice: list[Any] | None = None

    @model_validator(mode="after")
    def _one(self) -> Searched:
        if (given := sum(way is not None for way in (self.log, self.linear, self.choice))) != 1:
            raise ValueError(f"one of log, linear and choice is needed, found {given}")
        for ends in (self.log, self.linear):
            if ends is not None and not ends[0] < ends[1]:
                raise ValueError(f"the lower end comes first, found {list(ends)}")
        if self.log is not None and self.log[0] <= 0:
            raise ValueError(f"a logarithm needs numbers above 0, found {list(self.log)}")
        return self


class Entry(_Strict):
    """See the module.  mechanism: in our words.  published: what the paper claims.

    carried_by: room/component, where it stands; several with a comma.
    scale: full, or `reduced: what was reduced`.  baseline: a recipe that differs only in the slots the entry is about.
    An entry without either is a measure, whose claims say by what function they are asked.
    disabled: how the mechanism is turned off; None where the arms are built differently.
    knobs: {setting: where it is searched} of what the method alone has, beside what all recipes are tuned by; of one of
    these it is another range, for both arms.
    predicts_from: modalities that both arms predict from, and so the simple baselines too; all if None.
    repeats: of the folds on real rows.
    """

    title: str
    source: str
    family: Literal[FAMILIES]  # type: ignore[valid-type]
    mechanism: str
    published: str
    carried_by: str
    scale: str = "full"
    recipe: dict[str, Any] = Field(default_factory=dict)
    baseline: dict[str, Any] = Field(default_factory=dict)
    disabled: Disabled | None = None
    knobs: dict[str, Searched] = Field(default_factory=dict)
    predicts_from: list[str] | None = Field(default=None, min_length=1)
    repeats: Literal[1, 2, 4] = 1
    claims: list[Claim] = Field(min_length=1)
    notes: str = ""

    @model_validator(mode="after")
    def _sound(self) -> Entry:
        if self.scale != "full" and not self.scale.startswith("reduced: "):
            raise ValueError(f"scale is `full` or `reduced: what was reduced`, found {self.scale!r}")
        if self.measures:
            if not all(claim.by and claim.kind in ("exact", "planted") for claim in self.claims):
                raise ValueError("a measure's claims are exact or planted, and say `by` what function they are asked")
            if any(claim.searched != "data" for claim in self.claims):
                raise ValueError("a measure has no settings, so its claims do not say where they are searched")
        elif any(claim.by for claim in self.claims):
            raise ValueError("`by` is for measures, which have neither recipe nor baseline")
        elif self.recipe == self.baseline:
            raise ValueError("recipe and baseline are the same: there is nothing to compare")
        return self

    @property
    def measures(self) -> bool:
        """Whether it is a measure: nothing is trained by it."""
        return not self.recipe and not self.baseline

    @property
    def carriers(self) -> list[str]:
        """Modules below `plait` that carry it."""
        return [component.strip().replace("/", ".") for component in self.carried_by.split(",")]

    @property
    def slots(self) -> tuple[str, ...]:
        """Where the two arms differ."""
        named = dict.fromkeys([*self.recipe, *self.baseline])
        return tuple(slot for slot in named if self.recipe.get(slot) != self.baseline.get(slot))

    @classmethod
    def parse(cls, data: Mapping[str, Any], source: str = "entry") -> Entry:
        """RecipeError, naming the place, if a key, a component or an argument is not right."""
        try:
            entry = cls.model_validate(dict(data))
        except ValidationError as error:
            raise RecipeError(f"{source}: {complaint(error, '', cls)}") from error
        rooms = {slot.room.removeprefix("plait.").replace(".", "/"): name for name, slot in SLOTS.items()}
        for path in entry.carriers if entry.measures else ():
            if importlib.util.find_spec(f"plait.{path}") is None:
                raise RecipeError(f"{source}: carried_by: there is no module plait.{path}.")
        for component in () if entry.measures else entry.carried_by.split(","):
            room, _, name = component.strip().rpartition("/")
            if room not in rooms:
                raise RecipeError(
                    f"{source}: carried_by: {component.strip()!r} is not ROOM/COMPONENT.{nearest(room, rooms)}"
                )
            find(rooms[room], name, f"{source}: carried_by")
        for arm in ("recipe", "baseline"):
            Recipe.parse(getattr(entry, arm), f"{source}: {arm}")
        return entry


def names() -> list[str]:
    """All entries."""
    return sorted(path.stem for path in ENTRIES.glob("*.yaml"))


def load(name: str) -> Entry:
    """RecipeError if there is no such entry, or it is not sound."""
    path = ENTRIES / f"{name}.yaml"
    if not path.exists():
        raise RecipeError(f"There is no entry {name!r} in the catalogue.{nearest(name, names())}")
    return Entry.parse(read_mapping(path, "catalogue entry", RecipeError), str(path))

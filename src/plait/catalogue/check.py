"""Checking an entry's claims by the protocol: `plait claim`; see docs/protocol.md.

Arms are tuned alike (`plait.workflow.nested`) on fresh draws of a made table or grouped folds of a collected one
(`grounds`), their difference becomes an interval and a word (`verdict`), and gates may take the word back (`gates`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from plait.core.errors import DataError
from plait.core.random import key
from plait.core.recipe import Recipe
from plait.measures import scores
from plait.workflow.defaults import resolve
from plait.workflow.fingerprint import fingerprint
from plait.workflow.nested import Arm, Judged, final, judge
from plait.workflow.placeholders import fill
from plait.workflow.prepare import Progress, silent
from plait.workflow.trials import COUNTS, Outcome, Trial, count, outcome, run_all
from plait.workflow.tune import knobs_of

from . import gates, verdict
from .contenders import own_knobs
from .entry import AtLeast, Claim, Data, Disabled, Entry
from .gates import Gate
from .grounds import Ground, ground
from .panel import panel
from .record import Checked, Tag, both_parts, gains, margin_of, p_of, recorded
from .results import Results
from .tables import maker, named, table
from .verdict import Estimate, Word

Array = np.ndarray[Any, np.dtype[Any]]
BASELINE_SEEDS = {True: 1, False: 3}
"""Final baselines of each unit: their mean is what the method is held against.  By whether the table is made."""
UNBOUNDED = ("log_loss", "mae", "rmse")
"""Measures that do not end at 1."""
COUNTED = 64
"""Rows on which multiply-adds are counted."""
PAIRS = 7
"""Of trainings, one of each arm, whose times are compared."""
SHORT = ("training.epochs=3", "training.early_stopping=null")
"""How long those are."""
BOTH = ("method", "baseline")
WITNESS = "witness"
"""What is kept whole of the first unit, to be confirmed by."""
SAME = 1e-3
"""By how much a probability may move when a training is repeated on another machine."""


@dataclass(frozen=True)
class Arms(Results):
    """Both arms where a claim is checked: the method and its baseline."""

    asked: tuple[Arm, ...]

    @property
    def recipes(self) -> dict[str, Recipe]:
        """Of each arm."""
        return {arm.name: arm.recipe for arm in self.asked}

    def kept(self, name: str) -> dict[str, Array]:
        """What the arms said of every row: codes of classes, or the measure's values; of the first unit, all of it.

        Beside it which rows each unit has, and the groups of a collected table.
        """
        out: dict[str, Array] = {}
        for arm, judged in self.judged.items():
            out[f"{name}/{arm}/{WITNESS}"] = _all_said(judged.finals[0][0])
            for u, unit in enumerate(judged.finals):
                said = _all_said(unit[0])
                out[f"{name}/{arm}/{u}"] = said.argmax(1).astype(np.uint8) if said.ndim == 2 else said
        for u, where in enumerate(self.ground.grounds.units):
            out[f"{name}/rows/{u}"] = where.place.test.astype(np.uint32)
        if not self.ground.made:
            out[f"{name}/groups"] = self.ground.groups.astype(np.uint32)
        return out


def check(
    entry: Entry, name: str, at: int, attempt: int, *, controlled: bool | None = None, progress: Progress = silent
) -> Checked:
    """Check an entry's claim number `at`.

    attempt: block of seeds.  controlled: whether a planted claim of the entry holds, without which nothing can be
    contradicted; None where it has none.  Raises DataError where the data cannot be had.
    """
    claim = entry.claims[at]
    began = time.perf_counter()
    if claim.kind == "exact":
        return Checked(recorded(claim, attempt, *_counted(entry, claim), {}, began))
    tag = (name, at, attempt)
    if claim.kind == "time":
        return Checked(recorded(claim, attempt, "informative", "", _timed(entry, claim, tag), {}, began))
    arms, off = _both(entry, claim, tag, progress)
    found, word, reason, parts = _word(entry, claim, arms, off, tag, progress)
    if isinstance(claim.expect, AtLeast):
        parts["level"] = list(arms.level("method").interval)
    if claim.kind == "planted":
        controlled = gains(claim, found)
    checked = _gates(entry, claim, arms, found, word, tag, controlled, progress)
    needed = ["mechanism", "alive", "trained", "headroom", "self_null", "leak"]
    if word == "unclear":
        # An arm that broke down is the reason why nothing is clear.
        needed = ["trained"]
    else:
        needed.append("strong" if word == "holds" else "control")
    stopped = gates.failed(checked, needed)
    if stopped is not None:
        word, reason = "unclear", f"gate {stopped}"
    record = recorded(claim, attempt, word, reason, found, {k: g.account() for k, g in checked.items()}, began)
    record |= {
        "margin": margin_of(claim),
        "p": p_of(claim, found),
        "units": len(arms.ground.grounds.units),
        "rows": arms.ground.rows,
        "method": arms.level("method").difference,
        "baseline": arms.level("baseline").difference,
        "discordant": arms.discordant(*BOTH),
        "notes": arms.ground.notes,
        "trained": _trained(entry, claim, arms.ground, arms.asked),
        "search": {arm: _search(judged) for arm, judged in arms.judged.items()},
        **parts,
    }
    kept = arms.kept(f"{at}")
    if off is not None:
        kept |= off.kept(f"{at}/without")
    return Checked(record, kept)


def replicated(entry: Entry, name: str, at: int, attempt: int, progress: Progress = silent) -> dict[str, Any]:
    """The claim's word again, with fresh seeds and draws or folds, on `replicate` where it names other data."""
    claim = entry.claims[at]
    if claim.replicate is not None:
        claim = claim.model_copy(update={"data": claim.replicate})
    tag = (name, at, attempt)
    arms, off = _both(entry, claim, tag, progress)
    found, word, reason, _ = _word(entry, claim, arms, off, tag, progress)
    return {"data": claim.data, "verdict": word, "reason": reason, **found.account()}


def confirmed(
    entry: Entry, name: str, at: int, record: Mapping[str, Any], kept: Mapping[str, Array], same: bool
) -> dict[str, Any] | None:
    """What to add to the record if today's code, in one final training of each arm, says of every row what is recorded.

    same: whether the entry asks for it in the same words; in others, it has to come to the same trainings.
    """
    claim = entry.claims[at]
    if claim.kind == "time":
        # What is not judged has no verdict that could change.
        return {} if same else None
    if claim.kind == "exact":
        word, _, counted = _counted(entry, claim)
        return {} if (word, counted.difference) == (record["verdict"], record["difference"]) else None
    tag = (name, at, record["attempt"])
    where, arms = _set_up(entry, claim.data, tag)
    trained = _trained(entry, claim, where, arms)
    if not same and record.get("trained") != trained:
        return None
    jobs = []
    for arm in arms:
        search = record["search"][arm.name]
        jobs.append([final(where.grounds, arm, search["settings"][search["picked"][0]], claim.measure, tag, 0, 0)])
    for arm, (found,) in zip(arms, run_all(jobs), strict=True):
        before, now = kept[f"{at}/{arm.name}/{WITNESS}"], _all_said(found)
        if before.shape != now.shape or not np.allclose(before, now, rtol=0, atol=SAME, equal_nan=True):
            return None
    return {"trained": trained}


def _trained(entry: Entry, claim: Claim, where: Ground, arms: Sequence[Arm]) -> str:
    """The fingerprint of what a claim's arms are on its data, on and off, and of how they are tuned and judged."""
    off = entry.disabled or Disabled(recipe=[])
    recipes = [arm.recipe for arm in arms]
    for arm, settings in zip(arms, (off.recipe, off.baseline), strict=True):
        recipes.append(resolve(where.grounds.schema, arm.recipe, settings))
    dumped = []
    for recipe in recipes:
        # What a stage is called trains nothing.
        stages = [stage.model_dump(mode="json", exclude={"name"}) for stage in recipe.stages]
        dumped.append({**recipe.dump(), "stages": stages})
    tuned = [[asdict(knob) for knob in arm.knobs] for arm in arms]
    judged = [entry.repeats, entry.predicts_from, claim.asked("by")]
    return fingerprint([], [dumped, tuned, *judged])


def _all_said(outcome: Outcome) -> Array:
    return np.asarray(outcome.rows if outcome.predicted is None else outcome.predicted, np.float32)


def _both(entry: Entry, claim: Claim, tag: Tag, progress: Progress) -> tuple[Arms, Arms | None]:
    """Where the claim is made, and, of a planted one, where its condition is off: on the same draws."""
    arms = _arms(entry, claim, claim.data, tag, progress)
    if claim.without is None:
        return arms, None
    # Settings too are the same: nothing but the condition differs.
    settings = {arm: judged.search.settings[judged.search.picked[0]] for arm, judged in arms.judged.items()}
    return arms, _arms(entry, claim, claim.without, tag, progress, settings)


def _arms(
    entry: Entry,
    claim: Claim,
    data: Data,
    tag: Tag,
    progress: Progress,
    settings: Mapping[str, Sequence[str]] | None = None,
) -> Arms:
    where, arms = _set_up(entry, data, tag)
    if claim.searched == "without":
        assert claim.without is not None
        unforeseen = ground(claim.without, tag, entry.repeats).grounds.searches
        where = replace(where, grounds=replace(where.grounds, searches=unforeseen))
    found = judge(where.grounds, arms, claim.measure, tag=tag, settings=settings, progress=progress)
    return Arms(where, found, tuple(arms))


def _set_up(entry: Entry, data: Data, tag: Tag) -> tuple[Ground, list[Arm]]:
    where = ground(data, tag, entry.repeats)
    schema, settings = where.grounds.schema, where.settings
    knobs, plain = own_knobs(entry), resolve(schema, entry.baseline, settings)
    # A range for what both are tuned by is one for both.
    both = {knob.path for knob in knobs_of(plain)}
    shared = tuple(knob for knob in knobs if knob.path in both)
    method = Arm("method", resolve(schema, entry.recipe, settings), knobs)
    baseline = Arm("baseline", plain, shared, seeds=BASELINE_SEEDS[where.made])
    return where, [method, baseline]


def _word(
    entry: Entry, claim: Claim, arms: Arms, off: Arms | None, tag: Tag, progress: Progress
) -> tuple[Estimate, Word, str, dict[str, Any]]:
    """-> the difference, verdict, reason, what a planted claim's second part found."""
    found, gaps = arms.difference(*BOTH)
    if isinstance(claim.expect, AtLeast):
        return found, *verdict.reaches(arms.level("method"), claim.expect.at_least), {}
    if off is None:
        return found, *verdict.judge(found, claim.expect, margin_of(claim)), {}
    other, others = off.difference(*BOTH)
    word, reason, more = both_parts(claim, found, verdict.of_runs(gaps - others))
    parts = {"without": {"data": claim.without, **other.account()}, "more": more}
    if word == "contradicted" and gains(claim, found) and claim.searched == "data":
        # Settings found where the condition is on may suit one arm better where it is off.
        assert claim.without is not None
        own, others = _arms(entry, claim, claim.without, tag, progress).difference(*BOTH)
        searched, _, more = both_parts(claim, found, verdict.of_runs(gaps - others))
        parts |= {"without_searched": own.account(), "more_searched": more}
        if searched != "contradicted":
            word, reason = "unclear", "settings"
    return found, word, reason, parts


def _gates(
    entry: Entry,
    claim: Claim,
    arms: Arms,
    found: Estimate,
    word: Word,
    tag: Tag,
    controlled: bool | None,
    progress: Progress,
) -> dict[str, Gate]:
    margin, baseline = margin_of(claim), arms.level("baseline").difference
    rises = claim.expect != "lower"
    bounded = claim.measure.removeprefix("test/") not in UNBOUNDED
    not_needed = Gate(None, "not needed")
    out = {
        "mechanism": gates.mechanism(entry),
        "alive": gates.alive(entry, arms.ground, arms.recipes, claim.measure, tag),
        "control": gates.control(bool(controlled)),
        "trained": gates.trained(arms.judged),
        "headroom": not_needed,
        "self_null": gates.self_null(arms.noise("baseline"), margin),
        "strong": not_needed,
        "leak": gates.leak(found.difference, arms.ground, arms.recipes["method"], claim.measure, tag),
    }
    if claim.expect != "equal" and not isinstance(claim.expect, AtLeast):
        better = "higher" if rises else "lower"
        out["headroom"] = gates.headroom(baseline, margin, arms.discordant(*BOTH), better, bounded)
    if word == "holds" and failing(out) is None:
        try:
            # Of a collected table one for all entries.
            whose = ("panel", *(tag if arms.ground.made else tag[2:]))
            schema = arms.ground.grounds.schema
            seen = None if entry.predicts_from is None else tuple(fill(entry.predicts_from, schema))
            simple = panel(arms.ground, claim.measure, whose, progress, seen=seen)
        except ValueError as error:
            out["strong"] = Gate(None, str(error))
        else:
            every = Results(arms.ground, {**arms.judged, **simple})
            values = {name: every.level(name).difference for name in simple}
            out["strong"] = gates.strong(
                baseline, values, margin, claim.expect, lambda best: every.difference("method", best)[0]
            )
    return out


def failing(out: dict[str, Gate]) -> str | None:
    """The first gate that did not pass, `control` left out."""
    return gates.failed(out, [name for name in out if name != "control"])


def _counted(entry: Entry, claim: Claim) -> tuple[Word, str, Estimate]:
    """Counts of both arms as the entry has them: exact, so without an interval."""
    if claim.measure not in COUNTS:
        raise DataError(f"{claim.says}: a claim of kind exact counts {' or '.join(COUNTS)}, found {claim.measure}.")
    knobs = {"rows": COUNTED} if maker(named(claim.data)[0]) is not None else {}
    rows = table(claim.data, **knobs)
    rows = rows.take(range(min(COUNTED, len(rows))))
    method, baseline = (count(rows, resolve(rows.schema, arm), claim.measure) for arm in (entry.recipe, entry.baseline))
    if isinstance(claim.expect, AtLeast):
        found = Estimate(float(method), 0.0, 1)
        return (*verdict.reaches(found, claim.expect.at_least), found)
    found = Estimate(float(method - baseline), 0.0, 1)
    return (*verdict.judge(found, claim.expect, claim.margin or 0.5), found)


def _timed(entry: Entry, claim: Claim, tag: Tag) -> Estimate:
    """The logarithm of how many times as long the method's training takes, over pairs of trainings in turns.

    They are short ones, where the first unit trains; the first of each arm is not counted.
    """
    where, arms = _set_up(entry, claim.data, tag)
    schema, place = where.grounds.schema, where.grounds.units[0].place
    measure = f"test/{scores.of(next(iter(schema.targets.values())).kind).main}"
    trials = [Trial(place, resolve(schema, arm.recipe, SHORT), measure, key(*tag) % 2**31) for arm in arms]
    pairs = [[math.log(outcome(trial).seconds) for trial in trials] for _ in range(1 + PAIRS)]
    return verdict.of_runs(np.array([method - baseline for method, baseline in pairs[1:]]))


def _search(judged: Judged) -> dict[str, Any]:
    search = judged.search
    return {
        "settings": [list(settings) for settings in search.settings],
        "scores": np.round(search.scores, 4).tolist(),
        "picked": search.picked,
    }

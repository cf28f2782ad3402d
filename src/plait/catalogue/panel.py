"""The baselines that any baseline is held against: none that is clearly worse than these can make a method look good.

    majority        what training labels say without looking: shares of classes, rates of labels, the mean, no risk
    a single one    the default recipe on one modality, tuned
    their ensemble  the mean of what the single ones predict, over those that a row has; of risks the geometric one
    concatenation   linear on all features side by side, its strength tuned; an absent cell the mean, and said:
                    logistic regression for classes and labels, ridge for numbers, Cox's model for survival
    late fusion     the default recipe, the late-fusion transformer, tuned

They are tuned as any arm is and judged at the same units, once for each data set and attempt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from plait.core.recipe import Recipe
from plait.data.table import Table
from plait.measures import scores
from plait.workflow.defaults import resolve
from plait.workflow.nested import TRIALS, Arm, Judged, Searched, judge
from plait.workflow.prepare import Encoded, Progress, encode, silent
from plait.workflow.trials import Outcome, Place

from .grounds import Ground

Array = np.ndarray[Any, np.dtype[Any]]
STRENGTHS = tuple(float(c) for c in np.geomspace(1e-4, 1e2, TRIALS))
"""Of the linear models, as the inverse of their penalty: as many as any other arm has trials."""
LATE = "late fusion"
TINY = 1e-30
"""Least risk."""


def panel(
    ground: Ground,
    measure: str,
    tag: tuple[Any, ...],
    progress: Progress = silent,
    *,
    seen: tuple[str, ...] | None = None,
) -> dict[str, Judged]:
    """{baseline: what was found of it}; of class targets, by measures of what is predicted.

    seen: the modalities that they look at; None: all.  ValueError for any other target: there is no panel for them.
    """
    schema = ground.grounds.schema
    target = next(iter(schema.targets.values()))
    if target.kind != "class" or not measure.startswith("test/"):
        raise ValueError(f"there is no panel of baselines for {measure} of a target of kind {target.kind}")
    whole = resolve(schema, None, ground.settings)
    singles = [arm for arm in single_ones(ground, whole) if seen is None or arm.name in seen]
    # On one modality the default recipe is that single one.
    late = [Arm(LATE, whole, modalities=seen)] if seen is None or len(seen) > 1 else []
    found = judge(ground.grounds, [*late, *singles], measure, tag=tag, progress=progress)
    return {**found, **simple(ground, measure, {arm.name: found[arm.name] for arm in singles}, seen)}


def single_ones(ground: Ground, recipe: Recipe) -> list[Arm]:
    """An arm for each modality that every training has a row of: of what no training row has, nobody can learn."""
    places = [*ground.grounds.searches, *(unit.place for unit in ground.grounds.units)]
    names = ground.grounds.schema.modalities
    seen = [one for one in names if all(_world(place).have[one][place.train].any() for place in places)]
    return [Arm(one, recipe, modalities=(one,)) for one in seen]


def simple(
    ground: Ground, measure: str, singles: Mapping[str, Judged], seen: Sequence[str] | None = None
) -> dict[str, Judged]:
    """{majority, ensemble, concatenation}: baselines that train no network.

    singles: as they were judged.  seen: the modalities that stand side by side; None: all.
    """
    picks = {unit.searches for unit in ground.grounds.units}
    strength = {pick: _strength([ground.grounds.searches[s] for s in pick], seen) for pick in picks}
    found: dict[str, list[list[Outcome]]] = {"majority": [], "ensemble": [], "concatenation": []}
    for u, unit in enumerate(ground.grounds.units):
        world, test = _world(unit.place), unit.place.test
        prior = world.prior(unit.place)
        each = [outcome for judged in singles.values() if (outcome := judged.finals[u][0].predicted) is not None]
        have = np.stack([world.have[one][test] for one in singles], 1)
        predicted = {
            "majority": np.repeat(prior[None], len(test), 0),
            "ensemble": _mean(np.stack(each, 1), have, prior, world.kind),
            "concatenation": world.fitted(strength[unit.searches], world.learned(unit.place), test, seen),
        }
        for arm, said in predicted.items():
            found[arm].append([world.judged(said, test, measure.removeprefix("test/"))])
    return {arm: Judged(Searched([()], np.zeros((0, 1))), finals) for arm, finals in found.items()}


def told_by_one(place: Place) -> float:
    """Share of a place's test rows whose class the most telling one of all stored numbers says, by a small tree."""
    world = _world(place)
    learned, judged = world.learned(place), place.test[world.known[place.test]]
    classes = len(world.prior(place))

    def told(numbers: Array) -> float:
        tree = DecisionTreeClassifier(max_leaf_nodes=max(2, 2 * classes), random_state=0)
        tree.fit(numbers[learned, None], world.truth[learned])
        return float((tree.predict(numbers[judged, None]) == world.truth[judged]).mean())

    return max(told(numbers) for numbers in world.side_by_side().T)


def _strength(searches: Sequence[Place], seen: Sequence[str] | None) -> float:
    """The one with the best mean of the main measure over the searches."""

    def value(strength: float, place: Place) -> float:
        world = _world(place)
        said = world.fitted(strength, world.learned(place), place.test, seen)
        found = world.judged(said, place.test, scores.of(world.kind).main).value
        return found if np.isfinite(found) else -np.inf

    return max(STRENGTHS, key=lambda strength: float(np.mean([value(strength, place) for place in searches])))


def _mean(each: Array, have: Array, prior: Array, kind: str) -> Array:
    """Over the modalities that a row has, [n, M, ...] -> [n, ...]; the prior for a row that has none."""
    there = have.reshape(have.shape + (1,) * (each.ndim - 2))
    count = there.sum(1)
    total = np.where(there, np.log(np.clip(each, TINY, 1 / TINY)) if kind == "survival" else each, 0.0).sum(1)
    mean = total / np.maximum(count, 1)
    return np.where(count > 0, np.exp(mean) if kind == "survival" else mean, prior)


class _World:
    """A table's features and labels, for baselines outside of Plait."""

    def __init__(self, table: Table) -> None:
        name, target = next(iter(table.schema.targets.items()))
        rows, values = table.targets(name)
        self.kind, self.classes = target.kind, len(target.classes or ())
        self.known = np.zeros(len(table), bool)
        self.known[rows] = True
        self.truth = np.zeros((len(table), *values.shape[1:]), values.dtype)
        self.truth[rows] = values
        encoded = encode(table, resolve(table.schema))
        self.have = {one: encoded.dataset.have[:, i].numpy() for i, one in enumerate(encoded.dataset.names)}
        self.features = features(encoded, len(table))

    def learned(self, place: Place) -> Array:
        """The labelled rows that a final model learns from."""
        rows = np.setdiff1d(np.concatenate([place.train, place.validation]), place.unlabelled)
        found: Array = rows[self.known[rows]]
        return found

    def prior(self, place: Place) -> Array:
        """What the labels say without looking at anything, [...]."""
        truth = self.truth[self.learned(place)]
        if self.kind == "class":
            counts = np.bincount(truth, minlength=self.classes)
            return np.asarray(counts / counts.sum())
        return np.ones(()) if self.kind == "survival" else np.asarray(np.nanmean(truth, 0))

    def side_by_side(self, seen: Sequence[str] | None = None) -> Array:
        """[N, F] what is stored of the modalities; None: all."""
        return np.concatenate([block for name, block in self.features.items() if seen is None or name in seen], 1)

    def fitted(self, strength: float, learned: Array, asked: Array, seen: Sequence[str] | None = None) -> Array:
        """What a linear model of the modalities that it sees says of rows, [n, ...]."""
        x = self.side_by_side(seen)
        return _LINEAR[self.kind](strength, x[learned], self.truth[learned], x[asked], self)

    def judged(self, predicted: Array, rows: Array, measure: str) -> Outcome:
        """predicted: [n, ...] of these rows, of which those without a label judge nothing."""
        known = self.known[rows]
        said, truth = predicted[known], self.truth[rows[known]]
        value, means = scores.value_of(self.kind, measure, said, truth)
        per_row = None if means is None else np.full(len(rows), np.nan)
        if per_row is not None:
            per_row[known] = means
        return Outcome(value, per_row, predicted, None, bool(np.isfinite(value)), 0.0)


def _classes(strength: float, x: Array, y: Array, asked: Array, world: _World) -> Array:
    model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=2000)).fit(x, y)
    out = np.zeros((len(asked), world.classes))
    out[:, model[-1].classes_] = model.predict_proba(asked)
    return out


def _labels(strength: float, x: Array, y: Array, asked: Array, world: _World) -> Array:
    out = np.zeros((len(asked), y.shape[1]))
    for label, column in enumerate(y.T):
        known = ~np.isnan(column)
        said = column[known] > 0.5
        if said.all() or not said.any():
            out[:, label] = said.any()
            continue
        model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=2000)).fit(x[known], said)
        out[:, label] = model.predict_proba(asked)[:, 1]
    return out


def _numbers(strength: float, x: Array, y: Array, asked: Array, world: _World) -> Array:
    return np.asarray(make_pipeline(StandardScaler(), Ridge(1 / strength)).fit(x, y).predict(asked))


def _risks(strength: float, x: Array, y: Array, asked: Array, world: _World) -> Array:
    from plait.core.extras import need

    surv = np.array([(event > 0, time) for time, event in y], [("event", bool), ("time", float)])
    cox = need("sksurv.linear_model", "survival").CoxPHSurvivalAnalysis(alpha=1 / strength)
    hazard = make_pipeline(StandardScaler(), cox).fit(x, surv).predict(asked)
    # With next to no penalty the fit may run away; risks then end where numbers do.
    return np.clip(np.exp(np.nan_to_num(hazard)), TINY, 1 / TINY)


_LINEAR = {"class": _classes, "multi_label": _labels, "number": _numbers, "survival": _risks}


def features(encoded: Encoded, size: int) -> dict[str, Array]:
    """{modality: [N, F]} the stored features, those of several tokens as their mean.

    An absent cell is the mean of those that are there, and the last column says whether one is.
    """
    found = {}
    every, have_all = encoded.dataset.batch(range(size)), encoded.dataset.have.numpy()
    for i, name in enumerate(encoded.dataset.names):
        have, cells = have_all[:, i], every.modalities[name]
        values = np.asarray(cells.values.float().numpy(), np.float64)
        if values.ndim > 2:
            values = values.reshape(len(values), -1, values.shape[-1]).mean(1)
        block = np.tile(np.nanmean(values, 0), (size, 1)) if len(values) else np.zeros((size, 1))
        block[have] = values
        found[name] = np.concatenate([np.nan_to_num(block), have[:, None].astype(np.float64)], 1)
    return found


@lru_cache(maxsize=64)
def _of(content: str, load: Any) -> _World:
    return _World(load())


def _world(place: Place) -> _World:
    return _of(place.content, place.load)

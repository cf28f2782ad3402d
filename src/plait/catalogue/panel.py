"""The baselines that any baseline is held against: none that is clearly worse than these can make a method look good.

    majority        the training rows' shares of classes
    a single one    the default recipe on one modality, tuned
    their ensemble  the mean of what the single ones predict, over those that a row has
    concatenation   logistic regression on all features side by side, C tuned; an absent cell the mean, and said
    late fusion     the default recipe, the late-fusion transformer, tuned

They are tuned as any arm is and judged at the same units, once for each data set and attempt.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from plait.data.table import Table
from plait.measures import scores
from plait.workflow.defaults import resolve
from plait.workflow.nested import TRIALS, Arm, judge
from plait.workflow.prepare import Encoded, Progress, encode, silent
from plait.workflow.trials import Place

from .grounds import Ground

Array = np.ndarray[Any, np.dtype[Any]]
STRENGTHS = tuple(float(c) for c in np.geomspace(1e-4, 1e2, TRIALS))
"""Of the logistic regression: as many as any other arm has trials."""


def panel(ground: Ground, measure: str, tag: tuple[Any, ...], progress: Progress = silent) -> dict[str, float]:
    """{baseline: the measure, mean over units}; of class targets, by measures of what is predicted.

    ValueError for any other: there is no panel for them.
    """
    schema = ground.grounds.schema
    target = next(iter(schema.targets.values()))
    if target.kind != "class" or not measure.startswith("test/"):
        raise ValueError(f"there is no panel of baselines for {measure} of a target of kind {target.kind}")
    whole = resolve(schema, None, ground.settings)
    arms = [Arm("late fusion", whole)]
    places = [*ground.grounds.searches, *(unit.place for unit in ground.grounds.units)]
    # Of what no training row has, nobody can learn.
    seen = [one for one in schema.modalities if all(_world(place).have[one][place.train].any() for place in places)]
    arms += [Arm(one, whole, modalities=(one,)) for one in seen]
    found = judge(ground.grounds, arms, measure, tag=tag, progress=progress)
    values = {arm: list(judged.values()) for arm, judged in found.items()}
    values |= {"majority": [], "ensemble": [], "concatenation": []}
    picks = {unit.searches for unit in ground.grounds.units}
    strength = {pick: _strength([ground.grounds.searches[s] for s in pick]) for pick in picks}
    for u, unit in enumerate(ground.grounds.units):
        world = _world(unit.place)
        truth = world.codes[unit.place.test]
        singles = [found[one].finals[u][0].predicted for one in seen]
        have = np.stack([world.have[one][unit.place.test] for one in seen], 1)
        predicted = {
            "majority": np.tile(world.shares(unit.place), (len(truth), 1)),
            "ensemble": _mean(np.stack([p for p in singles if p is not None], 1), have, world.shares(unit.place)),
            "concatenation": world.fitted(strength[unit.searches], world.learned(unit.place), unit.place.test),
        }
        for arm, probabilities in predicted.items():
            kept = truth >= 0
            value = scores.score("class", probabilities[kept], truth[kept])[measure.removeprefix("test/")]
            values[arm].append(value)
    return {arm: float(np.mean(each)) for arm, each in values.items()}


def told_by_one(place: Place) -> float:
    """Share of a place's test rows whose class the most telling one of all stored numbers says, by a small tree."""
    world = _world(place)
    learned, judged = world.learned(place), place.test[world.codes[place.test] >= 0]

    def told(numbers: Array) -> float:
        tree = DecisionTreeClassifier(max_leaf_nodes=max(2, 2 * world.classes), random_state=0)
        tree.fit(numbers[learned, None], world.codes[learned])
        return float((tree.predict(numbers[judged, None]) == world.codes[judged]).mean())

    return max(told(numbers) for numbers in world.features.T)


def _strength(searches: Sequence[Place]) -> float:
    """The C of the best mean accuracy over the searches."""

    def right(strength: float, place: Place) -> float:
        world = _world(place)
        judged = place.test[world.codes[place.test] >= 0]
        said = world.fitted(strength, world.learned(place), judged)
        return float((said.argmax(1) == world.codes[judged]).mean())

    return max(STRENGTHS, key=lambda strength: float(np.mean([right(strength, place) for place in searches])))


def _mean(each: Array, have: Array, shares: Array) -> Array:
    """Over the modalities that a row has, [n, M, C] -> [n, C]; the shares for a row that has none."""
    count = have.sum(1, keepdims=True)
    total = (each * have[:, :, None]).sum(1)
    return np.where(count > 0, total / np.maximum(count, 1), shares)


class _World:
    """A table's features and labels, for baselines outside of Plait."""

    def __init__(self, table: Table) -> None:
        name, target = next(iter(table.schema.targets.items()))
        rows, values = table.targets(name)
        self.codes = np.full(len(table), -1, np.int64)
        self.codes[rows] = values
        self.classes = len(target.classes or ())
        recipe = resolve(table.schema)
        encoded = encode(table, recipe)
        self.have = {one: encoded.dataset.have[:, i].numpy() for i, one in enumerate(encoded.dataset.names)}
        self.features = features(encoded, len(table))

    def learned(self, place: Place) -> Array:
        """The labelled rows that a final model learns from."""
        rows = np.setdiff1d(np.concatenate([place.train, place.validation]), place.unlabelled)
        found: Array = rows[self.codes[rows] >= 0]
        return found

    def shares(self, place: Place) -> Array:
        """[C] of the classes."""
        counts = np.bincount(self.codes[self.learned(place)], minlength=self.classes)
        return np.asarray(counts / counts.sum())

    def fitted(self, strength: float, learned: Array, asked: Array) -> Array:
        model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=2000))
        model.fit(self.features[learned], self.codes[learned])
        out = np.zeros((len(asked), self.classes))
        out[:, model[-1].classes_] = model.predict_proba(self.features[asked])
        return out


def features(encoded: Encoded, size: int) -> Array:
    """[N, F] the stored features of all modalities side by side, those of several tokens as their mean.

    An absent cell is the mean of those that are there, and a column says that it is absent.
    """
    parts = []
    every, have_all = encoded.dataset.batch(range(size)), encoded.dataset.have.numpy()
    for i, name in enumerate(encoded.dataset.names):
        have, cells = have_all[:, i], every.modalities[name]
        values = np.asarray(cells.values.float().numpy(), np.float64)
        if values.ndim > 2:
            values = values.reshape(len(values), -1, values.shape[-1]).mean(1)
        block = np.tile(np.nanmean(values, 0), (size, 1)) if len(values) else np.zeros((size, 1))
        block[have] = values
        parts += [np.nan_to_num(block), have[:, None].astype(np.float64)]
    return np.concatenate(parts, 1)


@lru_cache(maxsize=64)
def _of(content: str, load: Any) -> _World:
    return _World(load())


def _world(place: Place) -> _World:
    return _of(place.content, place.load)

"""How often the rules of a check say what is not so.

Small learners on fresh tables: mixtures of Gaussians seen in two views, eight classes, rows of which about 30 % repeat
another one nearly.  Each table goes through the folds, intervals and verdicts that claims are checked with, and beside
them through the rules that a check must not use.  A true difference is never assumed: it is measured on large
independent test samples, as a mean over many tables.  docs/protocol.md quotes what this prints.

    python benchmarks/protocol.py [NAME ...] [--batches 20]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit
from scipy.stats import qmc

from plait.catalogue.verdict import OVERLAP, Estimate, judge, of_folds, of_rows, of_runs, together
from plait.data.splits import folds

Array = NDArray[Any]
CLASSES, WIDTH, TABLES, RUNS = 8, 8, 20, 20
"""TABLES: in a batch; they share labels, groups and folds.  RUNS: fresh draws behind one planted claim."""
CENTRES = np.random.default_rng(0).standard_normal((CLASSES, WIDTH)).astype(np.float32)
SIZES, SHARES = (1, 2, 3, 4), (0.75, 0.13, 0.07, 0.05)
"""Rows in a group, and how many groups are that large."""
ALIKE = 0.9
"""Share of a row's variance around its class that it has in common with its group."""
MARGIN, ROWS = 0.02, 600
BOTH = 1.15, 1.15
"""How far apart classes lie in each view: both together reach an accuracy of about .85."""
FIRST, SECOND = tuple(range(WIDTH)), tuple(range(WIDTH, 2 * WIDTH))


@dataclass(frozen=True)
class Rate:
    """How often something was said.  nominal: how often a rule may say it, being wrong; None where it is right.

    expected: that a rule keeps its promise, that it visibly breaks it, or neither, where there is none.
    """

    scenario: str
    rule: str
    said: str
    found: float
    of: int
    nominal: float | None = None
    expected: Literal["kept", "broken", ""] = ""


class Tally:
    """Counts of what was said, in the order in which rules were first asked."""

    def __init__(self, scenario: str) -> None:
        self.scenario = scenario
        self.seen: dict[tuple[Any, ...], list[bool]] = {}

    def kept(self, rule: str, said: str, hits: Any, nominal: float = 0.05) -> None:
        self._add((rule, said, nominal, "kept"), hits)

    def broken(self, rule: str, said: str, hits: Any, nominal: float = 0.05) -> None:
        self._add((rule, said, nominal, "broken"), hits)

    def shown(self, rule: str, said: str, hits: Any) -> None:
        self._add((rule, said, None, ""), hits)

    def _add(self, key: tuple[Any, ...], hits: Any) -> None:
        self.seen.setdefault(key, []).extend(map(bool, np.atleast_1d(hits)))

    def rates(self) -> list[Rate]:
        return [
            Rate(self.scenario, rule, said, float(np.mean(hits)), len(hits), nominal, expected)
            for (rule, said, nominal, expected), hits in self.seen.items()
        ]


@dataclass(frozen=True)
class Design:
    """labels, groups: [N].  parts: [R][5] of (train, test)."""

    labels: Array
    groups: Array
    parts: list[list[tuple[Array, Array]]]

    @classmethod
    def drawn(cls, rows: int, repeats: int, seed: int) -> Design:
        rng = np.random.default_rng([rows, seed])
        groups = np.repeat(np.arange(rows), rng.choice(SIZES, rows, p=SHARES))[:rows]
        labels = rng.permutation(np.arange(groups.max() + 1) % CLASSES)[groups]
        return cls(labels, groups, cls.dealt(labels, groups, 5, repeats, seed))

    @staticmethod
    def dealt(labels: Array, groups: Array, k: int, repeats: int, seed: int) -> list[list[tuple[Array, Array]]]:
        found = list(folds(len(labels), k=k, repeats=repeats, groups=groups.tolist(), stratify=labels, seed=seed))
        return [found[at : at + k] for at in range(0, len(found), k)]

    def inner(self, train: Array, seed: int) -> tuple[Array, Array]:
        """(rows to learn from, rows to choose by) of a training set."""
        learn, choose = self.dealt(self.labels[train], self.groups[train], 4, 1, seed)[0][0]
        return train[learn], train[choose]

    def cells(self, rng: np.random.Generator, strength: tuple[float, float], tables: int = TABLES) -> Array:
        """[T, N, 2 WIDTH]: of each class its centre, the same in both views, and noise that a group has in common."""
        common = rng.standard_normal((tables, int(self.groups.max()) + 1, 2 * WIDTH), np.float32)
        own = rng.standard_normal((tables, len(self.labels), 2 * WIDTH), np.float32)
        noise = np.float32(ALIKE**0.5) * common[:, self.groups] + np.float32((1 - ALIKE) ** 0.5) * own
        return noise + centred(self.labels, strength)


def centred(labels: Array, strength: tuple[float, float]) -> Array:
    return np.concatenate([np.float32(s) * CENTRES[labels] for s in strength], -1)


@dataclass(frozen=True)
class Arm:
    """Ridge regression on classes, from some columns as they are and, if `hidden`, through random tanh features.

    penalty, scale: numbers, or one for each table.
    """

    columns: tuple[int, ...] = FIRST + SECOND
    hidden: int = 32
    penalty: Any = 10.0
    scale: Any = 0.3

    def features(self, cells: Array, weights: Array) -> Array:
        cells = cells[..., self.columns]
        parts = [np.ones_like(cells[..., :1]), cells]
        if self.hidden:
            parts.append(np.tanh(cells @ weights[:, :-1] + weights[:, -1:]))
        return np.concatenate(parts, -1)

    def fit(self, cells: Array, labels: Array, rng: np.random.Generator) -> Callable[[Array], Array]:
        """cells: [T, N, .].  labels: [N].  -> of cells their scores [T, N', C]."""
        tables = len(cells)
        weights = rng.standard_normal((tables, len(self.columns) + 1, self.hidden), np.float32)
        weights *= np.broadcast_to(np.asarray(self.scale, np.float32), tables)[:, None, None]
        seen = self.features(cells, weights)
        penalty = np.broadcast_to(np.asarray(self.penalty, np.float32), tables)[:, None, None]
        gram = seen.swapaxes(1, 2) @ seen + penalty * np.eye(seen.shape[-1], dtype=np.float32)
        weighed = np.linalg.solve(gram, seen.swapaxes(1, 2) @ np.eye(CLASSES, dtype=np.float32)[labels])
        return lambda new: self.features(new, weights) @ weighed

    def predict(self, cells: Array, labels: Array, train: Array, test: Array, rng: np.random.Generator) -> Array:
        """[T, test rows]: classes."""
        return self.fit(cells[:, train], labels[train], rng)(cells[:, test]).argmax(-1)

    def out_of_fold(self, cells: Array, design: Design, rng: np.random.Generator, seeds: int = 1) -> Array:
        """[S, R, T, N]: classes, from a model of its own seed in every fold."""
        found = np.empty((seeds, len(design.parts), *cells.shape[:2]), np.int8)
        for seed in range(seeds):
            for repeat, parts in enumerate(design.parts):
                for train, test in parts:
                    found[seed, repeat][:, test] = self.predict(cells, design.labels, train, test, rng)
        return found


@dataclass(frozen=True)
class Nearest(Arm):
    """The class of the nearest row."""

    def fit(self, cells: Array, labels: Array, rng: np.random.Generator) -> Callable[[Array], Array]:
        half = (cells**2).sum(-1)[:, None] / 2
        hot = np.eye(CLASSES)[labels]
        return lambda new: hot[(new @ cells.swapaxes(1, 2) - half).argmax(-1)]


@dataclass(frozen=True)
class Unsteady(Arm):
    """A training in ten nearly fails: noise in its scores costs it a fifth of the rows or so."""

    def fit(self, cells: Array, labels: Array, rng: np.random.Generator) -> Callable[[Array], Array]:
        scores = super().fit(cells, labels, rng)
        noise = np.where(rng.random(len(cells)) < 0.1, 0.25, 0.0)[:, None, None]
        return lambda new: scores(new) + noise * rng.standard_normal((*new.shape[:2], CLASSES))


Pair = tuple[Arm, Arm]
"""Method and baseline."""
Predicted = tuple[Array, Array]
Batch = tuple[Design, Array, np.random.Generator]

WHOLE, FIRST_VIEW, SECOND_VIEW = Arm(), Arm(FIRST), Arm(SECOND)
VIEWS = FIRST_VIEW, SECOND_VIEW
PLAIN = replace(FIRST_VIEW, hidden=0), replace(SECOND_VIEW, hidden=0)
PART, FEW, STRAW = Arm(FIRST + SECOND[:6]), Arm(FIRST + SECOND[:2]), Arm(FIRST[:2])
TRIALS = np.stack([(10 ** (5 * a - 1), 10 ** (2.5 * b - 1.5)) for a, b in qmc.Sobol(2, seed=0).random(16)])
"""Penalty and scale: the same points for both arms."""
REGIMES = {"on": 1.0, "same": 1.0, "off": 0.0}
"""How far apart classes lie in the second view, where a method that looks at it gains, and where it cannot."""


def truth(pair: Pair, strength: tuple[float, float] = BOTH, rows: int = ROWS, tables: int = 400) -> float:
    """By how much the method's accuracy is better: the mean over tables, on 4000 independent rows for each."""
    rng = np.random.default_rng([rows, 99])
    found: list[float] = []
    for seed in range(tables // TABLES):
        design = Design.drawn(rows, 1, seed)
        train, _ = design.parts[0][0]
        cells = design.cells(rng, strength)[:, train]
        labels = rng.integers(CLASSES, size=4000)
        new = rng.standard_normal((TABLES, 4000, 2 * WIDTH), np.float32) + centred(labels, strength)
        right = [(arm.fit(cells, design.labels[train], rng)(new).argmax(-1) == labels).mean() for arm in pair]
        found.append(right[0] - right[1])
    return float(np.mean(found))


def differences(predicted: Predicted, labels: Array) -> Array:
    """[R, T, N]: of each row, method minus baseline, each a mean over its seeds."""
    method, baseline = ((p == labels).mean(0, dtype=np.float64) for p in predicted)
    return np.asarray(method - baseline)


def each_fold(found: Array, design: Design) -> Array:
    """found: [R, T, N].  -> [T, J]: mean over the test rows of each fold."""
    return np.stack([found[r][:, test].mean(-1) for r, fs in enumerate(design.parts) for _, test in fs], -1)


def by_rows(found: Array, design: Design) -> list[Estimate]:
    """found: [R, T, N].  -> of each table."""
    pairs = zip(found.mean(0), each_fold(found, design), strict=True)
    return [of_rows(rows, design.groups, parts) for rows, parts in pairs]


def by_folds(found: Array) -> list[Estimate]:
    """found: [T, J]."""
    return [of_folds(d, 1, 4) for d in found]


def macro_f1(predicted: Array, labels: Array) -> Array:
    """predicted: [S, T, N].  -> [T], the mean over seeds."""
    scores = []
    for c in range(CLASSES):
        said, true = predicted == c, labels == c
        scores.append(2 * (said & true).sum(-1) / np.maximum(said.sum(-1) + true.sum(), 1))
    return np.asarray(np.mean(scores, 0).mean(0))


def fold_f1(predicted: Predicted, design: Design) -> Array:
    """[T, J]: method minus baseline."""
    columns = []
    for repeat, parts in enumerate(design.parts):
        for _, test in parts:
            method, baseline = (macro_f1(p[:, repeat][..., test], design.labels[test]) for p in predicted)
            columns.append(method - baseline)
    return np.stack(columns, -1)


def on_splits(pair: Pair, cells: Array, design: Design, rng: np.random.Generator, one: bool = False) -> Array:
    """[T, J]: differences on the first fold of each repeat, a random split; on the same one for all seeds if `one`."""
    found = []
    for parts in design.parts:
        train, test = (design.parts[0] if one else parts)[0]
        right = [arm.predict(cells, design.labels, train, test, rng) == design.labels[test] for arm in pair]
        found.append(right[0].mean(-1) - right[1].mean(-1))
    return np.stack(found, -1)


def differ(found: list[Estimate]) -> list[bool]:
    return [not low <= 0 <= high for low, high in (one.interval for one in found)]


def say(found: list[Estimate], expect: str, word: str, margin: float = MARGIN) -> list[bool]:
    return [judge(one, expect, margin)[0] == word for one in found]


def batches(scenario: str, count: int, repeats: int, strength: tuple[float, float] = BOTH) -> Iterator[Batch]:
    """-> design, cells, generator."""
    for seed in range(count):
        design = Design.drawn(ROWS, repeats, seed)
        rng = np.random.default_rng([seed, *scenario.encode()])
        yield design, design.cells(rng, strength), rng


def checked(pair: Pair, batch: Batch) -> Predicted:
    """As a check runs them: the method once in every fold, the baseline with three seeds."""
    design, cells, rng = batch
    return pair[0].out_of_fold(cells, design, rng), pair[1].out_of_fold(cells, design, rng, 3)


def naive(tally: Tally, pair: Pair, count: int, said: str, right: bool = False) -> None:
    """Paired t-intervals over random splits of the same rows, and over seeds on one of the splits."""
    note = tally.kept if right else tally.broken
    for design, cells, rng in batches(tally.scenario + " naive", count, 20):
        found = on_splits(pair, cells, design, rng)
        for runs in (5, 10, 20):
            note(f"t over {runs} random splits", said, differ([of_runs(d[:runs]) for d in found]))
        one = on_splits(pair, cells, design, rng, one=True)
        note("t over 20 seeds on one split", said, differ([of_runs(d) for d in one]))


def identical(count: int) -> list[Rate]:
    """The same arm twice, with other seeds."""
    tally, pair = Tally("identical arms"), (WHOLE, WHOLE)
    for batch in batches(tally.scenario, count, 4):
        predicted = checked(pair, batch)
        found = differences(predicted, batch[0].labels)
        rows = by_rows(found, batch[0])
        tally.kept("rows", "different", differ(rows))
        tally.kept("rows", "higher holds", say(rows, "higher", "holds"), 0.025)
        tally.kept("rows", "equal contradicted", say(rows, "equal", "contradicted"))
        tally.kept("folds", "different", differ(by_folds(each_fold(found, batch[0]))))
    naive(tally, pair, count, "different", right=True)
    return tally.rates()


def exchangeable(count: int) -> list[Rate]:
    """One view against the other: no difference over tables, but each table favours one of them."""
    tally = Tally("exchangeable views")
    for batch in batches(tally.scenario, count, 4):
        predicted = checked(VIEWS, batch)
        found = differences(predicted, batch[0].labels)
        rows = by_rows(found, batch[0])
        tally.kept("rows", "different", differ(rows))
        tally.kept("rows", "higher holds", say(rows, "higher", "holds"), 0.025)
        tally.kept("folds", "different", differ(by_folds(each_fold(found, batch[0]))))
        tally.kept("folds, macro-F1", "different", differ(by_folds(fold_f1(predicted, batch[0]))))
        tally.broken("t over 20 folds", "different", differ(list(map(of_runs, each_fold(found, batch[0])))))
    naive(tally, VIEWS, count, "different")
    return tally.rates()


def boundary(count: int) -> list[Rate]:
    """A method that is worse by exactly the margin, and one that is better by exactly the margin."""
    tally, margin = Tally("at the margin"), truth((WHOLE, PART))
    below, above = f"at -{margin:.3f}", f"at +{margin:.3f}"
    for pair, place, said in (
        ((PART, WHOLE), below, (("not_lower", "holds"), ("equal", "contradicted"))),
        ((WHOLE, PART), above, (("higher", "contradicted"), ("equal", "contradicted"))),
    ):
        for batch in batches(tally.scenario + place, count, 4):
            found = differences(checked(pair, batch), batch[0].labels)
            parts = by_folds(each_fold(found, batch[0]))
            for rule, some in (("rows", by_rows(found, batch[0])), ("folds", parts)):
                for expect, word in said:
                    wrong = say(some, expect, word, margin)
                    tally.kept(f"{rule}, {place}", f"{expect.replace('_', ' ')} {word}", wrong, 0.025)
    for design, cells, rng in batches(tally.scenario + " naive", count, 20):
        some = [of_runs(d) for d in on_splits((PART, WHOLE), cells, design, rng)]
        wrong = say(some, "not_lower", "holds", margin)
        tally.broken(f"t over 20 random splits, {below}", "not lower holds", wrong, 0.025)
    return tally.rates()


def inert(count: int) -> list[Rate]:
    """A mechanism that does nothing, one that does next to nothing, and one that does something."""
    tally = Tally("inert mechanism")
    mechanisms = {
        "nothing": WHOLE,
        "next to nothing": replace(WHOLE, penalty=10.00001),
        "something": replace(WHOLE, penalty=20.0),
    }
    for design, cells, rng in batches(tally.scenario, count, 4):
        train, test = design.parts[0][0]
        seed = int(rng.integers(2**31))
        off, *on = (
            arm.fit(cells[:, train], design.labels[train], np.random.default_rng(seed))(cells[:, test])
            for arm in (WHOLE, *mechanisms.values())
        )
        baseline = WHOLE.out_of_fold(cells, design, rng, 3)
        for (name, arm), scores in zip(mechanisms.items(), on, strict=True):
            alive = (abs(scores - off).max(-1) > 1e-4).mean(-1) >= 0.01
            found = differences((arm.out_of_fold(cells, design, rng), baseline), design.labels)
            passes = np.array(say(by_rows(found, design), "not_lower", "holds"))
            tally.shown(f"does {name}", "not lower holds", passes)
            if name == "something":
                tally.shown(f"does {name}", "holds and alive", passes & alive)
            else:
                tally.kept(f"does {name}", "holds and alive", passes & alive, 0.0)
    return tally.rates()


def stopping(count: int) -> list[Rate]:
    """Exchangeable views, looked at again and again until they differ."""
    tally = Tally("optional stopping")
    for design, cells, rng in batches(tally.scenario, count, 20):
        found = differences(
            (PLAIN[0].out_of_fold(cells, design, rng), PLAIN[1].out_of_fold(cells, design, rng)), design.labels
        )
        rows = [differ(by_rows(found[:r], replace(design, parts=design.parts[:r]))) for r in range(1, 21)]
        tally.kept("rows, 4 repeats declared", "different", rows[3])
        tally.shown("rows, a look after each of 20 repeats", "different", np.any(rows, 0))
        splits = each_fold(found, design)[:, ::5]
        looks = [differ([of_runs(d[:runs]) for d in splits]) for runs in range(3, 21)]
        tally.broken("t over splits, looks at 3 to 20", "different", np.any(looks, 0))
    for seed in range(20 * count):
        drawn = fresh(PLAIN, np.random.default_rng([seed, 1]), BOTH, seed)
        tally.kept("20 fresh draws declared", "different", differ([of_runs(drawn)]))
        step = [abs(one.difference) > stdtrit(one.df, 0.9875) * one.se for one in (of_runs(drawn[:10]), of_runs(drawn))]
        tally.kept("one step from 10 draws to 20, 97.5 % each", "different", any(step))
        tally.broken(
            "looks at 3 to 20 fresh draws", "different", any(differ([of_runs(drawn[:k]) for k in range(3, 21)]))
        )
    return tally.rates()


def fresh(pair: Pair, rng: np.random.Generator, strength: tuple[float, float], seed: int) -> Array:
    """[RUNS]: differences, each on a table of its own with one split."""
    design = Design.drawn(ROWS // 2, 1, seed)
    return on_splits(pair, design.cells(rng, strength, RUNS), design, rng)[:, 0]


def tuned(batch: Batch, at: Array | int, learn: Array, judged: Array) -> Array:
    """[T, judged rows]: classes, with trial `at`, or one for each table."""
    design, cells, rng = batch
    arm = replace(WHOLE, penalty=TRIALS[at, 0], scale=TRIALS[at, 1])
    return arm.predict(cells, design.labels, learn, judged, rng)


def tuning(count: int) -> list[Rate]:
    """One method on both sides, searched over or not; its knobs are the penalty and the scale of random features."""
    tally = Tally("unequal tuning")
    gains: dict[str, list[float]] = {}
    for batch in batches(tally.scenario, count, 1):
        design, cells, rng = batch
        shape = (1, 1, *cells.shape[:2])
        found = {name: np.empty(shape, np.int8) for name in ("searched", "again", "fixed")}
        tried = np.empty((len(TRIALS), *shape), np.int8)
        fixed = rng.integers(len(TRIALS), size=TABLES)
        for train, test in design.parts[0]:
            learn, choose = design.inner(train, 0)
            for name in found:
                at = fixed
                if name != "fixed":
                    inner = [tuned(batch, i, learn, choose) == design.labels[choose] for i in range(len(TRIALS))]
                    at = np.mean(inner, -1).argmax(0)
                found[name][0, 0][:, test] = tuned(batch, at, train, test)
            for i in range(len(TRIALS)):
                tried[i, 0, 0][:, test] = tuned(batch, i, train, test)
        best = (tried == design.labels).mean(-1).argmax(0)
        found["on test rows"] = np.take_along_axis(tried, best[None, ..., None], 0)[0]
        for method, baseline, rule, note in (
            ("searched", "again", "16 trials against 16", tally.kept),
            ("searched", "fixed", "16 trials against one", tally.broken),
            ("on test rows", "fixed", "16 trials on test rows against one", tally.broken),
        ):
            rows = differences((found[method], found[baseline]), design.labels)
            gains.setdefault(rule, []).append(float(rows.mean()))
            note(rule, "higher holds", say(by_rows(rows, design), "higher", "holds"), 0.025)
    return [replace(one, rule=f"{one.rule}, {np.mean(gains[one.rule]):+.3f}") for one in tally.rates()]


def planted(count: int, better: bool) -> list[Rate]:
    """A method that sees more than the baseline, or less; and the planted kind of claim, on fresh draws."""
    tally = Tally(f"planted {'better' if better else 'worse'} method")
    pair = (WHOLE, FEW) if better else (FEW, WHOLE)
    true = truth(pair)
    right, wrong = ("holds", "contradicted") if better else ("contradicted", "holds")
    for batch in batches(tally.scenario, count, 4):
        found = differences(checked(pair, batch), batch[0].labels)
        rows, parts = by_rows(found, batch[0]), by_folds(each_fold(found, batch[0]))
        tally.shown(f"rows, {true:+.3f}", f"higher {right}", say(rows, "higher", right))
        tally.shown(f"folds, {true:+.3f}", f"higher {right}", say(parts, "higher", right))
        tally.kept(f"rows, {true:+.3f}", f"higher {wrong}", say(rows, "higher", wrong), 0.025)
        tally.kept(f"rows, {true:+.3f}", f"not lower {wrong}", say(rows, "not_lower", wrong), 0.025)
    if better:
        for seed in range(20 * count):
            rng = np.random.default_rng([seed, 2])
            whole = WHOLE, FIRST_VIEW
            gains = {name: fresh(whole, rng, (1.15, s), 2 * seed + i) for i, (name, s) in enumerate(REGIMES.items())}
            for name, without in (("only where planted", "off"), ("in both regimes alike", "same")):
                parts = [of_runs(gains["on"]), of_runs(gains["on"] - gains[without])]
                word = together([judge(part, "higher", MARGIN)[0] for part in parts])
                note = tally.shown if without == "off" else partial(tally.kept, nominal=0.025)
                note(f"20 fresh draws, gains {name}", "holds", word == "holds")
    return tally.rates()


def straw(count: int) -> list[Rate]:
    """A baseline far below the panel, and a method as good as the best of the panel, or better than it."""
    tally = Tally("straw man")
    for design, cells, rng in batches(tally.scenario, count, 1):
        method, better, baseline, *panel = (
            arm.out_of_fold(cells, design, rng) for arm in (FIRST_VIEW, WHOLE, STRAW, SECOND_VIEW, *PLAIN)
        )
        right = np.stack([(one == design.labels).mean((0, 1, 3)) for one in panel])
        best = np.take_along_axis(np.stack(panel), right.argmax(0)[None, None, None, :, None], 0)[0]
        for rule, one, other, note in (
            ("as good as the panel, against the baseline", method, baseline, partial(tally.broken, nominal=0.025)),
            ("as good as the panel, against its best", method, best, partial(tally.kept, nominal=0.025)),
            ("better than the panel, against its best", better, best, tally.shown),
        ):
            found = by_rows(differences((one, other), design.labels), design)
            note(rule, "higher holds", say(found, "higher", "holds"))
    return tally.rates()


def torn(count: int) -> list[Rate]:
    """Nearest neighbours are no better than the baseline, unless a row's twin is among them."""
    tally, pair = Tally("torn groups"), (Nearest(), WHOLE)
    true = truth(pair)
    for design, cells, rng in batches(tally.scenario, count, 1):
        alone = replace(design, groups=np.arange(ROWS))
        loose = replace(alone, parts=Design.dealt(design.labels, alone.groups, 5, 1, int(rng.integers(1000))))
        for rule, dealt, note in (("groups together", design, tally.kept), ("groups torn", loose, tally.broken)):
            found = differences(
                (pair[0].out_of_fold(cells, dealt, rng), pair[1].out_of_fold(cells, dealt, rng)), design.labels
            )
            note(f"{rule}, {true:+.3f}", "higher holds", say(by_rows(found, dealt), "higher", "holds"), 0.025)
    return tally.rates()


def shared(count: int) -> list[Rate]:
    """Many claims about the same arm with other seeds: against one training of it, or each against three of its own."""
    tally, claims = Tally("one baseline, many claims"), 50
    wrong: dict[str, list[int]] = {}
    for seed in range(3 * count):
        design = Design.drawn(ROWS, 1, seed)
        rng = np.random.default_rng([seed, 3])
        one = design.cells(rng, BOTH, 1)
        cells = np.repeat(one, claims, 0)
        method = WHOLE.out_of_fold(cells, design, rng)
        for rule, baseline in (
            ("one training for 50 claims", np.repeat(WHOLE.out_of_fold(one, design, rng), claims, 2)),
            ("three of its own for each of 50", WHOLE.out_of_fold(cells, design, rng, 3)),
        ):
            found = differ(by_rows(differences((method, baseline), design.labels), design))
            wrong.setdefault(rule, []).append(sum(found))
            tally.kept(rule, "different", found)
    spread = {rule: np.std(counts, ddof=1) for rule, counts in wrong.items()}
    return [replace(one, said=f"different, of 50 +-{spread[one.rule]:.1f}") for one in tally.rates()]


SCENARIOS: dict[str, Callable[[int], list[Rate]]] = {
    "identical": identical,
    "exchangeable": exchangeable,
    "boundary": boundary,
    "inert": inert,
    "stopping": stopping,
    "tuning": tuning,
    "better": partial(planted, better=True),
    "worse": partial(planted, better=False),
    "straw": straw,
    "torn": torn,
    "shared": shared,
}


PAIRS: dict[str, Pair] = {
    "other seeds": (WHOLE, WHOLE),
    "exchangeable views": VIEWS,
    "exchangeable, linear": PLAIN,
    "part against whole": (PART, WHOLE),
    "random features or none": (WHOLE, replace(WHOLE, hidden=0)),
    "a training in ten fails": (Unsteady(), Unsteady()),
}
SIZED = (300, 4), (600, 1), (600, 4), (1000, 2)
"""Rows, repeats."""


@dataclass(frozen=True)
class Width:
    """Of 95 % intervals over `of` tables: how often they missed the true difference.

    check: as a check has them; rows: without a look at folds; plain: without the factor either; folds: by folds alone.
    needed: the factor with which those of rows alone would have missed 5 %.  share: the check's width over the folds'.
    """

    arms: str
    rows_repeats: tuple[int, int]
    true: float
    check: float
    rows: float
    plain: float
    folds: float
    needed: float
    share: float
    of: int


def width(name: str, size: int, repeats: int, count: int) -> Width:
    pair, found = PAIRS[name], []
    equal = pair[0] == pair[1] or name.startswith("exchangeable")
    true = 0.0 if equal else truth(pair, rows=size)
    for seed in range(count):
        rng = np.random.default_rng([seed, size, repeats, *name.encode()])
        design = Design.drawn(size, repeats, seed)
        rows = differences(checked(pair, (design, design.cells(rng, BOTH), rng)), design.labels)
        alone = [of_rows(one, design.groups) for one in rows.mean(0)]
        found += zip(by_rows(rows, design), alone, by_folds(each_fold(rows, design)), strict=True)
    off = abs(np.array([rows.difference for _, rows, _ in found]) - true)
    check, alone, folds = np.array([[one.half for one in three] for three in found]).T
    plain = alone / OVERLAP
    missed = [float((off > half).mean()) for half in (check, alone, plain, folds)]
    needed, share = float(np.quantile(off / plain, 0.95)), float(check.mean() / folds.mean())
    return Width(name, (size, repeats), true, *missed, needed, share, len(off))


def printed(found: list[Rate]) -> str:
    lines = [f"{'':28}{'rule':50}{'said':30}{'nominal':>8}{'found':>8}{'of':>7}"]
    for one in found:
        promised = "" if one.nominal is None else f"{one.nominal:.3f}"
        mark = "  broken" if one.expected == "broken" else ""
        lines.append(f"{one.scenario:28}{one.rule:50}{one.said:30}{promised:>8}{one.found:8.3f}{one.of:7}{mark}")
    return "\n".join(lines)


def measured(found: list[Width]) -> str:
    heads = ("true", "check", "rows", "plain", "folds", "needed", "share")
    lines = [f"{'':28}{'rows, repeats':>14}" + "".join(f"{head:>8}" for head in heads)]
    for one in found:
        values = "".join(f"{getattr(one, head):8.3f}" for head in heads)
        lines.append(f"{one.arms:28}{one.rows_repeats!s:>14}{values}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join([*SCENARIOS, "widths"]))
    parser.add_argument("--batches", type=int, default=30, help=f"of {TABLES} tables")
    options = parser.parse_args()
    found: dict[str, list[dict[str, Any]]] = {}
    for name in options.names or [*SCENARIOS, "widths"]:
        if name == "widths":
            some: list[Any] = [width(arms, *sized, options.batches) for arms in PAIRS for sized in SIZED]
            print(measured(some), flush=True)
        else:
            some = SCENARIOS[name](options.batches)
            print(printed(some), flush=True)
        found[name] = [asdict(one) for one in some]
    print(json.dumps(found))


if __name__ == "__main__":
    main()

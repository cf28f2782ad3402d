"""Plait's default recipe beside plain heads on the same frozen features, on `stamps`, on the same grouped folds.

Stratified 5-fold splits of the labelled rows that tear no group, `--repeats` times.  Every figure is out of fold.

    full       majority class; logistic regression on the image's, the caption's and both features; the same with each
               block at equal energy and C chosen on inner folds; Plait on image and caption; Plait on all columns
    half       image or caption removed at random from every row that has both, the same ones for all methods:
               logistic regression on zero-filled features; the tuned one; Plait
    retrieval  image -> caption among the fold's test rows, any row with an equal caption is a hit: two linear heads
               (InfoNCE); ridge regression onto the caption's features; Plait's two models

The features are those that Plait's frozen encoders store: efficientnet-lite0's last stage (1280) and MiniLM (384); the
tuned baselines get the stages that Plait's default gets.  All methods learn from all training rows: Plait twice, first
without a sixth of them, which chooses how far each modality is trusted.

Intervals are of 95 %, paired: of accuracy by groups of rows (plait.catalogue.verdict), of the others by folds,
mean d +- t(.975, J - 1) s sqrt(1 / J + n_test / n_train) (Nadeau & Bengio, Machine Learning 2003).

    plait fetch stamps
    python benchmarks/stamps.py [--repeats 4] [--folds 5] [--out FOLDER] [--pair]

Every fold's predictions are kept below FOLDER, so that a second call goes on where the first one stopped, and two
processes may share the work.  Folds of another data set, recipe or script are not taken for one's own; remove the
folder after a change to Plait itself.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from scipy.stats import t as student
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits
from torch import nn
from torch.nn import functional as F

from plait.catalogue.verdict import of_rows
from plait.data.cache import cache_root
from plait.data.duplicates import equal_groups
from plait.data.read import read
from plait.data.splits import folds, strata
from plait.data.table import Table
from plait.measures import classification, retrieval
from plait.workflow.defaults import resolve
from plait.workflow.prepare import Encoded, encode
from plait.workflow.run import write_json
from plait.workflow.train import train

Array = np.ndarray[Any, np.dtype[Any]]

K = 5
PAIR = ("image", "caption")
PLAIN = {
    "image": {"frozen": {"model": "efficientnet-lite0", "stages": 1}},
    "caption": {"frozen": {"model": "minilm-l6"}},
}
STRENGTHS = (10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0)
PENALTIES = (0.03, 0.1, 0.3, 1.0, 3.0)
HEAD_SEEDS = 3
RECALLS = (1, 10)
REGIMES = ("full", "half")
PLAIT, EVERYTHING = "Plait", "Plait, all columns"


class Bench:
    """The labelled rows, in both regimes and with all columns, their cells stored."""

    def __init__(self, folder: Path, repeats: int) -> None:
        whole = read(folder)
        codes = strata(whole)
        assert codes is not None
        labelled = np.flatnonzero(codes >= 0)
        self.table = whole.take(labelled)
        self.target = next(iter(whole.schema.targets))
        self.truth = codes[labelled]
        self.classes = len(whole.schema.targets[self.target].classes or ())
        self.groups = np.asarray(self.table.column(whole.schema.group or "").to_pylist())
        self.same_caption = equal_groups(self.table, ["caption"])
        self.full = Job(_only(self.table, self.table.columns))
        self.half = [Job(_only(self.table, self._half(repeat))) for repeat in range(repeats)]

    @cached_property
    def everything(self) -> Job:
        return Job(self.table)

    def _half(self, repeat: int) -> pa.Table:
        """The columns, where a row that has both image and caption keeps one of them, drawn at random."""
        columns, present = self.table.columns, self.table.present()
        both = present["image"] & present["caption"]
        keeps_image = np.random.default_rng(repeat).random(len(both)) < 0.5
        for name, goes in (("image", both & ~keeps_image), ("caption", both & keeps_image)):
            cells = columns[name].to_pylist()
            left = pa.array([None if gone else cell for cell, gone in zip(cells, goes, strict=True)], pa.large_string())
            columns = columns.set_column(columns.column_names.index(name), name, left)
        return columns

    def deal(self, rows: Array, k: int, seed: int) -> Iterator[tuple[Array, Array]]:
        """Grouped, stratified folds of some rows."""
        ids = [self.table.ids[row] for row in rows]
        for learn, judge in folds(ids, k=k, groups=self.groups[rows], stratify=self.truth[rows], seed=seed):
            yield rows[learn], rows[judge]

    def outer(self, repeats: int) -> Iterator[tuple[Array, Array]]:
        yield from folds(self.table.ids, k=K, repeats=repeats, groups=self.groups, stratify=self.truth, seed=0)

    def key(self) -> str:
        """Of all that the figures depend on but Plait's own code."""
        recipes = [resolve(table.schema).dump() for table in (self.table, self.full.table)]
        said = json.dumps([self.table.fingerprint(), recipes, Path(__file__).read_text(encoding="utf-8")])
        return hashlib.blake2b(said.encode(), digest_size=8).hexdigest()


class Job:
    """A table with its default recipe and stored cells, and the features of image and caption."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.recipe = resolve(table.schema)
        self.encoded = encode(table, self.recipe)
        plain = encode(table, resolve(table.schema, {"encoders": PLAIN}), PAIR)
        self.plain = {name: _features(plain, name) for name in PAIR}
        self.rich = {name: _features(self.encoded, name) for name in PAIR}
        self.both = self.plain["image"][1] & self.plain["caption"][1]


def _only(table: Table, columns: pa.Table) -> Table:
    schema = table.schema
    kept = {name: schema.modalities[name] for name in PAIR}
    return Table(columns, schema.model_copy(update={"modalities": kept}), root=table.root)


def _features(encoded: Encoded, name: str) -> tuple[Array, Array]:
    """-> [N, C], zeros where there is no cell, and [N] which rows have one."""
    cells = encoded.dataset.stores[name].gather(torch.arange(len(encoded.dataset)))
    values, present = cells.with_(values=cells.values.flatten(1).float()).dense(len(encoded.dataset))
    return values.numpy(), present.numpy()


def logistic(features: Array, truth: Array, learn: Array, judge: Array) -> Array:
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)).fit(features[learn], truth[learn])
    return np.asarray(model.predict(features[judge]))


def balanced_blocks(job: Job, learn: Array) -> Array:
    """Each modality standardised on the training rows that have it, at the same energy however wide; 0 where absent."""
    blocks = []
    for values, present in job.rich.values():
        mean, std = _scale(values[learn[present[learn]]])
        blocks.append(present[:, None] * (values - mean) / std / math.sqrt(values.shape[1]))
    return np.hstack(blocks)


def _scale(values: Array) -> tuple[Array, Array]:
    return values.mean(0), values.std(0) + 1e-6


def tuned_logistic(bench: Bench, job: Job, learn: Array, judge: Array, seed: int) -> tuple[Array, float]:
    """-> predictions and the C that inner folds chose."""

    def predict(strength: float, some: Array, others: Array) -> Array:
        blocks = balanced_blocks(job, some)
        model = LogisticRegression(C=strength, max_iter=2000).fit(blocks[some], bench.truth[some])
        return np.asarray(model.predict(blocks[others]))

    def inner(strength: float) -> float:
        parts = bench.deal(learn, 3, seed)
        return float(np.mean(np.concatenate([predict(strength, a, b) == bench.truth[b] for a, b in parts])))

    best = max(STRENGTHS, key=inner)
    return predict(best, learn, judge), best


def recalls(bench: Bench, rows: Array, images: Array, captions: Array) -> dict[str, Array]:
    """Of the images [n, E] among the captions [n, E] of the same rows."""
    same = bench.same_caption[rows]
    found = retrieval.rank(images, captions, same, same)
    return {f"recall@{k}": found.recall(k) for k in RECALLS}


def two_heads(job: Job, learn: Array, judge: Array, seed: int) -> tuple[Array, Array]:
    """Two linear maps into 256 dimensions, trained with InfoNCE in both directions; -> those of the rows `judge`."""
    g = torch.Generator().manual_seed(seed)
    sides = []
    for values, _ in job.plain.values():
        mean, std = _scale(values[learn])
        sides.append(torch.from_numpy((values - mean) / std))
    heads = nn.ModuleList(nn.Linear(side.shape[1], 256) for side in sides)
    for head in heads:
        bound = 1 / math.sqrt(head.in_features)
        for parameter in head.parameters():
            nn.init.uniform_(parameter, -bound, bound, generator=g)
    log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
    epochs, batch = 60, 128
    steps = epochs * math.ceil(len(learn) / batch)
    decayed = [{"params": heads.parameters()}, {"params": [log_scale], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(decayed, lr=1e-3, weight_decay=0.05)
    warm_then_cosine = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / (0.05 * steps), 0.5 * (1 + math.cos(math.pi * step / steps)))
    )
    for _ in range(epochs):
        for part in torch.from_numpy(learn)[torch.randperm(len(learn), generator=g)].split(batch):
            one, other = (F.normalize(head(side[part])) for head, side in zip(heads, sides, strict=True))
            cosines = one @ other.T * log_scale.exp().clamp(max=100)
            own = torch.arange(len(part))
            loss = (F.cross_entropy(cosines, own) + F.cross_entropy(cosines.T, own)) / 2
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            warm_then_cosine.step()
    with torch.no_grad():
        one, other = (head(side[judge]).numpy() for head, side in zip(heads, sides, strict=True))
    return one, other


def ridge(bench: Bench, job: Job, learn: Array, judge: Array, seed: int) -> tuple[Array, Array, float]:
    """The caption's features from the image's, the penalty chosen on inner folds; -> both sides, and the penalty."""
    images, captions = (values for values, _ in job.rich.values())

    def project(penalty: float, some: Array, others: Array) -> tuple[Array, Array]:
        (mean, std), centre = _scale(images[some]), captions[some].mean(0)
        one, other = ((images[rows] - mean) / std / math.sqrt(images.shape[1]) for rows in (some, others))
        weights = np.linalg.solve(one @ one.T + penalty * np.eye(len(some)), captions[some] - centre)
        return other @ one.T @ weights, captions[others] - centre

    def inner(penalty: float) -> float:
        parts = bench.deal(learn, 3, seed)
        return float(
            np.mean(np.concatenate([recalls(bench, b, *project(penalty, a, b))["recall@1"] for a, b in parts]))
        )

    best = max(PENALTIES, key=inner)
    return *project(best, learn, judge), best


@dataclass
class Fold:
    """One fold of one repeat, and what came out of it: predicted classes, and how often images find their captions."""

    bench: Bench
    repeat: int
    number: int
    learn: Array
    test: Array
    predicted: dict[str, dict[str, Array]] = field(default_factory=lambda: {regime: {} for regime in REGIMES})
    found: dict[str, dict[str, Array]] = field(default_factory=dict)
    chosen: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def seed(self) -> int:
        return self.repeat * K + self.number

    def heads(self) -> None:
        """All baselines."""
        bench, learn, test = self.bench, self.learn, self.test
        full, half = bench.full, bench.half[self.repeat]
        most = np.bincount(bench.truth[learn], minlength=bench.classes).argmax()
        self.predicted["full"]["majority"] = np.full(len(test), most)
        blocks = {name: values for name, (values, _) in full.plain.items()}
        for name, values in {**blocks, "both": np.hstack(list(blocks.values()))}.items():
            self.predicted["full"][f"logistic regression, {name}"] = logistic(values, bench.truth, learn, test)
        filled = np.hstack([values for values, _ in half.plain.values()])
        self.predicted["half"]["logistic regression, zero-filled"] = logistic(filled, bench.truth, learn, test)
        for regime, job in (("full", full), ("half", half)):
            codes, self.chosen[f"{regime}: C"] = tuned_logistic(bench, job, learn, test, self.seed)
            self.predicted[regime]["logistic regression, tuned"] = codes
        pairs, asked = learn[full.both[learn]], test[full.both[test]]
        seeds = [self.seed * HEAD_SEEDS + i for i in range(HEAD_SEEDS)]
        found = [recalls(bench, asked, *two_heads(full, pairs, asked, seed)) for seed in seeds]
        self.found["two linear heads"] = {name: np.mean([one[name] for one in found], 0) for name in found[0]}
        *sides, self.chosen["ridge: penalty"] = ridge(bench, full, pairs, asked, self.seed)
        self.found["ridge regression"] = recalls(bench, asked, *sides)

    def pair(self) -> None:
        """Plait on image and caption, in both regimes."""
        self._plait(PLAIT, "full", self.bench.full)
        self._plait(PLAIT, "half", self.bench.half[self.repeat])

    def everything(self) -> None:
        """Plait on all columns."""
        self._plait(EVERYTHING, "full", self.bench.everything)

    def _plait(self, name: str, regime: str, job: Job) -> None:
        own, picks = next(self.bench.deal(self.learn, 6, self.seed + 1))
        rows = {"train": own, "validation": picks, "test": self.test}
        model = train(job.table, job.encoded, job.recipe, rows, seed=self.seed).model
        dataset = job.encoded.dataset.take(self.test)
        self.predicted[regime][name] = model.parameters(dataset)[self.bench.target].argmax(1)
        if regime == "full":
            places, embedded = np.flatnonzero(job.both[self.test]), model.embeddings(dataset)
            sides = [_on(embedded[side], places) for side in PAIR]
            self.found[name] = recalls(self.bench, self.test[places], *sides)

    def done(self, folder: Path, part: str) -> bool:
        """Take the results of a part, "heads" and so on, from the folder, or run it; False if another process does."""
        path = folder / f"repeat-{self.repeat}-fold-{self.number}-{part}.json"
        with path.with_suffix(".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            if not path.exists():
                alone, began = Fold(self.bench, self.repeat, self.number, self.learn, self.test), time.perf_counter()
                getattr(alone, part)()
                alone.seconds[part] = time.perf_counter() - began
                print(f"repeat {self.repeat}, fold {self.number}, {part}: {alone.seconds[part]:.0f} s", flush=True)
                write_json(path, {name: getattr(alone, name) for name in ("predicted", "found", "chosen", "seconds")})
        kept = json.loads(path.read_text(encoding="utf-8"))
        for regime, codes in kept["predicted"].items():
            self.predicted[regime] |= codes
        self.found |= kept["found"]
        self.chosen |= kept["chosen"]
        self.seconds |= kept["seconds"]
        return True


def _on(embedded: tuple[Array, Array], rows: Array) -> Array:
    """The embeddings of `rows`, all of which must be there."""
    return embedded[1][[int(np.flatnonzero(embedded[0] == row)[0]) for row in rows]]


class Figures:
    """One measure of every method: per fold, and, for means over rows, per row, averaged over the repeats."""

    def __init__(self, shares: list[float]) -> None:
        self.shares = shares
        self.by_fold: dict[str, list[float]] = {}
        self.sums: dict[str, dict[int, list[float]]] = {}

    def add(self, method: str, value: float) -> None:
        self.by_fold.setdefault(method, []).append(value)

    def add_rows(self, method: str, rows: Array, values: Array) -> None:
        self.add(method, float(np.mean(values)))
        own = self.sums.setdefault(method, {})
        for row, value in zip(np.asarray(rows).tolist(), np.asarray(values, float).tolist(), strict=True):
            own.setdefault(row, []).append(value)

    def mean(self, method: str) -> float:
        if method in self.sums:
            return float(np.mean([np.mean(values) for values in self.sums[method].values()]))
        return float(np.mean(self.by_fold[method]))

    def by_rows(self, first: str, second: str, groups: Array) -> dict[str, float]:
        one, two = self.sums[first], self.sums[second]
        differences = np.array([np.mean(one[row]) - np.mean(two[row]) for row in one])
        found = of_rows(differences, groups[list(one)])
        low, high = found.interval
        return {"mean": found.difference, "low": low, "high": high, "resolution": found.seen_from()}

    def by_folds(self, first: str, second: str) -> dict[str, float]:
        """NaN for the ends if there is but one fold."""
        d = np.subtract(self.by_fold[first], self.by_fold[second])
        count = len(d)
        if count < 2:
            return {"mean": float(d.mean()), "low": math.nan, "high": math.nan}
        width = student.ppf(0.975, count - 1) * d.std(ddof=1) * math.sqrt(1 / count + float(np.mean(self.shares)))
        return {"mean": float(d.mean()), "low": float(d.mean() - width), "high": float(d.mean() + width)}


def classified(bench: Bench, done: list[Fold], regime: str) -> dict[str, Figures]:
    shares = [len(fold.test) / len(fold.learn) for fold in done]
    out = {name: Figures(shares) for name in ("accuracy", "balanced_accuracy", "macro_f1")}
    for fold in done:
        truth = bench.truth[fold.test]
        for method, codes in fold.predicted[regime].items():
            out["accuracy"].add_rows(method, fold.test, np.equal(codes, truth))
            rest = classification.others(np.eye(bench.classes)[codes], truth)
            for name in ("balanced_accuracy", "macro_f1"):
                out[name].add(method, rest[name])
    return out


def found_captions(done: list[Fold]) -> dict[str, Figures]:
    shares = [len(fold.test) / len(fold.learn) for fold in done]
    out = {f"recall@{k}": Figures(shares) for k in RECALLS}
    for fold in done:
        for method, figures in fold.found.items():
            for name, values in figures.items():
                out[name].add(method, float(np.mean(values)))
    return out


def summary(measures: dict[str, Figures], groups: Array) -> dict[str, Any]:
    """-> methods {method: {measure: value}}, differences {"Plait - other": {measure: {mean, low, high}}}."""
    first = next(iter(measures.values()))
    methods = {method: {name: of.mean(method) for name, of in measures.items()} for method in first.by_fold}
    differences: dict[str, dict[str, dict[str, float]]] = {}
    for ours in (PLAIT, EVERYTHING):
        for other in first.by_fold if ours in first.by_fold else ():
            if other != ours and (other, ours) != (EVERYTHING, PLAIT):
                differences[f"{ours} - {other}"] = {
                    name: of.by_rows(ours, other, groups) if of.sums else of.by_folds(ours, other)
                    for name, of in measures.items()
                }
    return {"methods": methods, "differences": differences}


def show(title: str, found: dict[str, Any]) -> None:
    measures = list(next(iter(found["methods"].values())))
    print(f"\n{title}\n{'':54}" + "".join(f"{name.replace('_', ' '):>28}" for name in measures))
    for method, values in found["methods"].items():
        print(f"{method:54}" + "".join(f"{values[name]:28.3f}" for name in measures))
    for pair, values in found["differences"].items():
        cells = [f"{d['mean']:+.3f} [{d['low']:+.3f}, {d['high']:+.3f}]" for d in (values[name] for name in measures)]
        print(f"{pair:54}" + "".join(f"{cell:>28}" for cell in cells))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=4, help="of the five folds")
    parser.add_argument("--folds", type=int, default=K, help="of each repeat that are run")
    parser.add_argument("--out", type=Path, default=Path("runs/bench-stamps"), help="where results are kept")
    parser.add_argument("--pair", action="store_true", help="without Plait on all columns, which takes longest")
    parser.add_argument("--data", type=Path, default=cache_root() / "sets" / "stamps")
    parser.add_argument("--threads", type=int, default=1, help="of this process")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with threadpool_limits(options.threads):
        bench = Bench(options.data, options.repeats)
        folder = options.out / bench.key()
        folder.mkdir(parents=True, exist_ok=True)
        every = [
            Fold(bench, *divmod(number, K), learn, test)
            for number, (learn, test) in enumerate(bench.outer(options.repeats))
            if number % K < options.folds
        ]
        parts = ["heads", "pair", *([] if options.pair else ["everything"])]
        done = [fold for fold in every if all(fold.done(folder, part) for part in parts)]
    if len(done) < len(every):
        print(f"{len(every) - len(done)} folds are being run by another process: call again when it has finished.")
    if not done:
        return
    found = {regime: summary(classified(bench, done, regime), bench.groups) for regime in REGIMES}
    found["retrieval"] = summary(found_captions(done), bench.groups)
    titles = {
        "full": "Category, from all image and caption cells",
        "half": "Category, each row with an image or a caption",
        "retrieval": "Images that find their caption among a fold's test rows",
    }
    groups = len(set(bench.groups))
    print(f"\n{len(bench.truth)} rows in {groups} groups, {bench.classes} classes, {len(done)} folds")
    for name, title in titles.items():
        show(title, found[name])
    chosen = {name: [fold.chosen[name] for fold in done] for name in done[0].chosen}
    seconds = {part: float(np.mean([fold.seconds[part] for fold in done])) for part in parts}
    account = {"rows": len(bench.truth), "folds": len(done), **found, "chosen": chosen, "seconds": seconds}
    write_json(folder / "summary.json", account)
    print(f"\nWritten: {folder / 'summary.json'}")


if __name__ == "__main__":
    main()

"""What the training loop costs beside a loop written by hand.

Both train the same network on the same batches with the same AdamW, warm-up and cosine, clipping and averaged weights.
They take turns, each pair in the other order than the last, and the ratio of their times per step is what counts: its
median and quartiles over the pairs.  Targets: 1.15 where a step takes about 20 ms, 1.05 where it takes about 100 ms.

    python benchmarks/loop.py [--pairs 15] [--profile]
"""

from __future__ import annotations

import argparse
import cProfile
import json
import pstats
import statistics
import time

import numpy as np
import torch
from torch import nn

from plait.core.assemble import encoder_for
from plait.core.part import Modality, Spec, Target
from plait.core.random import generator
from plait.core.recipe import Recipe
from plait.data.dataset import Dataset
from plait.data.store import Store
from plait.measures import scores
from plait.training import loop, optim

CASES = {"20 ms": {"width": 64, "batch": 64, "steps": 40}, "100 ms": {"width": 160, "batch": 128, "steps": 12}}
TARGETS = {"20 ms": 1.15, "100 ms": 1.05}
TOKENS, FEATURES, CLASSES = 6, 64, 10
JUDGE = loop.Judge(scores.score, lambda kind: scores.of(kind).main, lambda kind, name: scores.of(kind).higher(name))


def table(size: int) -> tuple[Dataset, Spec]:
    """Three modalities of TOKENS x FEATURES, a fifth of the cells missing, one class target."""
    rng = np.random.default_rng(0)
    stores, modalities = {}, {}
    for name in "abc":
        rows = (rng.random(size) < 0.8).nonzero()[0]
        values = rng.normal(size=(len(rows) * TOKENS, FEATURES)).astype(np.float32)
        stores[name] = Store(size, rows, values, starts=np.arange(len(rows) + 1) * TOKENS)
        modalities[name] = Modality("tokens", (FEATURES,), ragged=True)
    targets = {"y": (np.arange(size), rng.integers(CLASSES, size=size))}
    spec = Spec(0, 64, modalities, {"y": Target("class", tuple(map(str, range(CLASSES))))})
    return Dataset(size, [str(i) for i in range(size)], stores, targets), spec


class Case:
    def __init__(self, width: int, batch: int, steps: int) -> None:
        self.steps = steps
        self.rows, spec = table(batch * steps)
        self.recipe = Recipe.parse(
            {
                "width": width,
                "embedding": 64,
                "encoders": {"tokens": {"tokens": {}}},
                "fusion": {"self_attention": {"layers": 2}},
                "training": {"epochs": 1, "batch": batch, "ema": 0.99},
            }
        )
        self.spec = Spec(width, spec.embedding, spec.modalities, spec.targets)

    def train(self, epochs: int) -> loop.Trained:
        recipe, data = self.recipe.model_copy(deep=True), loop.Data(self.rows)
        recipe.training.epochs = epochs
        encoders = {name: encoder_for(recipe, name, "tokens") for name in self.spec.names}
        return loop.run(recipe, self.spec, encoders, lambda stage: data, JUDGE)

    def ours(self) -> float:
        """Seconds per step."""
        trained = self.train(1)
        assert trained.steps == self.steps
        return trained.history[0]["seconds"] / self.steps

    def by_hand(self) -> float:
        """Seconds per step."""
        settings, rows = self.recipe.training, self.rows
        network = self.train(0).network.train()
        head = network.heads["y"]
        parameters = list(network.parameters())
        average = [p.detach().clone() for p in parameters]
        optimizer = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.05, fused=True)
        began = time.perf_counter()
        order = torch.randperm(rows.size, generator=generator("shuffled"))
        for step, part in enumerate(order.split(settings.batch)):
            batch = rows.batch(part)
            prediction = network(batch, (step,)).predictions["y"]
            truth = batch.targets["y"].at(prediction.rows).values
            loss = head.loss(prediction.values, truth).mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, settings.clip)
            for group in optimizer.param_groups:
                group["lr"] = 1e-3 * optim.factor(settings, step, self.steps)
            optimizer.step()
            with torch.no_grad():
                torch._foreach_lerp_(average, parameters, 1 - min(0.99, (1 + step) / (10 + step)))
        return (time.perf_counter() - began) / self.steps

    def ratios(self, pairs: int) -> tuple[list[float], list[float]]:
        """-> seconds by hand, ours / by hand."""
        self.ours(), self.by_hand()
        hand, ratios = [], []
        for i in range(pairs):
            first, second = (self.ours, self.by_hand) if i % 2 else (self.by_hand, self.ours)
            times = {first.__name__: first(), second.__name__: second()}
            hand.append(times["by_hand"])
            ratios.append(times["ours"] / times["by_hand"])
        return hand, ratios


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--profile", action="store_true", help="say where the time goes instead")
    options = parser.parse_args()
    found = {}
    for name, settings in CASES.items():
        case = Case(**settings)
        if options.profile:
            case.ours()
            with cProfile.Profile() as profile:
                case.ours()
            pstats.Stats(profile).sort_stats("tottime").print_stats(35)
            continue
        hand, ratios = case.ratios(options.pairs)
        low, middle, high = statistics.quantiles(ratios, n=4)
        found[name] = {
            "step_ms": 1000 * statistics.median(hand),
            "ratio": middle,
            "quartiles": [low, high],
            "target": TARGETS[name],
            "pairs": options.pairs,
        }
        print(f"{name}: {1000 * statistics.median(hand):.1f} ms by hand, ratio {middle:.3f} ({low:.3f} to {high:.3f})")
    if found:
        print(json.dumps(found))


if __name__ == "__main__":
    main()

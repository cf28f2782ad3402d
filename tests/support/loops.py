"""Whole trainings that take a fraction of a second: two vectors and ragged tokens, a class and a number."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from plait.core.assemble import encoder_for
from plait.core.part import Modality, Spec, Target
from plait.core.recipe import Recipe, Stage
from plait.data.dataset import Dataset
from plait.data.store import Store
from plait.measures import scores
from plait.training import loop

MODALITIES = {"a": Modality("vector", (5,)), "b": Modality("vector", (4,)), "c": Modality("tokens", (3,), ragged=True)}
TARGETS = {"y": Target("class", ("p", "q", "r")), "z": Target("number")}
SPEC = Spec(8, 4, MODALITIES, TARGETS)
SMALL = {
    "width": 8,
    "embedding": 4,
    "encoders": {"vector": {"vector": {}}, "tokens": {"tokens": {}}},
    "fusion": {"self_attention": {"layers": 1, "heads": 2, "dropout": 0.2}},
    "training": {"epochs": 2, "batch": 16, "optimizer": {"adamw": {"lr": 0.01, "weight_decay": 0.05}}},
}
JUDGE = loop.Judge(scores.score, lambda kind: scores.of(kind).main, lambda kind, name: scores.of(kind).higher(name))

RICH = {
    "missing": {"modality_dropout": {"rate": 0.2}},
    "objectives": {
        "supervised": {},
        "info_nce": {"weight": 0.3},
        "queue": {"use": "foreign:Queue"},
        "imitate": {"use": "foreign:Imitate"},
    },
    "balance": {"slow": {"use": "foreign:Slow"}},
    "views": {"noisy": [{"noise": {}}]},
    "teachers": {"slow": {"use": "ema", "momentum": 0.9}},
}
"""Everything that has a state of its own."""


def rows(size: int = 60, seed: int = 0, missing: float = 0.25, unlabelled: float = 0.2) -> Dataset:
    """Rows that lack some cells and labels; both targets depend on every modality."""
    rng = np.random.default_rng(seed)
    signal = rng.normal(size=size)
    have = rng.random((size, 3)) >= missing
    have[np.arange(size), rng.integers(3, size=size)] = True
    stores = {}
    for column, (name, modality) in enumerate(MODALITIES.items()):
        where = have[:, column].nonzero()[0]
        if modality.ragged:
            lengths = rng.integers(1, 5, len(where))
            values = np.repeat(signal[where], lengths)[:, None] + rng.normal(size=(lengths.sum(), *modality.shape))
            stores[name] = Store(size, where, values.astype(np.float32), starts=np.cumsum([0, *lengths]))
        else:
            values = signal[where, None] + rng.normal(size=(len(where), *modality.shape))
            stores[name] = Store(size, where, values.astype(np.float32))
    labelled = (rng.random(size) >= unlabelled).nonzero()[0]
    y = np.digitize(signal[labelled], [-0.5, 0.5])
    targets = {"y": (labelled, y), "z": (labelled, (signal[labelled] * 10 + 50).astype(np.float32))}
    return Dataset(size, [str(i) for i in range(size)], stores, targets)


def recipe(**over: Any) -> Recipe:
    """`SMALL` with slots replaced; training settings one by one."""
    training = {**SMALL["training"], **over.pop("training", {})}  # type: ignore[dict-item]
    return Recipe.parse({**SMALL, **over, "training": training})


def run(
    of: Recipe | None = None,
    train: Dataset | None = None,
    validation: Dataset | None = None,
    *,
    spec: Spec = SPEC,
    data: Callable[[Stage], loop.Data] | None = None,
    seed: int = 0,
    folder: Path | None = None,
    judge: loop.Judge = JUDGE,
    watched: bool = True,
    **over: Any,
) -> loop.Trained:
    """Train `recipe(**over)`."""
    of = of or recipe(**over)
    own = loop.Data(rows() if train is None else train, validation)
    encoders = {name: encoder_for(of, name, modality.kind) for name, modality in spec.modalities.items()}
    return loop.run(of, spec, encoders, data or (lambda stage: own), judge, seed=seed, folder=folder, watched=watched)


def weights(trained: loop.Trained) -> dict[str, Tensor]:
    return trained.network.state_dict()


def lines(trained: loop.Trained) -> list[Mapping[str, Any]]:
    """The history, without what the clock says."""
    return [{key: value for key, value in line.items() if key != "seconds"} for line in trained.history]


def same(a: Any, b: Any) -> bool:
    """Equal as nested dicts, lists, tensors and plain values, bit for bit."""
    if isinstance(a, Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return len(a) == len(b) and all(map(same, a, b)) if isinstance(a, list) else a == b


def saved(trained: loop.Trained) -> bytes:
    """The weights as a run folder has them."""
    return save({name: tensor.contiguous() for name, tensor in weights(trained).items()})

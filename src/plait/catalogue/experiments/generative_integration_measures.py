"""What a multimodal autoencoder makes of one modality, by how much its divergences weigh in the course of training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from plait.core.outputs import Outputs
from plait.measures.trust.generative_integration import GenerativeIntegration, generative_integration

from . import Draw
from ._readers import Array
from ._trained import trained

STEPS = 40
"""Optimiser steps after which a weight stays as it is; there are 80."""
FULL: Mapping[str, Any] = {"beta": 1.0}
NONE: Mapping[str, Any] = {"beta": 0.0}
RISING: Mapping[str, Any] = {"beta": 1.0, "first": 0.0, "anneal": STEPS}
FALLING: Mapping[str, Any] = {"beta": 0.0, "first": 1.0, "anneal": STEPS}


def error_of_rising(draw: Draw, seed: int) -> tuple[float, float]:
    """Single-modality error, mean over modalities: the weight rises from 0 to 1, or is 1."""
    return _single(draw, RISING, seed), _single(draw, FULL, seed)


def error_of_falling(draw: Draw, seed: int) -> tuple[float, float]:
    """Single-modality error, mean over modalities: the weight falls from 1 to 0, or is 1."""
    return _single(draw, FALLING, seed), _single(draw, FULL, seed)


def error_of_none(draw: Draw, seed: int) -> tuple[float, float]:
    """Single-modality error, mean over modalities: the weight is 0, or 1."""
    return _single(draw, NONE, seed), _single(draw, FULL, seed)


def loss_without_the_clear_one(draw: Draw, seed: int) -> tuple[float, float]:
    """Loss of precision for all modalities, without the first one and without the second."""
    loss = found(draw, RISING, seed).loss_all
    return loss["a"].value, loss["b"].value


def identities() -> float:
    """Errors and losses of lossless codes, and the loss without a modality that the code ignores."""
    rng = np.random.default_rng(0)
    code = rng.normal(size=(60, 2))
    truth = {"a": code, "b": code @ rng.normal(size=(2, 3)), "c": rng.normal(size=(60, 2))}
    whole = {name: truth[name] for name in "ab"}
    lossless = generative_integration(whole, whole, dict.fromkeys(whole, whole), dict.fromkeys(whole, whole))

    def made(given: str) -> dict[str, Array]:
        """By a code of what is given of a and b."""
        guess = np.mean([np.zeros((60, 2)), *(truth[name][:, :2] for name in given if name in "ab")], 0)
        return {name: guess @ np.ones((2, x.shape[1])) for name, x in truth.items()}

    alone, withheld = {i: made(i) for i in truth}, {i: made("abc".replace(i, "")) for i in truth}
    ignored = generative_integration(truth, made("abc"), alone, withheld).loss["c"]
    wrong = [e.value for matrix in (lossless.single, lossless.loss) for row in matrix.values() for e in row.values()]
    return float(np.sum(np.abs([*wrong, *(e.value for e in ignored.values())])))


def found(draw: Draw, weights: Mapping[str, Any], seed: int) -> GenerativeIntegration:
    """Of the test rows, all of which have all modalities."""
    table = draw()
    names = list(table.schema.modalities)
    recipe = {
        "width": 16,
        "missing": {},
        "projection": None,
        "fusion": {"consensus_posterior": {"correlation": 0.0, "learn": False, **weights}},
        "heads": {name: {"latent_decoder": {}} for name in names},
        "objectives": {},
        "training": {
            "epochs": 20,
            "optimizer": {"adamw": {"lr": 0.01, "weight_decay": 0.0}},
            "monitor": "last",
            "refit": False,
        },
    }
    fitted = trained(table, recipe, seed)
    rows = fitted.encoded.dataset.take(fitted.splits["test"])
    network = fitted.model.network.eval()
    with torch.no_grad():
        out = network(rows.batch(range(len(rows))))
        full, alone = _made(out, names), {i: _made(out.only(i), names) for i in names}
        withheld = {i: _made(out.without(i), names) for i in names}
    truth = {name: out.pieces[name].values.numpy() for name in names}
    return generative_integration(truth, full, alone, withheld)


def _made(out: Outputs, names: list[str]) -> dict[str, Array]:
    """{modality: what is decoded of it, [N, T, C], on its own scale}."""
    return {name: out.heads[name].predict(out.decoded[name].values).numpy() for name in names}


def _single(draw: Draw, weights: Mapping[str, Any], seed: int) -> float:
    return float(np.mean([e.value for e in found(draw, weights, seed).single_all.values()]))

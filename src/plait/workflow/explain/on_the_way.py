"""Whether modalities pulled the shared parameters apart while the model was trained; a part of `balance`."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from plait.core.errors import DataError, RecipeError, RunError
from plait.core.network import load_tensors
from plait.report.figures import curves
from plait.training import checkpoint
from plait.training.loop import CHECKPOINT
from plait.training.stages import stages_of

from ..evaluate import untrained
from ..run import read_splits
from ..train import train
from .gradients import below_zero, between, conflicts
from .section import CannotSay, Drawing, Grid, Part
from .subject import Array, Subject
from .wording import listed

OURS = "network."
"""What the network's tensors begin with in a checkpoint."""
MOMENTS = 10
"""At which the weights are looked at, about: the end of the first epoch, and then as far apart."""
METHOD = (
    "On the way: the run's training, done once more with its seed and without the second training on validation rows; "
    "after some of its epochs gradients are compared as at the end; all pairs and moments are corrected together."
)


def on_the_way(subject: Subject) -> Part:
    """Takes as long as the run's training.  Nothing of other rows than the run's own."""
    if not len(subject.learned) or subject.model.folder is None:
        return Part()
    try:
        moments = _moments(subject)
    except (CannotSay, DataError, RecipeError, RunError) as why:
        return Part([f"How gradients were on the way cannot be said: {why}"])
    pairs = sorted(_pairs(subject, moments), key=lambda pair: min(pair["cosine"]))
    if not pairs:
        return Part(["How gradients were on the way cannot be said: no two modalities had any to compare."])
    against = [pair for pair in pairs if pair["against"]]
    words = [_words(pair) for pair in against[:3]] or [
        "That modalities pulled the parts that all share against each other was not shown at any moment of training."
    ]
    if len(against) > 3:
        words.append(f"So did {len(against) - 3} more pairs.")
    named = [" and ".join(pair["pair"]) for pair in pairs]
    ends = {
        named[i]: list(zip(pairs[i]["epochs"], pairs[i]["cosine"], strict=True)) for i in sorted({0, len(pairs) - 1})
    }
    drawing = Drawing(
        curves(ends, "cosine of gradients"),
        "The pair that pulled apart the most at one moment, and the one that did so the least; 0 is neither.",
    )
    grid = Grid(
        "Gradients in the shared parameters, while the model was trained",
        ("pair", "first", "lowest", "at epoch", "last", "shown below 0"),
        [
            (
                said,
                f"{pair['cosine'][0]:.2f}",
                f"{min(pair['cosine']):.2f}",
                str(pair["epochs"][int(np.argmin(pair["cosine"]))]),
                f"{pair['cosine'][-1]:.2f}",
                f"{len(pair['against'])} of {len(pair['epochs'])}",
            )
            for said, pair in zip(named, pairs, strict=True)
        ],
    )
    return Part(words, [drawing], [grid], [METHOD], {"on_the_way": pairs})


def _moments(subject: Subject) -> dict[int, Array]:
    """{epochs so far, over all stages: [b, M, M] cosines of batches}."""
    model = subject.model
    assert model.folder is not None
    once = model.recipe.model_copy(update={"training": model.recipe.training.model_copy(update={"refit": False})})
    cells = untrained(model, subject.table, subject.encoded, model.names)
    network, rows = copy.deepcopy(model.network), read_splits(model.folder)
    most = sum(parts.settings.epochs for _, parts in stages_of(once))
    found: dict[int, Array] = {}
    epochs = itertools.count(1)
    with TemporaryDirectory() as scratch:

        def watch(line: Mapping[str, Any]) -> None:
            epoch = next(epochs)
            subject.progress("epochs of the run's training again", epoch, most)
            if epoch == 1 or epoch % max(1, most // MOMENTS) == 0:
                state = checkpoint.read(Path(scratch) / CHECKPOINT)["step"]
                load_tensors(network, {k.removeprefix(OURS): v for k, v in state.items() if k.startswith(OURS)})
                found[epoch] = conflicts(subject, network)[0]

        how: dict[str, Any] = {"seed": model.info["seed"], "folder": Path(scratch), "cache": model.cache}
        train(subject.table, cells, once, rows, **how, watch=watch)
    return found


def _pairs(subject: Subject, moments: Mapping[int, Array]) -> list[dict[str, Any]]:
    """Mean cosines at the moments at which two batches have both, and the moments at which they are below 0."""
    names = subject.names
    looks = [(epoch, i, j, of) for epoch, cosine in moments.items() for (i, j), of in between(cosine).items()]
    found: dict[tuple[int, int], dict[str, Any]] = {}
    for (epoch, i, j, of), p in zip(looks, below_zero([of for *_, of in looks]), strict=True):
        pair = found.setdefault((i, j), {"pair": [names[i], names[j]], "epochs": [], "cosine": [], "p_corrected": []})
        pair["epochs"].append(epoch)
        pair["cosine"].append(float(of.mean()))
        pair["p_corrected"].append(float(p))
    for pair in found.values():
        pair["against"] = [epoch for epoch, p in zip(pair["epochs"], pair["p_corrected"], strict=True) if p < 0.05]
    return list(found.values())


def _words(pair: Mapping[str, Any]) -> str:
    lowest = int(np.argmin(pair["cosine"]))
    return (
        f"While the model was trained, {listed(pair['pair'])} pulled the parts that all share against each other at "
        f"{len(pair['against'])} of {len(pair['epochs'])} moments, the most after epoch {pair['epochs'][lowest]} "
        f"(cosine {pair['cosine'][lowest]:.2f})."
    )

"""Whether modalities pull the parameters that they share against each other, with the weights as training left them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from scipy.special import stdtr

from plait.core.network import Network
from plait.core.packed import together
from plait.core.part import Head
from plait.measures.bootstrap import mean_interval
from plait.measures.multiple_testing import adjusted
from plait.measures.trust.balance import gradient_conflict

from .section import CannotSay, Grid
from .subject import Array, Subject
from .wording import listed

BATCHES = 8
ROWS = 64
"""Of a batch of learned rows, at most; a quarter of it at least."""
PAIRS = 30
"""Pairs of modalities in the table, those that pull apart the most."""


def gradients(subject: Subject) -> tuple[str, list[Grid], dict[str, Any]]:
    """Whether modalities pull the shared parameters apart.  CannotSay if they share none, or on few rows."""
    names, seed = subject.names, subject.seed
    cosine, alike = conflicts(subject, subject.model.network)
    looks = between(cosine)
    if not looks:
        raise CannotSay("No two modalities had gradients to compare.")
    pairs: list[dict[str, Any]] = [
        {
            "pair": [names[i], names[j]],
            "cosine": float(of.mean()),
            "interval": mean_interval(of, seed=seed, exact=False),
            "lowest": float(of.min()),
            "highest": float(of.max()),
            "below": int((of < 0).sum()),
            "batches": len(of),
            "similarity": float(np.nanmean(alike[:, i, j])),
            "p_corrected": float(p),
        }
        for ((i, j), of), p in zip(looks.items(), below_zero(list(looks.values())), strict=True)
    ]
    pairs.sort(key=lambda pair: pair["cosine"])
    against = [" and ".join(pair["pair"]) for pair in pairs if pair["p_corrected"] < 0.05]
    if against:
        said = (
            f"With the weights as training left them, {listed(against[:3], 'as do')} pull the parts that all share "
            "against each other: a step that helps one harms the other."
        )
        if len(against) > 3:
            said += f" So do {len(against) - 3} more pairs."
    else:
        said = (
            "That modalities pull the parts that all share against each other was not shown in any pair, with the "
            "weights as training left them."
        )
    lines = [
        (
            " and ".join(pair["pair"]),
            "{} [{}, {}]".format(*map(_short, (pair["cosine"], *pair["interval"]))),
            f"{_short(pair['lowest'])} to {_short(pair['highest'])}",
            f"{pair['below']} of {pair['batches']}",
            _short(pair["similarity"]),
        )
        for pair in pairs[:PAIRS]
    ]
    head = ("pair", "cosine", "of single batches", "batches below 0", "alike in length (1: equal)")
    return said, [Grid("Gradients in the shared parameters, at the end of training", head, lines)], {"gradients": pairs}


def below_zero(looks: Sequence[Array]) -> Array:
    """[T] chances of means as low as those of [b] cosines each if there were no conflict: t-tests, for T looks."""
    errors = [max(1e-12, float(of.std(ddof=1)) / math.sqrt(len(of))) for of in looks]
    return adjusted([stdtr(len(of) - 1, of.mean() / e) for of, e in zip(looks, errors, strict=True)], "holm")


def between(cosine: Array) -> dict[tuple[int, int], Array]:
    """[b, M, M] of batches -> {two modalities: [b] of the batches that have both, if there are two}."""
    pairs = itertools.combinations(range(cosine.shape[1]), 2)
    found = {(i, j): of[~np.isnan(of)] for i, j in pairs for of in (cosine[:, i, j],)}
    return {pair: of for pair, of in found.items() if len(of) > 1}


def conflicts(subject: Subject, network: Network) -> tuple[Array, Array]:
    """Cosines and similarities [b, M, M] of the modalities' gradients, of several batches of learned rows; NaN without.

    network: of the run's recipe, with the weights that are asked about.  CannotSay as `gradients`.
    """
    found = [gradient_conflict(batch) for batch in _batches(subject, network)]
    cosine, alike = (np.stack([getattr(one, which) for one in found]) for which in ("cosine", "similarity"))
    return cosine, alike


def _short(value: float) -> str:
    # Adding 0 takes away the sign of a rounded -0.
    return f"{round(value, 2) + 0.0:.2f}"


def _batches(subject: Subject, network: Network) -> list[Array]:
    """[M, D] gradients of each modality's own loss, for each of several batches of learned rows."""
    target = subject.target
    head = network.heads[target]
    assert isinstance(head, Head)
    shared = [p for part in (network.fusion, head) for p in part.parameters() if p.requires_grad]
    if not shared:
        raise CannotSay("The modalities share no parameters in which they could pull against each other.")
    learned = subject.encoded.dataset.take(subject.learned)
    rows = learned.target(target).rows.numpy()
    group = np.unique(subject.learned_groups[rows], return_inverse=True)[1]
    count = min(BATCHES, 4 * len(rows) // ROWS, int(group.max(initial=-1)) + 1)
    if count < 2:
        raise CannotSay("There are too few rows with labels for several batches of gradients.")
    rng = np.random.default_rng(subject.seed)
    # Rows that belong together in one batch, so that batches are apart.
    dealt = (rng.permutation(group.max() + 1) % count)[group]
    network.eval()
    out = []
    for k in range(count):
        chosen = rng.permutation(rows[dealt == k])[:ROWS]
        batch = learned.batch(chosen).to(next(network.parameters()).device)
        with torch.enable_grad():
            outputs = network(batch)
            lines = []
            for modality in subject.names:
                line = [torch.zeros_like(p) for p in shared]
                if modality in outputs.tokens:
                    alone = outputs.only(modality).predictions[target].on(outputs.tokens[modality].rows)
                    (said, truth), at = together(alone, batch.targets[target])
                    loss = head.loss(said.values, truth.values).mean() if len(at) else None
                    if loss is not None and loss.requires_grad:
                        line = list(torch.autograd.grad(loss, shared, allow_unused=True, materialize_grads=True))
                lines.append(torch.cat([part.flatten() for part in line]).cpu().numpy())
        out.append(np.stack(lines))
    return out

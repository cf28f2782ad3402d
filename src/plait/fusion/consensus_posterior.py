"""One latent for all: a consensus of experts that err together, and a bound in which each subset has its share (CoDE).

    q_m = N(mu_m, s_m^2), linear in m's tokens; the experts' errors have correlation r
    var = 1 / sum_m w_m,  mean = var sum_m w_m mu_m,   w_m = (1/s_m - r / (1 + (n-1) r) sum_k 1/s_k) / ((1-r) s_m)
    L = sum_S pi_S [ -sum_m log p(x_m | z_S) + beta KL(q_S || N(0, 1)) ] - lambda H(pi),   z_S ~ q_S

in every dimension, w being the row sums of the inverse of the experts' covariance r s_m s_k.  With r = 0 it is the
product of experts without a prior expert; n equal experts give the variance s^2 (1 + (n-1) r) / n, so agreement that is
no news makes nobody surer.  S runs over the subsets of what a sample has, pi = softmax over them of learned numbers.
With r = 0 and equal shares it is the MoPoE of Sutter et al., arXiv:2105.02470, up to its prior expert.  An expert that
is much less sure than the others would get a negative weight: there r is lowered until it has none.  Fused is a draw in
training, else the mean.  Decoders are heads of modalities that read the fused vector, latent_decoder or piece_decoder;
without any only the divergences are left.
Source: Mancisidor et al., "Aggregation of Dependent Expert Distributions in Multimodal Variational Autoencoders",
arXiv:2505.01134, after Winkler, "Combining Probability Distributions from Dependent Information Sources", 1981.
Relative: adapters/mixture_prior, a latent for each modality.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from plait.core.component import NonNegative
from plait.core.errors import RecipeError
from plait.core.gaussian import Gaussian
from plait.core.named import Named, NamedParameters
from plait.core.outputs import Outputs
from plait.core.packed import Fused, Packed, Tokens, stack, together
from plait.core.part import Fusion, Place, Spec, Terms
from plait.core.random import seeded, spawn
from plait.core.schedule import annealed

from ._pooled import nobody, pooled

MOST = 6
"""Modalities: of M there are 2^M - 1 subsets, each with a pass through the decoders."""


def consensus(mean: Tensor, deviation: Tensor, there: Tensor, correlation: float) -> tuple[Tensor, Tensor]:
    """Mean and variance of what experts agree on, [N, D].  mean, deviation: [N, M, D]; there: [N, M], any in a row."""
    here = there.unsqueeze(2)
    sure = (1 / deviation).masked_fill(~here, 0)
    total, count = sure.sum(1, keepdim=True), there.sum(1)[:, None, None]
    least = sure.masked_fill(~here, torch.inf).amin(1, keepdim=True)
    # Of one expert, or of equal ones, any correlation below 1 leaves every weight positive.
    spare = total - (count - 1) * least
    r = (least / spare.clamp_min(1e-12)).clamp_max(correlation)
    weights = ((sure - r / (1 + (count - 1) * r) * total) * sure / (1 - r)).clamp_min(0)
    variance = 1 / weights.sum(1)
    return variance * (weights * mean.masked_fill(~here, 0)).sum(1), variance


def subsets(names: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """All that are not empty, smallest first."""
    for count in range(1, len(names) + 1):
        yield from combinations(names, count)


class ConsensusPosterior(Fusion):
    """correlation: r.  beta: factor of the divergences.  learn: whether shares of subsets are learned, or equal.

    entropy: lambda, in nats; beside how much the bounds of the subsets differ, it decides how unequal shares become.
    anneal: optimiser steps over which the factor goes from `first` to beta.
    Refuses more than six modalities.  Term: bound.
    """

    steps: Tensor

    idle = {"shares.*": "a subset that no sample has learns nothing, and of a single subset there is nothing to share"}

    def __init__(
        self,
        correlation: Annotated[float, Field(ge=0, lt=1)] = 0.4,
        beta: NonNegative = 1.0,
        learn: bool = True,
        entropy: NonNegative = 10.0,
        anneal: Annotated[int, Field(ge=0)] = 0,
        first: NonNegative = 0.0,
    ) -> None:
        super().__init__()
        self.correlation, self.beta, self.learn, self.entropy = correlation, beta, learn, entropy
        self.anneal, self.first = anneal, first
        if anneal:
            self.register_buffer("steps", torch.zeros((), dtype=torch.long))
        self.maps = Named()
        self.shares = NamedParameters()

    def build(self, spec: Spec, place: Place) -> None:
        self.names, self.width = spec.names, spec.width
        if len(self.names) > MOST:
            raise RecipeError(
                f"{place}: {len(self.names)} modalities have 2^{len(self.names)} - 1 subsets. It takes at most {MOST}."
            )
        base = spawn()
        for name in spec.names:
            if name not in self.maps:
                with seeded(base, name):
                    self.maps[name] = nn.Linear(spec.width, 2 * spec.width)
        for subset in subsets(self.names) if self.learn else ():
            if _key(subset) not in self.shares:
                self.shares[_key(subset)] = nn.Parameter(torch.zeros(()))

    def forward(self, tokens: dict[str, Tokens], size: int, g: torch.Generator) -> Fused:
        """tokens: values [P, T, D] each.  -> values [P, D], with notes mean and log_var."""
        cells = {name: part for name, part in pooled(tokens).items() if len(part)}
        if not cells:
            device = next(iter(self.maps.parameters())).device
            empty = nobody(self.width, device)
            return Fused(empty.values, empty.rows, notes={"mean": empty.values, "log_var": empty.values})
        experts = {name: Gaussian.of(self.maps[name](part.values)) for name, part in cells.items()}
        parts = {n: Packed(torch.stack([q.mean, (q.log_var / 2).exp()], 1), cells[n].rows) for n, q in experts.items()}
        values, there = stack(parts, size, fill=1.0)
        rows = there.any(1).nonzero().squeeze(1)
        mean, variance = consensus(values[rows, :, 0], values[rows, :, 1], there[rows], self.correlation)
        q = Gaussian(mean, variance.log())
        return Fused(q.draw() if self.training else mean, rows, notes={"mean": mean, "log_var": q.log_var})

    def weight(self) -> float:
        """Beta now."""
        return annealed(self.first, self.beta, int(self.steps), self.anneal) if self.anneal else self.beta

    def keep(self, out: Outputs) -> None:
        if self.anneal:
            self.steps += 1

    def terms(self, out: Outputs, g: torch.Generator) -> Terms:
        """Of every sample that has anything."""
        has = torch.stack([self._has(out, name) for name in self.names], 1)
        rows = has.any(1).nonzero().squeeze(1)
        device = has.device
        wholes, bounds, logits = [], [], []
        for subset in subsets(self.names):
            whole = has[:, [self.names.index(name) for name in subset]].all(1)
            asked = bool(whole.any())
            wholes.append(whole)
            bounds.append(self._bound(out.only(*subset), out) if asked else torch.zeros(out.size, device=device))
            logits.append(self.shares[_key(subset)] if self.learn else torch.zeros((), device=device))
        among = torch.stack(wholes, 1)[rows]
        share = torch.stack(logits).expand(len(rows), -1).masked_fill(~among, -torch.inf).softmax(1)
        each = torch.stack(bounds, 1)[rows].masked_fill(~among, 0)
        disorder = -(share * share.clamp_min(1e-12).log()).sum(1)
        return {"bound": Packed((share * each).sum(1) - (self.entropy if self.learn else 0.0) * disorder, rows)}

    def _has(self, out: Outputs, name: str) -> Tensor:
        """[size]: who has visible tokens of a modality."""
        device = next(iter(self.maps.parameters())).device
        found = torch.zeros(out.size, dtype=torch.bool, device=device)
        if name not in out.seen:
            return found
        part = out.seen[name]
        return found.index_fill(0, part.rows[part.visible.any(1)], True)

    def _bound(self, alone: Outputs, out: Outputs) -> Tensor:
        """-ELBO from what is there of a subset, [size]; every piece that the pass sees is to be decoded from it."""
        fused = alone.fused
        q = Gaussian(fused.notes["mean"], fused.notes["log_var"])
        bound = fused.values.new_zeros(alone.size).index_copy(0, fused.rows, self.weight() * q.divergence())
        decoded = alone.decoded
        for name in self.names:
            if name in decoded and name in out.seen:
                (guess, pieces), rows = together(decoded[name], out.pieces[name].on(out.seen[name].rows))
                loss = out.heads[name].loss(guess.values, pieces.values).masked_fill(~pieces.visible, 0)
                bound = bound.index_add(0, rows, loss.sum(1))
        return bound


def _key(subset: tuple[str, ...]) -> str:
    # Quoted, since a column may be called "a, b".
    return str(sorted(subset))

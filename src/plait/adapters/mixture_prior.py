"""Each modality keeps a latent of its own, and the posteriors of a sample are drawn to their mixture: the MMVM VAE.

    q_m = N(mean_m, var_m), linear in m's tokens;   z_m ~ q_m is m's only token from here on (its mean, not training)
    L = sum_{m present} [ -log p(x_m | z_m)
                          + beta (alpha KL(q_m || N(0, 1)) + (1 - alpha) / n sum_{k present} KL(q_m || q_k)) ]

The sum of divergences to each of the n posteriors, over n, is at least the divergence to their mixture, by convexity.
Nothing is shared but this pull: a modality's decoder reads its own latent.  With alpha 1 the modalities are independent
variational autoencoders; a sample of one modality is pulled nowhere by the mixture.  A decoder is a head of a modality
that reads its own token, heads: {image: {latent_decoder: {reads: own}}}; without any only the pull is left.
Sources: Sutter et al., "Unity by Diversity: Improved Representation Learning in Multimodal VAEs", arXiv:2403.05300;
Agostini et al., "Weakly-Supervised Multimodal Learning on MIMIC-CXR", arXiv:2411.10356.
Relatives: missing/borrowed_latent, by which one modality generates another; fusion/consensus_posterior, one for all.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor, nn

from plait.core.component import NonNegative, Rate
from plait.core.gaussian import Gaussian
from plait.core.named import Named
from plait.core.outputs import Outputs
from plait.core.packed import Packed, Tokens, together, tokens_of
from plait.core.part import Adapter, Place, Spec, Terms
from plait.core.random import seeded, spawn
from plait.core.schedule import annealed


def pull(posteriors: Sequence[tuple[Gaussian, Tensor]], size: int, alpha: float) -> Tensor:
    """The regulariser of each sample, nats, [size].  posteriors: [P, D] of each modality, and the samples' rows [P]."""
    parts = [(Packed(q.mean, rows, notes={"log_var": q.log_var}), q.divergence()) for q, rows in posteriors]
    first = parts[0][1]
    count, standard, mutual = (first.new_zeros(size) for _ in range(3))
    for part, to_standard in parts:
        count = count.index_add(0, part.rows, torch.ones_like(to_standard))
        standard = standard.index_add(0, part.rows, to_standard)
    for (own, _), (other, _) in product(parts, repeat=2):
        if own is other:
            continue
        (q, p), rows = together(own, other)
        divergence = Gaussian(q.values, q.notes["log_var"]).divergence(Gaussian(p.values, p.notes["log_var"]))
        mutual = mutual.index_add(0, rows, divergence)
    return alpha * standard + (1 - alpha) * mutual / count.clamp_min(1)


class MixturePrior(Adapter):
    """beta: factor of the pull.  alpha: share of the standard normal in it.

    anneal: optimiser steps over which alpha falls from 1 to its value.
    Terms: prior, and recon/MODALITY for each that has a decoder.
    """

    steps: Tensor

    def __init__(self, beta: NonNegative = 1.0, alpha: Rate = 0.0, anneal: int = 0) -> None:
        super().__init__()
        self.beta, self.alpha, self.anneal = beta, alpha, anneal
        self.maps = Named()
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def build(self, spec: Spec, place: Place) -> None:
        self.names = spec.names
        base = spawn()
        for name in spec.names:
            if name not in self.maps:
                with seeded(base, name):
                    self.maps[name] = nn.Linear(spec.width, 2 * spec.width)

    def forward(self, tokens: Tokens, site: str, present: Tensor) -> Tokens:
        """After an encoder: values [P, T, D] -> [P, 1, D], with notes mean and log_var [P, D]."""
        slot, _, name = site.partition(".")
        if slot != "encoders":
            return tokens
        pooled = tokens.pooled()
        q = Gaussian.of(self.maps[name](pooled.values))
        values = q.draw() if self.training else q.mean
        seen = tokens.visible.any(1, keepdim=True)
        notes = {**tokens.notes, "mean": q.mean, "log_var": q.log_var}
        return tokens_of(values.unsqueeze(1), tokens.rows, seen, notes=notes, blend=tokens.blend)

    def weight(self) -> float:
        """Alpha now."""
        return annealed(1.0, self.alpha, int(self.steps), self.anneal)

    def keep(self, out: Outputs) -> None:
        self.steps += 1

    def terms(self, out: Outputs, g: torch.Generator) -> Terms:
        """Of every sample that has anything."""
        seen = {name: part.take(part.visible.any(1)) for name, part in out.seen.items()}
        found: Terms = {}
        device = self.steps.device
        some = torch.zeros(out.size, dtype=torch.bool, device=device)
        for part in seen.values():
            some = some.index_fill(0, part.rows, True)
        rows = some.nonzero().squeeze(1)
        for name in self.names:
            if name in out.heads:
                loss = torch.zeros(out.size, device=device)
                if name in seen and name in out.decoded:
                    (decoded, pieces), of = together(out.decoded[name], out.pieces[name].on(seen[name].rows))
                    each = out.heads[name].loss(decoded.values, pieces.values)
                    loss = loss.index_add(0, of, each.masked_fill(~pieces.visible, 0).sum(1))
                found[f"recon/{name}"] = Packed(loss[rows], rows)
        posteriors = [(Gaussian(part.notes["mean"], part.notes["log_var"]), part.rows) for part in seen.values()]
        prior = pull(posteriors, out.size, self.weight()) if posteriors else torch.zeros(out.size, device=device)
        found["prior"] = Packed(self.beta * prior[rows], rows)
        return found

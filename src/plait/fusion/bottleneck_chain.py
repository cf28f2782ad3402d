"""A chain of information bottlenecks: one prime modality is squeezed, the others say what is worth keeping.

    b_0 ~ q_0(b | x_prime),   b_k ~ q_k(b | b_{k-1}),   q_k = N(mean, diag exp(log_var)) of a perceptron
    fused = W b_last
    own loss = weight * sum_k decay^k [ KL(q_k || N(0, 1)) + beta_k sum_{detectors d of stage k} |f_d(b_k) - x_d|^2 ]

x is the mean over tokens; KL and squares are means over dimensions.  The other modalities are detectors: in order, one
a stage, all that are left at the last.  They are only targets of training, without gradient, so a prediction reads the
prime modality alone, and a sample without it gets none.  With beta 0 and no other loss the posteriors become N(0, 1);
one stage without a detector is the variational information bottleneck, arXiv:1612.00410.  Latents are drawn in training
and are their means otherwise.  Each stage's latent has half as many numbers as the one before.
Source: Xiao et al., "Neuro-Inspired Information-Theoretic Hierarchical Perception", arXiv:2404.09403.
Relatives: the fusions that read all modalities, such as concatenation.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from plait.core.component import Count, NonNegative
from plait.core.named import Named
from plait.core.outputs import Outputs
from plait.core.packed import Fused, Packed, Tokens, together
from plait.core.part import Fusion, Place, Spec, Terms
from plait.core.random import seeded, spawn

from ._pooled import nobody, pooled


def rate(mean: Tensor, log_var: Tensor) -> Tensor:
    """KL(N(mean, diag exp(log_var)) || N(0, 1)) of each sample, per dimension.  [P, L] both.  -> [P], nats."""
    return (mean.square() + log_var.exp() - 1 - log_var).mean(1) / 2


def drawn(mean: Tensor, log_var: Tensor, g: torch.Generator) -> Tensor:
    """A sample of N(mean, diag exp(log_var)), through which gradients flow."""
    noise = torch.randn(mean.shape, generator=g).to(mean)
    return mean + (log_var / 2).exp() * noise


def _perceptron(into: int, inner: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(into, inner), nn.ReLU(), nn.Linear(inner, out))


class BottleneckChain(Fusion):
    """prime: the modality that is squeezed, by default the first.  betas: what a detector counts, stage by stage.

    latent: numbers of the first stage's latent.  decay: of the loss from stage to stage.  weight: of the whole loss.
    """

    def __init__(
        self,
        prime: str | None = None,
        betas: tuple[NonNegative, ...] = (8.0, 32.0),
        latent: Count = 32,
        decay: NonNegative = 0.3,
        weight: NonNegative = 0.05,
    ) -> None:
        super().__init__()
        if not betas:
            raise ValueError("betas is empty: there is a stage for each, so give at least one")
        self.prime, self.betas, self.latent, self.decay, self.weight = prime, betas, latent, decay, weight
        self.stages = nn.ModuleList()
        self.detectors = Named()
        self.stage_of: dict[str, int] = {}

    def build(self, spec: Spec, place: Place) -> None:
        self.width = spec.width
        self.prime = self.prime or spec.names[0]
        spec.check(f"{place}.prime", self.prime)
        sizes = [max(1, self.latent >> k) for k in range(len(self.betas))]
        base = spawn()
        if not self.stages:
            for into, size in zip([spec.width, *sizes], sizes, strict=False):
                self.stages.append(_perceptron(into, spec.width, 2 * size))
            self.out = nn.Linear(sizes[-1], spec.width)
        for name in spec.names:
            if name != self.prime and name not in self.stage_of:
                self.stage_of[name] = k = min(len(self.stage_of), len(sizes) - 1)
                with seeded(base, name):
                    self.detectors[name] = _perceptron(sizes[k], spec.width, spec.width)

    def forward(self, tokens: dict[str, Tokens], size: int, g: torch.Generator) -> Fused:
        """tokens: values [P, T, D] each.  -> values [P, D] of who has the prime modality; latents as notes."""
        prime = pooled({name: part for name, part in tokens.items() if name == self.prime})
        source = prime.get(str(self.prime)) or nobody(self.width, next(self.parameters()).device)  # same: a device
        values = source.values
        notes: dict[str, Tensor] = {}
        for k, stage in enumerate(self.stages):
            mean, log_var = stage(values).chunk(2, 1)
            values = drawn(mean, log_var, g) if self.training else mean
            notes |= {f"mean/{k}": mean, f"log_var/{k}": log_var, f"latent/{k}": values}
        return Fused(self.out(values), source.rows, notes=notes)

    def terms(self, out: Outputs, g: torch.Generator) -> Terms:
        """rate/STAGE, and detect/NAME of every other modality, on the samples that have it and the prime one."""
        if self.weight == 0:
            return {}
        fused, others = out.fused, pooled(out.seen)
        scale = [self.weight * self.decay**k for k in range(len(self.betas))]
        terms: Terms = {}
        for k, factor in enumerate(scale):
            found = rate(fused.notes[f"mean/{k}"], fused.notes[f"log_var/{k}"])
            terms[f"rate/{k}"] = Packed(factor * found, fused.rows)
        for name, k in self.stage_of.items():
            latent = Packed(fused.notes[f"latent/{k}"], fused.rows)
            truth = others.get(name) or nobody(self.width, fused.values.device)
            (own, theirs), rows = together(latent, truth.detach())
            missed = (self.detectors[name](own.values) - theirs.values).square().mean(1)
            terms[f"detect/{name}"] = Packed(scale[k] * self.betas[k] * missed, rows)
        return terms

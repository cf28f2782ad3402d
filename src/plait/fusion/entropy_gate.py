"""One gate per modality, kept from collapsing: where it leans on one of them, training hides modalities from it.

    w = softmax over present m of  v tanh(U [x_m; mean of present x] + c),   h = sum_m w'_m W_m x_m
    H = -sum_m w_m log w_m / log n,  n present modalities;   loss_H = pull (H - target)^2
    in training w' is w without modalities masked with probability rate (1 - H), summing to 1 again; else w' = w

x_m is the mean over tokens.  An even gate masks nothing, one that has collapsed masks each modality with probability
`rate`; where all would go, the heaviest stays.  With rate and pull 0 it is a plain softmax gate.  A sample with a lone
modality has the weight 1 and no entropy to speak of.
Source: Chlon et al., "Robust Multimodal Learning via Entropy-Gated Contrastive Fusion", arXiv:2505.15417.  Its other
parts are objectives: monotone_confidence, info_nce.  Relative: gated, whose gates are per feature.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from plait.core.component import NonNegative, Rate
from plait.core.named import Named
from plait.core.outputs import Outputs
from plait.core.packed import Fused, Packed, Tokens, mean_over, stack
from plait.core.part import Fusion, Place, Spec, Terms
from plait.core.random import seeded, spawn

from ._pooled import nobody, pooled


def evenness(weights: Tensor, count: Tensor) -> Tensor:
    """Entropy over its largest value, in [0, 1].  weights: [B, M], 0 where absent; count: [B] present.  -> [B].

    1 for a lone modality: it could not be more even.
    """
    safe = torch.where(weights > 0, weights, torch.ones(()))
    entropy = -(weights * safe.log()).sum(1)
    return torch.where(count > 1, entropy / count.clamp_min(2).to(weights).log(), torch.ones(()))


def masked(weights: Tensor, rate: float, even: Tensor, draw: Tensor) -> Tensor:
    """Weights without what is masked, summing to 1.  weights, draw: [B, M], draw uniform; even: [B].  -> [B, M]."""
    kept = weights * (draw >= rate * (1 - even).unsqueeze(1))
    none = kept.sum(1, keepdim=True) == 0
    heaviest = torch.zeros_like(weights).scatter(1, weights.argmax(1, keepdim=True), 1.0)
    kept = torch.where(none, weights * heaviest, kept)  # same: the next line makes it sum to 1
    return kept / kept.sum(1, keepdim=True)


class EntropyGate(Fusion):
    """rate: how often a modality is masked where the gate has collapsed.  target, pull: of the gate's evenness.

    notes["weight"]: [P, M] before masking, 0 for an absent modality.  notes["evenness"], notes["count"] of present
    modalities: [P].  Terms: entropy, of samples with two modalities or more, unless pull is 0.
    """

    def __init__(self, rate: Rate = 0.15, target: Rate = 0.7, pull: NonNegative = 0.1) -> None:
        super().__init__()
        self.rate, self.target, self.pull = rate, target, pull
        self.maps = Named()

    def build(self, spec: Spec, place: Place) -> None:
        self.width, self.names = spec.width, spec.names
        base = spawn()
        for name in spec.names:
            if name not in self.maps:
                with seeded(base, name):
                    self.maps[name] = nn.Linear(spec.width, spec.width)
        if not hasattr(self, "gate"):
            with seeded(base, "\0gate"):
                self.gate = nn.Sequential(
                    nn.Linear(2 * spec.width, spec.width), nn.Tanh(), nn.Linear(spec.width, 1, bias=False)
                )

    def forward(self, tokens: dict[str, Tokens], size: int, g: torch.Generator) -> Fused:
        """tokens: values [P, T, D] each.  -> values [P, D]."""
        said = {name: part for name, part in pooled(tokens).items() if len(part)}
        if not said:
            none = nobody(self.width, next(self.parameters()).device)  # same: for its device
            return Fused(none.values, none.rows)
        company = mean_over(said, size)
        scores = {
            name: Packed(self.gate(torch.cat([part.values, company.on(part.rows).values], 1)).squeeze(1), part.rows)
            for name, part in said.items()
        }
        rows = company.rows
        score, present = (part[rows] for part in stack(scores, size))
        weights = score.masked_fill(~present, -math.inf).softmax(1)
        even = evenness(weights, present.sum(1))
        columns = torch.tensor([self.names.index(name) for name in said], device=rows.device)
        used = weights
        if self.training and self.rate:
            # Drawn for all modalities, so that one that nobody has here shifts no draw of another.
            draw = torch.rand(size, len(self.names), generator=g).to(rows.device)[rows][:, columns]
            used = masked(weights, self.rate, even, draw)
        total = company.values.new_zeros(len(rows), self.width)
        for column, (name, part) in enumerate(said.items()):
            at = torch.searchsorted(rows, part.rows)
            total = total.index_add(0, at, used[at, column].unsqueeze(1) * self.maps[name](part.values))
        noted = weights.new_zeros(len(rows), len(self.names)).index_copy(1, columns, weights)
        return Fused(total, rows, notes={"weight": noted, "evenness": even, "count": company.notes["count"]})

    def terms(self, out: Outputs, g: torch.Generator) -> Terms:
        if not self.pull:
            return {}
        fused = out.fused
        if not len(fused):
            return {"entropy": Packed(fused.values.sum(1), fused.rows)}
        some = fused.notes["count"] > 1
        away = (fused.notes["evenness"] - self.target).square()
        return {"entropy": Packed(self.pull * away[some], fused.rows[some])}

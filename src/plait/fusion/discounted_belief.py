"""Decision-level fusion of evidence: what modalities contradict each other about counts less, before it is averaged.

    b = e / S,   u = C / S,   p = (e + 1) / S,   S = sum_c e_c + C            the opinion of each modality
    conflict c_ij = 1/2 |p_i - p_j|_1 (1 - u_i)(1 - u_j)                      sure of different things
    d_i = prod_{j present} (1 - c_ij^power)^(1/power),   b' = d b,   u' = d u + 1 - d
    e = mean over present i of  C b'_i / u'_i

Discounted mass moves to uncertainty, so b' and u' still sum to 1.  Opinions that agree, or know nothing, are left as
they are: then it is the mean of the evidence.  Two certain opposite ones leave next to none.  A larger power forgives
small conflicts.  The order of modalities does not matter, as it does where evidence is averaged pair after pair.
Source: Bezirganyan et al., "Multimodal Learning with Uncertainty Quantification based on Discounted Belief Fusion",
arXiv:2412.18024.  Relatives: late_average (power to infinity), heads/evidential, which gives the evidence.
"""

from __future__ import annotations

import torch
from torch import Tensor

from plait.core.component import NonNegative, Positive
from plait.core.outputs import Outputs
from plait.core.packed import Fused, Packed, Prediction, Tokens, stack
from plait.core.part import Late, Place, Spec, Terms

LEAST = 1e-6
"""Of what is raised to a power: below 1 its slope at 0 is infinite."""


def opinion(evidence: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """evidence: [..., C] of at least 0.  -> belief [..., C], uncertainty [..., 1], expected probabilities [..., C]."""
    count = evidence.shape[-1]
    total = evidence.sum(-1, keepdim=True) + count
    return evidence / total, count / total, (evidence + 1) / total


def conflict(evidence: Tensor) -> Tensor:
    """c of each pair.  evidence: [B, M, C]; of an absent modality 0, which is to know nothing.  -> [B, M, M]."""
    _, unsure, p = opinion(evidence)
    sure = 1 - unsure.squeeze(2)
    apart = (p.unsqueeze(1) - p.unsqueeze(2)).abs().sum(3) / 2
    return apart * sure.unsqueeze(1) * sure.unsqueeze(2)


def discount(conflict: Tensor, power: float) -> Tensor:
    """d of each modality.  conflict: [B, M, M].  -> [B, M] in [0, 1]."""
    agree = (1 - conflict.clamp_min(LEAST) ** power).clamp_min(LEAST) ** (1 / power)
    return torch.where(conflict > LEAST, agree, torch.ones(())).prod(2)


def discounted(evidence: Tensor, d: Tensor) -> Tensor:
    """C b' / u' of each modality, the same bits as the evidence where d is 1.  evidence: [B, M, C], d: [B, M]."""
    _, unsure, _ = opinion(evidence)
    d = d.unsqueeze(2)
    return evidence * d / (d + (1 - d) / unsure)


class DiscountedBelief(Late):
    """power: of the conflicts.  consistency: factor of the loss on a sample's conflicts, sum_{i, j} c_ij / (n - 1).

    notes["uncertainty"]: [P], of the fused evidence.  notes["discount"]: [P, M], 0 for an absent modality.
    Terms: TARGET, unless consistency is 0.
    """

    accepts = ("evidence",)

    def __init__(self, power: Positive = 1.0, consistency: NonNegative = 1.0) -> None:
        super().__init__()
        self.power, self.consistency = power, consistency

    def build(self, spec: Spec, place: Place) -> None:
        self.names = spec.names

    def forward(self, decisions: dict[str, Prediction], tokens: dict[str, Tokens], size: int) -> Fused:
        """decisions: evidence [P, C] each.  -> evidence [P, C]."""
        evidence, present = stack(decisions, size)
        rows = present.any(1).nonzero().squeeze(1)
        evidence, present = evidence[rows], present[rows]
        d = discount(conflict(evidence), self.power)
        left = discounted(evidence, d)
        mean = (left * present.unsqueeze(2)).sum(1) / present.sum(1, keepdim=True)
        columns = torch.tensor([self.names.index(name) for name in decisions], device=rows.device)
        kept = d.new_zeros(len(rows), len(self.names)).index_copy(1, columns, d * present)
        return Fused(mean, rows, notes={"uncertainty": opinion(mean)[1].squeeze(1), "discount": kept})

    def terms(self, out: Outputs, g: torch.Generator) -> Terms:
        terms: Terms = {}
        for target, alone in out.singles.items() if self.consistency else ():
            decisions = {name: alone[name].on(part.rows) for name, part in out.seen.items()}
            fused = out.predictions[target]
            terms[target] = Packed(fused.values[:0].sum(1), fused.rows[:0])
            if decisions:
                evidence, present = stack(decisions, out.size)
                between = conflict(evidence).sum((1, 2)) / (present.sum(1) - 1).clamp_min(1)
                rows = (present.sum(1) > 1).nonzero().squeeze(1)
                terms[target] = Packed(self.consistency * between[rows], rows)
        return terms

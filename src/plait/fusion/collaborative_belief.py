"""Decision-level fusion by how likely each modality, and all the others, are to be right about a sample.

    f = sum_m w_m f_m,   w = softmax over present m of k_m (p_m + h_m)
    h_m = sum_{j != m} log p_j / sum_j log p_j,   p_m = sigmoid(net_m(mean token of m))
    k_m = min(1, u_m / mean_{j != m} u_j) when predicting, 1 in training,   u_m = mean_c |softmax(f_m)_c - 1/C|

p predicts the true class's probability.  h_m grows where the others are unlikely to be right; of two modalities it is
log p_other / log(p_m p_other).  k takes belief from a decision that is flatter than the rest.  The nets learn
|p_m - true-class probability| on detached tokens, and nothing is learned through the weights.  A lone modality has the
weight 1; equal p and u give the mean.
Source: Cao et al., "Predictive Dynamic Fusion", arXiv:2406.04802; with more than two modalities, and absent ones, the
sums run over what is present.  Relatives: late_average, uncertainty_weighted_late.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from plait.core.errors import RecipeError
from plait.core.named import Named
from plait.core.outputs import Outputs
from plait.core.packed import Fused, Packed, Prediction, Tokens, stack, together
from plait.core.part import Late, Place, Spec, Terms
from plait.core.random import seeded, spawn


def belief(log_p: Tensor, present: Tensor) -> Tensor:
    """p_m + h_m.  log_p: [B, M], at most 0.  present: [B, M].  -> [B, M], anything where absent."""
    said = log_p.masked_fill(~present, 0)
    total = said.sum(1, keepdim=True)
    return said.exp() + (total - said) / total.clamp_max(-1e-8)


def calibration(sharpness: Tensor, present: Tensor) -> Tensor:
    """k_m.  sharpness: [B, M] of at least 0.  present: [B, M].  -> [B, M] in [0, 1], 1 for a lone modality."""
    own = sharpness.masked_fill(~present, 0)
    others = (own.sum(1, keepdim=True) - own) / (present.sum(1, keepdim=True) - 1).clamp_min(1)
    return torch.where(own < others, own / others.clamp_min(1e-12), torch.ones(()))


def sharpness(logits: Tensor) -> Tensor:
    """Mean distance of the probabilities from even ones.  logits: [P, C].  -> [P]."""
    return (logits.softmax(1) - 1 / logits.shape[1]).abs().mean(1)


class CollaborativeBelief(Late):
    """notes["weight"], notes["log_confidence"]: [P, M], 0 for an absent modality.  Terms: MODALITY.

    It needs a single target, a class: its nets know what one head is right about.
    """

    def __init__(self) -> None:
        super().__init__()
        self.nets = Named()

    def build(self, spec: Spec, place: Place) -> None:
        kinds = [target.kind for target in spec.targets.values()]
        if kinds != ["class"]:
            raise RecipeError(
                f"{place or 'fusion'}: CollaborativeBelief needs one target, a class, and found {kinds}. "
                "Leave the others out, or take another decision-level fusion."
            )
        (self.target,), self.names = spec.targets, spec.names
        base = spawn()
        for name in spec.names:
            if name not in self.nets:
                with seeded(base, name):
                    self.nets[name] = nn.Sequential(
                        nn.Linear(spec.width, spec.width), nn.GELU(), nn.Linear(spec.width, 1)
                    )

    def forward(self, decisions: dict[str, Prediction], tokens: dict[str, Tokens], size: int) -> Fused:
        """decisions: logits [P, C] each.  -> values [P, C]."""
        said, present = stack(decisions, size)
        right = {name: self._right(name, tokens[name]).on(part.rows) for name, part in decisions.items()}
        log_p, _ = stack(right, size)
        trust = belief(log_p.detach(), present)
        if not self.training:
            flat = {name: Packed(sharpness(part.values), part.rows) for name, part in decisions.items()}
            trust = trust * calibration(stack(flat, size)[0].detach(), present)
        rows = present.any(1).nonzero().squeeze(1)
        weights = trust.masked_fill(~present, -torch.inf)[rows].softmax(1)
        notes = {"weight": self._noted(weights, decisions), "log_confidence": self._noted(log_p[rows], decisions)}
        return Fused((weights.unsqueeze(2) * said[rows]).sum(1), rows, notes=notes)

    def terms(self, out: Outputs, g: torch.Generator) -> Terms:
        terms: Terms = {}
        singles, fused, head = out.singles[self.target], out.fused, out.heads[self.target]
        for column, name in enumerate(self.names):
            terms[name] = Packed(fused.values[:0].sum(1), fused.rows[:0])
            if name not in out.seen or self.target not in out.targets:
                continue
            (decision, truth, all_said), rows = together(
                singles[name].on(out.seen[name].rows), out.targets[self.target], fused
            )
            right = head.score(decision.values, truth.values).detach()  # same: detached once is enough
            terms[name] = Packed((all_said.notes["log_confidence"][:, column].exp() - right).abs(), rows)
        return terms

    def _right(self, name: str, tokens: Tokens) -> Packed:
        """Log of the predicted true-class probability, [P]."""
        pooled = tokens.real().pooled()
        return Packed(F.logsigmoid(self.nets[name](pooled.values.detach()).squeeze(1)), pooled.rows)

    def _noted(self, values: Tensor, decisions: dict[str, Prediction]) -> Tensor:
        """[P, those who decide] -> [P, M]."""
        columns = torch.tensor([self.names.index(name) for name in decisions], device=values.device)
        return values.new_zeros(len(values), len(self.names)).index_copy(1, columns, values)

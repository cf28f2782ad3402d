"""InfoNCE in which negatives count for more the closer they come to the anchor.

    L_i = 1/2 sum over both directions of  -log  e^{s_ii} / (e^{s_ii} + G_i)
    G_i = max{ [ sum_{j != i} w_ij e^{s_ij} - p n e^{s_ii} ] / (1 - p),  n e^{-s} }
    w_ij = n e^{beta s_ij} / sum_{k != i} e^{beta s_ik},   s_ij = s <a_i, b_j>,   s = 1 / temperature

n: number of negatives.  p: how probable it is that a negative is of the anchor's class, which is taken off again.
beta = 0 and p = 0 give info_nce.  As beta grows the nearest negative takes all of the gradient, which hurts where that
is of the same class.  The weights are held constant, as those of importance sampling are; differentiated, they would
draw the easy negatives towards the anchor.
Sources: Choi et al., arXiv:2309.01262, across modalities; Robinson et al., "Contrastive Learning with Hard Negative
Samples", arXiv:2010.04592; the correction by p: Chuang et al., arXiv:2007.00224.  Relative: info_nce.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from plait.core.component import NonNegative
from plait.core.outputs import State
from plait.core.packed import Packed
from plait.core.part import Place, Spec, Terms

from ._pairs import Duplicates, Pairs, each, pairs_of
from ._temperature import Temperature, Tempered


def hard_negative_info_nce(
    a: Tensor, b: Tensor, scale: Tensor, beta: float, prior: float = 0.0, ignore: Tensor | None = None
) -> Tensor:
    """Loss of each sample.  a, b: [N, E], unit length.  beta: of the concentration.  prior: p, below 1.

    ignore: [N, N] symmetric, False on the diagonal: no negatives.  -> [N], nats.
    """
    logits = scale * (a @ b.T)
    negative = ~torch.eye(len(a), dtype=torch.bool, device=a.device)
    if ignore is not None:
        negative &= ~ignore
    forth = one_way(logits, negative, scale, beta, prior)
    return (forth + one_way(logits.T, negative.T, scale, beta, prior)) / 2


def weights(logits: Tensor, negative: Tensor, beta: float) -> Tensor:
    """w_ij, [N, N]: 0 where `negative` is False, and 1 on average where it is True."""
    share = (beta * logits).masked_fill(~negative, -torch.inf).softmax(1)
    return share.masked_fill(~negative, 0) * negative.sum(1, keepdim=True)


def one_way(logits: Tensor, negative: Tensor, scale: Tensor, beta: float, prior: float) -> Tensor:
    """Loss of each row of logits [N, N] against its diagonal.  negative: [N, N].  -> [N], nats."""
    truth, count = logits.diagonal(), negative.sum(1)
    # All exponentials are shifted by their row's largest logit.
    most = logits.detach().amax(1) if len(logits) else truth.detach()
    weighed = weights(logits.detach(), negative, beta) * (logits - most.unsqueeze(1)).exp()
    positive = (truth - most).exp()
    total = (weighed.sum(1) - prior * count * positive) / (1 - prior)
    total = torch.maximum(total, count * (-scale - most).exp())
    return (positive + total).log() + most - truth


class HardNegativeInfoNCE(Tempered):
    """beta: how much more close negatives count; 0: all alike.  prior: probability of a negative of the same class.

    pairs, hub, temperature and duplicates: as in info_nce.  Terms: A~B, each divided by the number of pairs.
    """

    def __init__(
        self,
        beta: NonNegative = 0.5,
        prior: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        pairs: Pairs = "all",
        hub: str | None = None,
        temperature: Temperature = "learned",
        duplicates: Duplicates = "ignore",
    ) -> None:
        super().__init__(temperature)
        self.beta, self.prior = beta, prior
        self.asked, self.hub, self.duplicates = pairs, hub, duplicates

    def build(self, spec: Spec, place: Place) -> None:
        self.pairs = pairs_of(spec, place, self.asked, self.hub)

    def forward(self, state: State) -> Terms:
        scale = self.scale(state.clock)
        return {
            pair.name: Packed(
                hard_negative_info_nce(pair.a, pair.b, scale, self.beta, self.prior, pair.same) / len(self.pairs),
                pair.rows,
            )
            for pair in each(state.of(), self.pairs, self.duplicates)
        }

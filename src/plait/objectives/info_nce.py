"""InfoNCE: a sample's two modalities recognise each other among the rest of the batch.

    L_ab = 1/2 mean_i [ -log softmax_j(s <a_i, b_j>)_i  -  log softmax_j(s <b_i, a_j>)_i ],   s = 1 / temperature

Every pair runs on the samples that have both.  Sources: van den Oord et al., arXiv:1807.03748; symmetric and with a
learned temperature, at most 100, as CLIP: Radford et al., arXiv:2103.00020.  The loss over the pairs of more than two
modalities is their mean; a hub is ImageBind's choice, Girdhar et al., arXiv:2305.05665.  Relative: siglip.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from plait.core.outputs import State
from plait.core.packed import Packed
from plait.core.part import Place, Spec, Terms

from ._pairs import Duplicates, Pairs, each, pairs_of
from ._temperature import Temperature, Tempered


def info_nce(a: Tensor, b: Tensor, scale: Tensor, ignore: Tensor | None = None) -> Tensor:
    """Loss of each sample.  a, b: [N, E], unit length.  ignore: [N, N] symmetric, False on the diagonal: no negatives.

    -> [N], nats.
    """
    logits = scale * (a @ b.T)
    if ignore is not None:
        logits = logits.masked_fill(ignore, -torch.inf)
    truth = torch.arange(len(a), device=a.device)
    forth = F.cross_entropy(logits, truth, reduction="none")
    back = F.cross_entropy(logits.T, truth, reduction="none")
    return (forth + back) / 2


class InfoNCE(Tempered):
    """pairs: all, or a list of pairs of modalities; hub: one modality against each other one.

    temperature: learned, from 0.07 on, a fixed one, or [first, last] of the training.  duplicates: ignore takes samples
    whose cells are equal out of each other's negatives.  Terms: A~B, each divided by the number of pairs.
    """

    def __init__(
        self,
        pairs: Pairs = "all",
        hub: str | None = None,
        temperature: Temperature = "learned",
        duplicates: Duplicates = "ignore",
    ) -> None:
        super().__init__(temperature)
        self.asked, self.hub, self.duplicates = pairs, hub, duplicates

    def build(self, spec: Spec, place: Place) -> None:
        self.pairs = pairs_of(spec, place, self.asked, self.hub)

    def forward(self, state: State) -> Terms:
        out, scale = state.of(), self.scale(state.clock)
        return {
            pair.name: Packed(info_nce(pair.a, pair.b, scale, pair.same) / len(self.pairs), pair.rows)
            for pair in each(out, self.pairs, self.duplicates)
        }

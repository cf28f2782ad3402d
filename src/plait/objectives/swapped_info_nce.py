"""InfoNCE on embeddings whose entries, in some of the steps, are exchanged between the two modalities of a sample.

    a'_e = k_e a_e + (1 - k_e) b_e,   b'_e = k_e b_e + (1 - k_e) a_e,   each of unit length again
    soft: k_e ~ U(0, 1);   hard: k_e is 0 or 1, with equal chances;   drawn anew for each sample and entry e

A modality gap lives on each cloud being moved as one: mixed up, the clouds lose the offset between them, and with all
k = 0 the loss is what it was.  A step in `share` of them does it, on all its samples; with share 0, and outside
training, it is info_nce, to the bit.
Source: Yaras et al., "Explaining and Mitigating the Modality Gap in Contrastive Multimodal Learning",
arXiv:2412.07909.   Relatives: info_nce, of which `temperature: [first, last]` is the paper's other remedy;
measures/space/modality_gap.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from plait.core.component import Rate
from plait.core.outputs import State
from plait.core.packed import Packed
from plait.core.part import Terms

from ._pairs import Duplicates, Pairs, each
from ._temperature import Temperature
from .info_nce import InfoNCE, info_nce


def exchanged(a: Tensor, b: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
    """Both with a share of the other in each entry.  a, b, kept: [N, E], kept from 0 to 1.  -> unit vectors [N, E]."""
    return F.normalize(kept * a + (1 - kept) * b, dim=1), F.normalize(kept * b + (1 - kept) * a, dim=1)


class SwappedInfoNCE(InfoNCE):
    """share: of the steps that exchange entries.  soft: whether they are mixed or change places.

    pairs, hub, temperature and duplicates: as in info_nce.  Terms: A~B, each divided by the number of pairs.
    """

    def __init__(
        self,
        share: Rate = 0.05,
        soft: bool = True,
        pairs: Pairs = "all",
        hub: str | None = None,
        temperature: Temperature = "learned",
        duplicates: Duplicates = "ignore",
    ) -> None:
        super().__init__(pairs, hub, temperature, duplicates)
        self.share, self.soft = share, soft

    def forward(self, state: State) -> Terms:
        out, scale = state.of(), self.scale(state.clock)
        swaps = self.training and bool(torch.rand(()) < self.share)
        terms: Terms = {}
        for pair in each(out, self.pairs, self.duplicates):
            a, b = pair.a, pair.b
            if swaps:
                drawn = torch.rand(a.shape).to(a)
                a, b = exchanged(a, b, drawn if self.soft else drawn.round())
            terms[pair.name] = Packed(info_nce(a, b, scale, pair.same) / len(self.pairs), pair.rows)
        return terms

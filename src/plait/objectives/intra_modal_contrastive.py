"""A cell is found again among all of its modality after it was changed, beside the contrast across modalities.

    L = cross * CLIP  +  within * 1/M sum_m mean_i [ -log softmax_j(s <z_m,i, z'_m,j>)_i ],   z' of the changed cells

Both share the scale s; the second looks from the cell to its changed self alone.  A backdoor joins a trigger in one
modality to a target in another; where each modality has to find its own cells the trigger stands for nothing, so a few
epochs of this on clean pairs loosen it, while `cross` keeps what pairs mean.  With within 0 it is info_nce, to the bit,
and nothing is run twice; with cross 0 modalities never meet.  What changes the cells is a view, which should touch what
a trigger may look like: views: {augmented: [...]}.
Source: Bansal et al., "CleanCLIP: Mitigating Data Poisoning Attacks in Multimodal Contrastive Learning",
arXiv:2303.03323.  Relatives: info_nce, fused_view_contrastive.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from plait.core.component import NonNegative
from plait.core.outputs import Pass, State
from plait.core.packed import Packed, together
from plait.core.part import Place, Spec, Terms

from ._pairs import Duplicates, Pairs, content, each, pairs_of
from ._temperature import Temperature, Tempered
from .info_nce import info_nce


def found_again(own: Tensor, changed: Tensor, scale: Tensor, ignore: Tensor | None = None) -> Tensor:
    """Loss of each cell.  own, changed: [N, E], unit length.  ignore: [N, N], False on the diagonal.  -> [N], nats."""
    logits = scale * (own @ changed.T)
    if ignore is not None:
        logits = logits.masked_fill(ignore, -torch.inf)
    return F.cross_entropy(logits, torch.arange(len(own), device=own.device), reduction="none")


class IntraModalContrastive(Tempered):
    """cross, within: factors of the contrast across modalities and of that within each.  view: what changes the cells.

    pairs, hub, temperature and duplicates: as in info_nce.  Terms: A~B, each divided by the number of pairs, and A,
    each divided by the number of modalities.
    """

    def __init__(
        self,
        cross: NonNegative = 1.0,
        within: NonNegative = 1.0,
        view: str = "augmented",
        pairs: Pairs = "all",
        hub: str | None = None,
        temperature: Temperature = "learned",
        duplicates: Duplicates = "ignore",
    ) -> None:
        super().__init__(temperature)
        self.cross, self.within, self.view = cross, within, view
        self.asked, self.hub, self.duplicates = pairs, hub, duplicates

    def build(self, spec: Spec, place: Place) -> None:
        self.names = spec.names
        self.pairs = pairs_of(spec, place, self.asked, self.hub)

    def passes(self, spec: Spec) -> dict[str, Pass]:
        return {"main": Pass()} | ({"changed": Pass(view=self.view)} if self.within else {})

    def forward(self, state: State) -> Terms:
        out, scale = state.of(), self.scale(state.clock)
        terms: Terms = {}
        for pair in each(out, self.pairs, self.duplicates) if self.cross else ():
            loss = info_nce(pair.a, pair.b, scale, pair.same)
            terms[pair.name] = Packed(self.cross * loss / len(self.pairs), pair.rows)
        for name in self.names if self.within else ():
            own, changed = (state.of(one).embedding(name).unit() for one in ("main", "changed"))
            (own, changed), rows = together(own, changed)
            same = None
            if len(rows) and self.duplicates == "ignore":
                code = Packed(content(out.pieces[name]), out.pieces[name].rows).on(rows).values
                same = (code.unsqueeze(1) == code).fill_diagonal_(False)
            loss = found_again(own.values, changed.values, scale, same)
            terms[name] = Packed(self.within * loss / len(self.names), rows)
        return terms

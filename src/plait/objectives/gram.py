"""GRAM: the embeddings of one sample span a small volume.

    V(z_1 ... z_K) = sqrt det G,   G_kh = <z_k, z_h>,   z_k unit vectors
    L_i = 1/2 [ -log softmax_j(-s V(z_m^i, rest^j))_i  -  log softmax_j(-s V(z_m^j, rest^i))_i ],   s = 1 / temperature

Negatives exchange the anchor modality m against the intact tuples of the rest; the loss is the mean over anchors.  V is
0 for linearly dependent vectors, 1 for orthonormal ones, and for K = 2 the sine of the angle.  It is blind to signs:
a vector and its opposite are as close as can be, so it does not replace the cosine with two modalities.  A sample
without some modality is compared by the volume of those that it has, with samples that have them too.
Source: Cicchetti et al., "Gramian Multimodal Representation Learning and Alignment", arXiv:2412.11959, without its
matching loss.  Relatives: info_nce, symile.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from plait.core.errors import RecipeError, nearest
from plait.core.outputs import State
from plait.core.part import Place, Spec, Terms

from ._pairs import Duplicates
from ._temperature import Temperature, Tempered
from ._tuples import Group, chosen, false_negatives, gathered, groups

FLOOR = 1e-6
"""Of a squared volume: rounding of the determinant; below it there is no gradient, which at 0 is infinite."""


def volume(vectors: Tensor) -> Tensor:
    """Of the parallelotope that K vectors span.  vectors: [..., K, E].  -> [...], at least sqrt(FLOOR)."""
    return _root_det(vectors @ vectors.mT)


def volumes(anchor: Tensor, others: Sequence[Tensor]) -> Tensor:
    """Of each sample's anchor with each sample's others.  anchor: [N, E], others: (K - 1) x [L, E].  -> [N, L]."""
    rest = torch.stack(list(others), 1)
    cross = torch.einsum("ne,lke->nlk", anchor, rest).unsqueeze(-1)
    own = anchor.square().sum(1)[:, None, None, None].expand(-1, len(rest), 1, 1)
    inner = (rest @ rest.mT).expand(len(anchor), -1, -1, -1)
    return _root_det(torch.cat([torch.cat([own, cross.mT], -1), torch.cat([cross, inner], -1)], -2))


def _root_det(gram: Tensor) -> Tensor:
    return torch.linalg.det(gram).clamp_min(FLOOR).sqrt()


def gram(embeddings: Sequence[Tensor], anchor: int, scale: Tensor, ignore: Tensor | None = None) -> Tensor:
    """Loss of each sample.  embeddings: K x [N, E], unit length.  anchor: which of them is exchanged.

    ignore: [N, N], False on the diagonal; True where anchor i and tuple j are no wrong company.  -> [N], nats.
    """
    logits = -scale * volumes(embeddings[anchor], [z for k, z in enumerate(embeddings) if k != anchor])
    if ignore is not None:
        logits = logits.masked_fill(ignore, -torch.inf)
    truth = torch.arange(len(logits), device=logits.device)
    forth = F.cross_entropy(logits, truth, reduction="none")
    return (forth + F.cross_entropy(logits.T, truth, reduction="none")) / 2


class Gram(Tempered):
    """modalities: which; null: all.  anchor: the modality that negatives exchange; null: each in turn.

    temperature: as in info_nce.  duplicates: ignore takes tuples that are equal to a true one, cell by cell, out of the
    negatives.  Terms: all.  A sample without the anchor takes each that it has in turn.
    """

    def __init__(
        self,
        modalities: list[str] | None = None,
        anchor: str | None = None,
        temperature: Temperature = "learned",
        duplicates: Duplicates = "ignore",
    ) -> None:
        super().__init__(temperature)
        self.asked, self.anchor, self.duplicates = modalities, anchor, duplicates

    def build(self, spec: Spec, place: Place) -> None:
        self.names = chosen(spec, place, self.asked)
        if self.anchor is not None and self.anchor not in self.names:
            raise RecipeError(f"{place}: there is no modality {self.anchor!r}.{nearest(self.anchor, self.names)}")

    def forward(self, state: State) -> Terms:
        scale = self.scale(state.clock)
        found = [(self._loss(group, scale), group) for group in groups(state.of(), self.names, self.duplicates)]
        return {"all": gathered(found, scale)}

    def _loss(self, group: Group, scale: Tensor) -> Tensor:
        anchors = [group.names.index(self.anchor)] if self.anchor in group.names else range(len(group.names))
        # Cosines of half precision would leave hardly a digit of a small volume.
        with torch.autocast(scale.device.type, enabled=False):
            units = [z.float() for z in group.units]
            return torch.stack([gram(units, m, scale, self._false(group, m)) for m in anchors]).mean(0)

    def _false(self, group: Group, anchor: int) -> Tensor | None:
        if group.codes is None:
            return None
        others = torch.stack([code for k, code in enumerate(group.codes) if k != anchor]).sum(0)
        return false_negatives(group.codes, anchor, others).fill_diagonal_(False)

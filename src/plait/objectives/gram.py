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

import torch
from torch import Tensor

from plait.core.errors import RecipeError, nearest
from plait.core.outputs import Outputs, State
from plait.core.packed import Packed, stack
from plait.core.part import Place, Spec, Terms

from ._pairs import Duplicates
from ._temperature import Temperature, Tempered
from ._tuples import chosen, codes_of

FLOOR = 1e-6
"""Of a squared volume: rounding of the determinant; below it there is no gradient, which at 0 is infinite."""


def volume(vectors: Tensor) -> Tensor:
    """Of the parallelotope that K vectors span.  vectors: [..., K, E].  -> [...], at least sqrt(FLOOR)."""
    return _root_det(vectors @ vectors.mT)


def gram(
    units: Tensor, present: Tensor, scale: Tensor, anchor: int | None = None, codes: Tensor | None = None
) -> Packed:
    """Loss of each sample that has two modalities or more: values [P], nats.

    units: [N, K, E], of unit length where `present` [N, K]; others are not read.  anchor: the modality that is
    exchanged; None, and of a sample that lacks it: each that it has, and the mean is taken.  codes: [N, K], equal where
    two samples' cells are, by whose sum a tuple is known; one that is what some sample is, is no negative.  None: all
    are.
    """
    size, count = present.shape
    exchanged = present & (present.sum(1, keepdim=True) > 1)
    if anchor is not None:
        only = torch.arange(count, device=present.device) == anchor
        exchanged = torch.where(exchanged[:, anchor, None], only, exchanged)
    # R anchors, each against the samples that have all that its own one has: T places of a matrix [R, N].
    own, which = exchanged.nonzero(as_tuple=True)
    covers = (present | ~present.unsqueeze(1)).all(2)
    line, j = covers[own].nonzero(as_tuple=True)
    i, m = own[line], which[line]
    # An absent vector stands upright on all others: then the determinant is that of the rest.
    upright = torch.eye(count, device=units.device, dtype=units.dtype)
    there = units[present]
    products = torch.block_diag(there @ there.T, upright)  # type: ignore[no-untyped-call]
    position = (present.flatten().cumsum(0) - 1).view_as(present)
    among = present[i]
    forth = _volumes(products, position, among, i, j, m)
    # Where both have the same modalities, the way back stands at another place of the same matrix.
    place = torch.zeros(size, size, count, dtype=torch.long, device=i.device)
    place[i, j, m] = torch.arange(len(i), device=i.device)
    more = (~covers[j, i]).nonzero().squeeze(1)
    other = _volumes(products, position, among[more], j[more], i[more], m[more])
    back = forth[place[j, i, m]].index_copy(0, more, other)
    logits = -scale * torch.stack([forth, back])
    if codes is not None:
        # Of each sample with the modalities that sample i has.
        tuples = torch.where(present.unsqueeze(1), codes, 0).sum(2)
        swap = codes[j, m] - codes[i, m]
        asked = torch.stack([tuples[i, j] - swap, tuples[i, i] + swap])
        logits = logits.masked_fill(torch.isin(asked, tuples[covers]) & (i != j), -torch.inf)
    against = logits.new_full((2, len(own), size), -torch.inf)
    against[:, line, j] = logits
    losses = against.logsumexp(2).mean(0) + scale * forth[i == j]
    each = torch.zeros_like(present, dtype=losses.dtype).index_put((own, which), losses)
    rows = exchanged.any(1).nonzero().squeeze(1)
    return Packed(each[rows].sum(1) / exchanged[rows].sum(1), rows)


def _volumes(products: Tensor, position: Tensor, among: Tensor, head: Tensor, tail: Tensor, anchor: Tensor) -> Tensor:
    """[T] of sample `head`'s anchor with sample `tail`'s others.

    products: [V + K, V + K], of the vectors that there are and K upright ones.  position: [N, K], of a sample's vector.
    among: [T, K], which count.
    """
    count = among.shape[1]
    at = torch.arange(count, device=among.device)
    whose = torch.where(at == anchor.unsqueeze(1), head.unsqueeze(1), tail.unsqueeze(1))
    place = torch.where(among, position[whose, at], len(products) - count + at)
    pairs = place.unsqueeze(2) * len(products) + place.unsqueeze(1)
    return _root_det(products.flatten().gather(0, pairs.flatten()).view_as(pairs))


def _root_det(gram: Tensor) -> Tensor:
    return torch.linalg.det(gram).clamp_min(FLOOR).sqrt()


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
        out = state.of()
        scale = self.scale(state.clock)
        units, present = stack({name: out.embedding(name).unit() for name in self.names}, out.size)
        at = None if self.anchor is None else self.names.index(self.anchor)
        # Cosines of half precision would leave hardly a digit of a small volume.
        with torch.autocast(scale.device.type, enabled=False):
            return {"all": gram(units.float(), present, scale, at, self._codes(out, present))}

    def _codes(self, out: Outputs, present: Tensor) -> Tensor | None:
        """[N, K], 0 where a cell is absent."""
        if self.duplicates == "keep":
            return None
        codes = torch.zeros_like(present, dtype=torch.long)
        for name, found in codes_of(out, self.names).items():
            codes[found.rows, self.names.index(name)] = found.values
        return codes

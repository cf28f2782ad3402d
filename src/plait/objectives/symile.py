"""Symile: one contrastive loss for any number of modalities, on the product of all embeddings.

    L_i = -1/K sum_m log  exp(s <z_m^i, p^i>) / sum_j exp(s <z_m^i, p^j>),    p = prod_{k != m} z_k, element by element
    s = E^(K/2 - 1) / temperature

p^i comes from the same sample; the others' p^j take each modality from a sample of its own, so that the loss bounds the
total correlation of all K from below: log N - L <= TC.  It sees dependence that no pair shows (XOR).  With K = 2 it is
InfoNCE.  The power of E makes up for products of unit vectors, which shrink with their length.  A sample without some
modality is compared by the product over those that it has.
Source: Saporta et al., "Contrasting with Symile", arXiv:2411.01053.  Relatives: info_nce, gram.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from plait.core.errors import RecipeError
from plait.core.outputs import State
from plait.core.part import Place, Spec, Terms

from ._pairs import Duplicates
from ._temperature import Temperature, Tempered
from ._tuples import Group, chosen, false_negatives, gathered, groups

Negatives = Literal["shuffled", "all"]


def symile(
    embeddings: Sequence[Tensor],
    scale: Tensor,
    orders: Sequence[Tensor] | None = None,
    codes: Sequence[Tensor] | None = None,
) -> Tensor:
    """Loss of each sample.  embeddings: K x [N, E], unit length.  scale: of the multilinear inner product.

    orders: K x [N], permutations: tuple j takes modality k from sample orders[k][j]; of an anchor's K - 1 partners the
    first keeps its own order, so that no shuffled tuple is a true one by chance.  None: all N^(K-1) tuples.
    codes: K x [N], by whose sum a tuple is known; one that equals a true sample's is no negative.  -> [N], nats.
    """
    size, losses = len(embeddings[0]), []
    own = torch.arange(size, device=embeddings[0].device)
    for m, anchor in enumerate(embeddings):
        first, *rest = [k for k in range(len(embeddings)) if k != m]
        taken = {first: own, **{k: own if orders is None else orders[k] for k in rest}}
        if orders is None:
            taken = dict(zip(taken, torch.meshgrid(*taken.values(), indexing="ij"), strict=True))  # same: as many
            taken = {k: index.flatten() for k, index in taken.items()}
        logits = anchor @ reduce(torch.mul, (embeddings[k][index] for k, index in taken.items())).T
        # The true tuple stands at (i, i, ...) of the grid, and takes the place of tuple i of the shuffled ones.
        truth = own if orders is not None else own * sum(size**power for power in range(len(taken)))
        if orders is not None:
            logits = torch.where(torch.eye(size, dtype=torch.bool, device=own.device), _product(embeddings), logits)
        logits = scale * logits
        if codes is not None:
            others = torch.stack([codes[k][index] for k, index in taken.items()]).sum(0)
            false = false_negatives(codes, m, others)
            false[own, truth] = False
            logits = logits.masked_fill(false, -torch.inf)
        losses.append(F.cross_entropy(logits, truth, reduction="none"))
    return torch.stack(losses).mean(0)


def _product(embeddings: Sequence[Tensor]) -> Tensor:
    """Multilinear inner product of each sample's embeddings, [N, 1]."""
    return reduce(torch.mul, embeddings).sum(1, keepdim=True)  # same: the diagonal alone is read


class Symile(Tempered):
    """modalities: which; null: all.  temperature: as in info_nce.

    negatives: N - 1 shuffled tuples for each sample, or all N^(K-1) - 1, for three modalities at most.
    duplicates: ignore takes tuples that are equal to a true one, cell by cell, out of the negatives.  Terms: all.
    """

    def __init__(
        self,
        modalities: list[str] | None = None,
        temperature: Temperature = "learned",
        negatives: Negatives = "shuffled",
        duplicates: Duplicates = "ignore",
    ) -> None:
        super().__init__(temperature)
        self.asked, self.negatives, self.duplicates = modalities, negatives, duplicates

    def build(self, spec: Spec, place: Place) -> None:
        self.names = chosen(spec, place, self.asked)
        if self.negatives == "all" and len(self.names) > 3:
            raise RecipeError(
                f"{place}: negatives: all would make N^{len(self.names) - 1} tuples. Use shuffled, or name three "
                "modalities."
            )

    def forward(self, state: State) -> Terms:
        scale = self.scale(state.clock)
        found = [(self._loss(group, scale), group) for group in groups(state.of(), self.names, self.duplicates)]
        return {"all": gathered(found, scale)}

    def _loss(self, group: Group, scale: Tensor) -> Tensor:
        width = group.units[0].shape[1]
        orders = [torch.randperm(len(group.rows)).to(group.rows.device) for _ in group.names]
        scale = scale * width ** (len(group.units) / 2 - 1)
        return symile(group.units, scale, orders if self.negatives == "shuffled" else None, group.codes)

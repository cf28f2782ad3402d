"""Sigmoid contrastive loss: every pair of samples is a yes-or-no question of its own.

    L_ab = -mean_i sum_j log sigmoid( y_ij (t <a_i, b_j> + c) ),   y_ij = 1 if i = j, else -1

t and c are learned, from 10 and -10 on.  Every pair of modalities runs on the samples that have both; the loss over
the pairs is their mean.  Source: Zhai et al., "Sigmoid Loss for Language Image Pre-Training", arXiv:2303.15343.
Relative: info_nce, which normalises over the batch.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from plait.core.outputs import State
from plait.core.packed import Packed
from plait.core.part import Objective, Place, Spec, Terms

from ._pairs import Duplicates, Pairs, each, pairs_of


def siglip(a: Tensor, b: Tensor, scale: Tensor, bias: Tensor, ignore: Tensor | None = None) -> Tensor:
    """Loss of each sample.  a, b: [N, E], unit length.  ignore: [N, N], False on the diagonal: no negatives.

    -> [N], nats: a sample's row and column of pairs, half of each, so that the two modalities may change places.
    """
    logits = scale * (a @ b.T) + bias
    sign = 2 * torch.eye(len(a), device=a.device) - 1
    loss = -F.logsigmoid(sign * logits)
    if ignore is not None:
        loss = loss.masked_fill(ignore, 0)
    return (loss.sum(0) + loss.sum(1)) / 2


class SigLIP(Objective):
    """pairs: all, or a list of pairs of modalities; hub: one modality against each other one.

    duplicates: ignore leaves out the pairs of samples whose cells are equal.  Terms: A~B, each divided by the number of
    pairs.
    """

    whole = True

    def __init__(self, pairs: Pairs = "all", hub: str | None = None, duplicates: Duplicates = "ignore") -> None:
        super().__init__()
        self.asked, self.hub, self.duplicates = pairs, hub, duplicates
        self.log_scale = nn.Parameter(torch.tensor(math.log(10.0)))
        self.bias = nn.Parameter(torch.tensor(-10.0))

    def build(self, spec: Spec, place: Place) -> None:
        self.pairs = pairs_of(spec, place, self.asked, self.hub)

    def forward(self, state: State) -> Terms:
        out, scale = state.of(), self.log_scale.exp()
        return {
            pair.name: Packed(siglip(pair.a, pair.b, scale, self.bias, pair.same) / len(self.pairs), pair.rows)
            for pair in each(out, self.pairs, self.duplicates)
        }

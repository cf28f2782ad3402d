"""All pieces of a modality from one vector: the decoder of a variational autoencoder.

    -log p(x | z) = sum over features of (x' - f(z)_t)^2 / (2 s^2) + log s + log(2 pi) / 2,   x' = (x - mean) / std
    f(z)_t = W gelu(V z + q_t) + b

q_t: a learned vector for each place, and for cells of any length the same for all, so those are decoded as a mean.
Mean and standard deviation are those of the training rows; s is given, not learned, since it would shrink without end
on data without noise.  What is NaN is not known, and costs nothing.  z is the modality's own token or the fused vector:
with its own, an absent modality is decoded if a `missing` component stands in for it, with the fused one always.
Its place is a modality: heads: {image: {latent_decoder: {}}}.
Source: Kingma and Welling, "Auto-Encoding Variational Bayes", arXiv:1312.6114.   Relative: piece_decoder, which reads
the tokens of all modalities in context.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from plait.core.component import Count, Positive
from plait.core.outputs import Outputs
from plait.core.packed import Packed
from plait.core.part import Place, Spec

from ._decoding import OfPieces


def negative_log_likelihood(mean: Tensor, truth: Tensor, deviation: float) -> Tensor:
    """Of a Gaussian, over the last axis; [..., C] both, NaN in `truth` where nothing is known.  -> [...], nats."""
    known = ~truth.isnan()
    distance = (truth.masked_fill(~known, 0) - mean) / deviation
    each = distance.square() / 2 + math.log(deviation) + math.log(2 * math.pi) / 2
    return each.masked_fill(~known, 0).sum(-1)


class LatentDecoder(OfPieces):
    """reads: the modality's own token, or the fused vector.  width: of the hidden layer.

    deviation: s, in units of the training rows' spread; the smaller, the more a reconstruction counts.
    """

    def __init__(self, reads: Literal["own", "fused"] = "fused", width: Count = 128, deviation: Positive = 1.0) -> None:
        super().__init__()
        self.reads, self.width, self.deviation = reads, width, deviation

    def build(self, spec: Spec, place: Place) -> None:
        """RecipeError if its place is no modality."""
        self.check(spec, place)
        if hasattr(self, "hidden"):
            return
        count, features = spec.pieces[place.name]
        self.hidden = nn.Linear(spec.width, self.width, bias=False)
        self.places = nn.Parameter(0.02 * torch.randn(count or 1, self.width))  # same: any small start
        self.linear = nn.Linear(self.width, features)
        self.scale(features)

    def read(self, out: Outputs) -> Packed:
        """[P, D]."""
        if self.reads == "fused":
            return out.fused
        part = out.filled.get(self.place.name)
        if part is not None:
            seen = part.take(part.visible.any(1))
            return seen.pooled()
        return Packed(self.places.new_zeros(0, self.hidden.in_features), torch.zeros(0, dtype=torch.long))

    def decide(self, values: Tensor) -> Tensor:
        """[P, D] -> pieces on the training rows' scale, [P, T, C]; T = 1 for cells of any length."""
        return self.linear(F.gelu(self.hidden(values).unsqueeze(1) + self.places))

    def loss(self, params: Tensor, truth: Tensor) -> Tensor:
        """params [P, T, C] or [P, 1, C], truth [P, T, C] -> [P, T], nats."""
        return negative_log_likelihood(params, (truth - self.mean) / self.std, self.deviation)

    def predict(self, params: Tensor) -> Tensor:
        """Pieces on their own scale, [P, T, C]."""
        return params * self.std + self.mean

"""Concatenation and a linear layer, as a sum over the modalities that a sample has.

    h = gelu( 1/sqrt(n) sum_{m present} (W_m x_m + b_m) ),   x_m the mean over tokens, n = number of present modalities

W [x_1; ...; x_M] is the sum of W_m x_m over blocks of W, so an absent modality is left out of the sum: no zeros are
multiplied, and its bias goes with it.  1/sqrt(n) keeps the scale where fewer terms are summed; with all modalities
present this is concatenation and one linear layer, up to a constant.  Relatives: mean, gated, self_attention.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from plait.core.component import Rate
from plait.core.named import Named
from plait.core.packed import Fused, Tokens, mean_over
from plait.core.part import Fusion, Place, Spec
from plait.core.random import seeded, spawn

from ._pooled import nobody, pooled


class Concatenation(Fusion):
    """dropout: of the fused vector."""

    def __init__(self, dropout: Rate = 0.1) -> None:
        super().__init__()
        self.dropout = dropout
        self.maps = Named()

    def build(self, spec: Spec, place: Place) -> None:
        self.width = spec.width
        base = spawn()
        for name in spec.names:
            if name not in self.maps:
                with seeded(base, name):
                    self.maps[name] = nn.Linear(spec.width, spec.width)

    def forward(self, tokens: dict[str, Tokens], size: int, g: torch.Generator) -> Fused:
        """tokens: values [P, T, D] each.  -> values [P, D]."""
        if not tokens:
            none = nobody(self.width, next(self.parameters()).device)  # same: for its device
            return Fused(none.values, none.rows)
        mapped = {name: part.with_(values=self.maps[name](part.values)) for name, part in pooled(tokens).items()}
        mean = mean_over(mapped, size)
        values = F.gelu(mean.values * mean.notes["count"].sqrt().unsqueeze(1))
        return Fused(F.dropout(values, self.dropout, self.training), mean.rows)

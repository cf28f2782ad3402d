"""A linear map of each modality's mean token into the space that all share.

    z_m = W_m mean_t x_m,t + b_m

As CLIP's: Radford et al., arXiv:2103.00020.  Relative: mlp.
"""

from __future__ import annotations

from torch import nn

from plait.core.named import Named
from plait.core.packed import Packed, Tokens
from plait.core.part import Place, Projection, Spec
from plait.core.random import seeded, spawn


class Linear(Projection):
    def __init__(self) -> None:
        super().__init__()
        self.maps = Named()

    def build(self, spec: Spec, place: Place) -> None:
        base = spawn()
        for name in spec.names:
            if name not in self.maps:
                with seeded(base, name):
                    self.maps[name] = nn.Linear(spec.width, spec.embedding)

    def forward(self, name: str, tokens: Tokens) -> Packed:
        """tokens: values [P, T, D].  -> values [P, E]."""
        pooled = tokens.pooled()
        return pooled.with_(values=self.maps[name](pooled.values))

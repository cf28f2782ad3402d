"""A two-layer network from each modality's mean token into the space that all share.

    z_m = B_m gelu(A_m mean_t x_m,t + a_m) + b_m

As SimCLR's projection head: Chen et al., arXiv:2002.05709.  Relative: linear.
"""

from __future__ import annotations

from torch import nn

from plait.core.component import Count
from plait.core.named import Named
from plait.core.packed import Packed, Tokens
from plait.core.part import Place, Projection, Spec
from plait.core.random import seeded, spawn


class Mlp(Projection):
    """hidden: width of the layer between; null: that of the tokens."""

    def __init__(self, hidden: Count | None = None) -> None:
        super().__init__()
        self.hidden = hidden
        self.maps = Named()

    def build(self, spec: Spec, place: Place) -> None:
        base, hidden = spawn(), self.hidden or spec.width
        for name in spec.names:
            if name not in self.maps:
                with seeded(base, name):
                    self.maps[name] = nn.Sequential(
                        nn.Linear(spec.width, hidden), nn.GELU(), nn.Linear(hidden, spec.embedding)
                    )

    def forward(self, name: str, tokens: Tokens) -> Packed:
        """tokens: values [P, T, D].  -> values [P, E]."""
        pooled = tokens.pooled()
        return pooled.with_(values=self.maps[name](pooled.values))

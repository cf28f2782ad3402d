"""One network carries every modality into the space that all share, told by a token which one it is.

    z_m = W f( A_m(mean_t x_m,t) + e_m ),   f(h) = h + B gelu(C norm(h)),  repeated;  W, f: the same for all modalities

Only the alignment layer A_m and the token e_m are a modality's own.  So one that comes later learns while the rest is
frozen, `train: [projection.alignments.NAME.*, projection.tokens.NAME]`, and nobody else's embedding moves by a bit.
Source: Faye et al., "OneEncoder", arXiv:2409.11059, with the token added; and, for the shared network that unpaired
modalities learn through, Gupta et al., "Better Together", arXiv:2510.08492.  Relatives: linear, mlp.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from plait.core.component import Count
from plait.core.named import Named, NamedParameters
from plait.core.packed import Packed, Tokens
from plait.core.part import Place, Projection, Spec
from plait.core.random import seeded, spawn


class Residual(nn.Module):
    """h + B gelu(C norm(h)), [P, H] -> [P, H]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, values: Tensor) -> Tensor:
        return values + self.down(F.gelu(self.up(self.norm(values))))


class Shared(Projection):
    """layers: of the shared network.  hidden: its width; null: that of the tokens."""

    def __init__(self, layers: Count = 2, hidden: Count | None = None) -> None:
        super().__init__()
        self.layers, self.hidden = layers, hidden
        self.alignments, self.tokens = Named(), NamedParameters()

    def build(self, spec: Spec, place: Place) -> None:
        width, base = self.hidden or spec.width, spawn()
        if not hasattr(self, "universal"):
            with seeded(base):
                layers = [Residual(width) for _ in range(self.layers)]
                self.universal = nn.Sequential(*layers, nn.LayerNorm(width), nn.Linear(width, spec.embedding))
        for name in spec.names:
            if name not in self.alignments:
                with seeded(base, name):
                    self.alignments[name] = nn.Sequential(
                        nn.Linear(spec.width, width), nn.GELU(), nn.Linear(width, width), nn.LayerNorm(width)
                    )
                    self.tokens[name] = nn.Parameter(0.3 * torch.randn(width))  # same: any small start

    def forward(self, name: str, tokens: Tokens) -> Packed:
        """tokens: values [P, T, D].  -> values [P, E]."""
        pooled = tokens.pooled()
        return pooled.with_(values=self.universal(self.alignments[name](pooled.values) + self.tokens[name]))

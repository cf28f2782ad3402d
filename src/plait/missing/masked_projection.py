"""Training masks a random subset of the modalities and projects the tokens of the rest into the masked ones' places.

    [B_1 .. B_K] = block([A_m1 .. A_mK, tokens_a + t_a of every present a]) at the first K    A_mk: learned queries
    tokens_k of m, of a sample without it = norm_m(B_k + mlp_m(B_k))
    L_m = mean over samples from which m was masked, over k and over features of smooth_l1(tokens_k, stop(s_k))

s_k is the mean of the k-th of K equal segments of m's true tokens, so that cells of any length can be aligned: token
by token if m has K of them, the mean token if K is 1.  One set of parameters serves every missing pattern.  With rate 0
and nothing absent it is the fusion without it, bit for bit.
Source: Nezakati et al., "MMP: Towards Robust Multi-Modal Learning with Masked Modality Projection", arXiv:2410.03010.
Relatives: proxy_token, which reads each modality by itself; feature_autoencoder, modality_dropout.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from plait.core.attention import Block, braid
from plait.core.component import Count, Rate
from plait.core.meter import Meter
from plait.core.named import Named, NamedParameters
from plait.core.outputs import Outputs
from plait.core.packed import Tokens, tokens_of
from plait.core.part import Filled, Missing, Place, Spec, Terms
from plait.core.random import seeded, spawn

from ._stand_ins import compared, filled, lacking, real, stand_ins

_QUERIES = "\0"
"""No column is called so."""


def segments(tokens: Tokens, count: int) -> Tensor:
    """Means of `count` equal segments of each cell's visible tokens [P, T, D], which overlap by one where n tokens do
    not divide -> [P, count, D].  Segment k covers the tokens from floor(k n / count) up to ceil((k + 1) n / count)."""
    visible = tokens.visible
    place, n = visible.cumsum(1) - 1, visible.sum(1)
    k = torch.arange(count, device=n.device)
    start = (k * n.unsqueeze(1)).div(count, rounding_mode="floor")
    stop = -((-(k + 1) * n.unsqueeze(1)).div(count, rounding_mode="floor"))
    within = (
        (place.unsqueeze(1) >= start.unsqueeze(2)) & (place.unsqueeze(1) < stop.unsqueeze(2)) & visible.unsqueeze(1)
    )
    weights = within / within.sum(2, keepdim=True).clamp_min(1)
    return weights.to(tokens.values) @ tokens.values.masked_fill(~visible.unsqueeze(2), 0)


class MaskedProjection(Missing):
    """rate: share of the present modalities that training masks.  tokens: how many stand in for one absent cell.

    Terms: one for each modality.
    """

    at = "tokens"  # the truth must be encoded

    def __init__(self, rate: Rate = 0.3, tokens: Count = 1, heads: Count = 4, dropout: Rate = 0.0) -> None:
        super().__init__()
        self.rate, self.count, self.heads, self.dropout = rate, tokens, heads, dropout
        self.types, self.queries, self.maps = NamedParameters(), NamedParameters(), Named()
        self.names: tuple[str, ...] = ()

    def build(self, spec: Spec, place: Place) -> None:
        base = spawn()
        self.names = spec.names if len(spec.names) > 1 else ()
        if self.names and not hasattr(self, "block"):
            self.block = Block(spec.width, self.heads, 2.0, self.dropout)
        for name in self.names:
            if name not in self.maps:
                with seeded(base, name):
                    self.types[name] = nn.Parameter(0.02 * torch.randn(spec.width))  # same: any small start
                    self.queries[name] = nn.Parameter(
                        0.02 * torch.randn(self.count, spec.width)  # same: any small start
                    )
                    self.maps[name] = _Map(spec.width)

    def hide(self, present: Tensor, meter: Meter, g: torch.Generator) -> Tensor:
        """present: [B, M] -> [B, M], each present one with the same probability."""
        return present & (torch.rand(present.shape, generator=g) < self.rate).to(present.device)

    def forward(self, tokens: dict[str, Tokens], size: int, g: torch.Generator) -> Filled:
        """tokens: values [P, T, D] each.  -> K tokens for each absent cell of a sample that has any other."""
        sources = real(tokens) if self.names else {}
        typed = {name: part.with_(values=part.values + self.types[name]) for name, part in sources.items()}
        made = {}
        for name, rows in lacking(tokens, sources, self.names, size).items():
            if len(rows):
                given = {a: part.on(rows) for a, part in typed.items()}
                given[_QUERIES] = tokens_of(self.queries[name].expand(len(rows), -1, -1), rows)
                read = self.block(braid(given, size)).part(_QUERIES)
                made[name] = stand_ins(self.maps[name](read).view(len(rows), self.count, -1), rows)
        return Filled(filled(tokens, made), made)

    def terms(self, out: Outputs, g: torch.Generator) -> Terms:
        def loss(guess: Tokens, truth: Tokens) -> Tensor:
            return F.smooth_l1_loss(guess.values, segments(truth, self.count), reduction="none").mean((1, 2))

        return compared(self, self.names, out, loss)


class _Map(nn.Module):
    """norm(x + mlp(x))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))
        self.norm = nn.LayerNorm(width)

    def forward(self, values: Tensor) -> Tensor:
        return self.norm(values + self.mlp(values))

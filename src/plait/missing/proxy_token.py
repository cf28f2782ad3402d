"""A proxy token, read off the tokens of what a sample has, stands in for an absent modality.

    p_am = norm_m(read_a(u_am, tokens_a))                       a learned query u_am for each pair, read_a shared by a's
    token of m, of a sample without it = mean over present a of p_am
    L_m = mean over samples that have m of the mean over present a of |p_am - stop(mean token of m)|^2 / D

Queries do not read each other, so p_am depends on a alone and the pairs are learned wherever a sample has both: nothing
has to be hidden for it.  A sample that has everything gets none and pays nothing when predicting.  With a query that
reads nothing it is learned_tokens, pulled towards the mean token.  The source weighs L by 0.2.
Source: Reza et al., "Robust Multimodal Learning via Cross-Modal Proxy Tokens", arXiv:2501.17823, where the query goes
through all layers of the encoder; here it reads the encoder's output, so that any encoder will do.
Relatives: masked_projection, feature_regression, learned_tokens.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from plait.core.attention import CrossAttention
from plait.core.component import Count
from plait.core.named import Named, NamedParameters
from plait.core.outputs import Outputs
from plait.core.packed import Tokens
from plait.core.part import Place, Spec, Terms
from plait.core.random import seeded, spawn

from ._pairwise import Pairwise
from ._stand_ins import compared


def alignment(proxies: Tensor, mask: Tensor, truth: Tensor) -> Tensor:
    """proxies [P, A, D], mask [P, A] which of them there are, truth [P, D] -> [P], mean squared distance."""
    distance = (proxies - truth.unsqueeze(1)).square().mean(2)
    return distance.masked_fill(~mask, 0).sum(1) / mask.sum(1)


class ProxyToken(Pairwise):
    """heads: of the attention by which a query reads.  Terms: one for each modality."""

    def __init__(self, heads: Count = 4) -> None:
        super().__init__()
        self.heads = heads
        self.sources, self.norms = Named(), Named()

    def build(self, spec: Spec, place: Place) -> None:
        base = spawn()
        self.names = spec.names if len(spec.names) > 1 else ()
        for name in self.names:
            if name not in self.norms:
                self.norms[name] = nn.LayerNorm(spec.width)
                with seeded(base, name):
                    self.sources[name] = _Source(CrossAttention(spec.width, self.heads, place, expansion=2))
            queries = cast(_Source, self.sources[name]).queries
            for other in self.names:
                if other != name and other not in queries:
                    with seeded(base, name, other):
                        queries[other] = nn.Parameter(0.02 * torch.randn(spec.width))  # same: any small start

    def says(self, name: str, part: Tokens) -> dict[str, Tensor]:
        source = cast(_Source, self.sources[name])
        others = [other for other in self.names if other != name]
        proxies = source.reader(torch.stack([source.queries[other] for other in others]), part.values, part.visible)
        return {other: self.norms[other](proxies[:, i]) for i, other in enumerate(others)}

    def terms(self, out: Outputs, g: torch.Generator) -> Terms:
        def loss(guess: Tokens, truth: Tokens) -> Tensor:
            return alignment(guess.values, guess.mask, truth.pooled().values)

        return compared(self, self.names, out, loss)


class _Source(nn.Module):
    """What one modality reads its tokens with: a query for each other modality."""

    def __init__(self, reader: CrossAttention) -> None:
        super().__init__()
        self.reader, self.queries = reader, NamedParameters()

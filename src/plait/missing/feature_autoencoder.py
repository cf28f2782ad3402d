"""Modalities are dropped in training and an autoencoder over modalities makes them again from the rest.

    e = encode([memory_1 .. memory_K, x_m + t_m of each kept m]),   x_m: mean token of m
    d = decode([e_memory, e_m + t_m of each kept m, mask + t_m of each other m])
    token of m, of a sample without it = W d_m + b
    L_m = mean over samples from which m was dropped of |W d_m + b - stop(norm x_m)|^2 / D

Of the n modalities that a sample has, 1 to n are kept, each number alike.  What is kept passes on unchanged; what is
truly absent is made too and has no loss.  With rate 0 nothing is dropped and only absent cells are touched.
Source: Woo et al., "Towards Good Practices for Missing Modality Robust Action Recognition" (ActionMAE),
arXiv:2211.13916.  Relatives: masked_projection, proxy_token, modality_dropout.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from plait.core.attention import Block, Braid, braid
from plait.core.component import Count, Rate
from plait.core.meter import Meter
from plait.core.named import NamedParameters
from plait.core.outputs import Outputs
from plait.core.packed import Tokens, tokens_of
from plait.core.part import Filled, Missing, Place, Spec, Terms
from plait.core.random import seeded, spawn

from ._stand_ins import compared, filled, lacking, real, stand_ins

_MEMORY = "\0"
"""No column is called so, nor begins so."""


def reconstruction(guess: Tensor, truth: Tensor, normalise: bool) -> Tensor:
    """guess, truth [N, D] -> [N], mean squared error; normalise: of a truth with mean 0 and variance 1."""
    return (guess - (F.layer_norm(truth, truth.shape[1:]) if normalise else truth)).square().mean(1)


def drop(present: Tensor, rate: float, g: torch.Generator) -> Tensor:
    """present [B, M] -> [B, M], True where dropped; a share `rate` of the samples keeps 1 to all of what it has."""
    draw = torch.rand(present.shape, generator=g).to(present.device)
    asked, number = torch.rand(2, len(present), 1, generator=g).to(present.device)
    rank = draw.masked_fill(~present, 2).argsort(1).argsort(1)
    kept = 1 + (number * present.sum(1, keepdim=True)).floor()
    return present & (rank >= kept) & (asked < rate)


class FeatureAutoencoder(Missing):
    """rate: share of the samples from which modalities may be dropped.  memory: tokens that carry what several share.

    layers: of the encoder, and of the decoder.  normalise: what is reconstructed has mean 0 and variance 1.
    Terms: one for each modality.
    """

    at = "tokens"  # the truth must be encoded

    def __init__(
        self,
        rate: Rate = 1.0,
        memory: Count = 4,
        layers: Count = 1,
        heads: Count = 4,
        dropout: Rate = 0.0,
        normalise: bool = True,
    ) -> None:
        super().__init__()
        self.rate, self.count, self.layers, self.heads, self.dropout = rate, memory, layers, heads, dropout
        self.normalise = normalise
        self.types = NamedParameters()
        self.names: tuple[str, ...] = ()

    def build(self, spec: Spec, place: Place) -> None:
        base = spawn()
        self.names = spec.names if len(spec.names) > 1 else ()
        for name in self.names:
            if name not in self.types:
                with seeded(base, name):
                    self.types[name] = nn.Parameter(0.02 * torch.randn(spec.width))  # same: any small start
        if self.names and not hasattr(self, "predict"):
            self.memory, self.mask = (
                nn.Parameter(0.02 * torch.randn(n, spec.width))  # same: any small start
                for n in (self.count, 1)
            )
            self.encode, self.decode = (self._blocks(spec.width) for _ in range(2))
            self.predict = nn.Linear(spec.width, spec.width)

    def _blocks(self, width: int) -> nn.ModuleList:
        blocks = [Block(width, self.heads, 2.0, self.dropout) for _ in range(self.layers)]
        return nn.ModuleList([*blocks, nn.LayerNorm(width)])

    def hide(self, present: Tensor, meter: Meter, g: torch.Generator) -> Tensor:
        return drop(present, self.rate, g)

    def forward(self, tokens: dict[str, Tokens], size: int, g: torch.Generator) -> Filled:
        """tokens: values [P, T, D] each.  -> one token for each absent cell of a sample that has any other."""
        sources = real(tokens) if self.names else {}
        absent = lacking(tokens, sources, self.names, size)
        if not any(len(lost) for lost in absent.values()):
            return Filled(tokens)
        rows = torch.cat(list(absent.values())).bincount(minlength=size).nonzero().squeeze(1)
        kept = {name: part.on(rows).pooled() for name, part in sources.items()}
        given = {name: self._typed(name, part.values, part.rows) for name, part in kept.items()}
        given[_MEMORY] = tokens_of(self.memory.expand(len(rows), -1, -1), rows)
        seen = _through(self.encode, braid(given, size)).unbraid()
        asked = {
            name: self._typed(name, part.values.squeeze(1), part.rows) for name, part in seen.items() if name in kept
        }
        asked[_MEMORY] = seen[_MEMORY]
        for name, lost in absent.items():
            asked[_MEMORY + name] = self._typed(name, self.mask.expand(len(lost), -1), lost)
        found = _through(self.decode, braid(asked, size))
        made = {
            name: stand_ins(self.predict(found.part(_MEMORY + name)).unsqueeze(1), lost)
            for name, lost in absent.items()
        }
        return Filled(filled(tokens, made), made)

    def _typed(self, name: str, values: Tensor, rows: Tensor) -> Tokens:
        """values [P, D] -> one token each, with its modality's vector."""
        return tokens_of((values + self.types[name]).unsqueeze(1), rows)

    def terms(self, out: Outputs, g: torch.Generator) -> Terms:
        def loss(guess: Tokens, truth: Tokens) -> Tensor:
            return reconstruction(guess.values.squeeze(1), truth.pooled().values, self.normalise)

        return compared(self, self.names, out, loss)


def _through(blocks: nn.ModuleList, layout: Braid) -> Braid:
    *layers, norm = blocks
    for block in layers:
        layout = block(layout)
    return layout.with_values(norm(layout.values))

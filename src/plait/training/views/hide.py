"""Hides a share of each cell's pieces from the encoder, for masked modelling.

round(rate * n) of a cell's n visible pieces, chosen at random, at most n - 1.  The pieces keep their values, which are
the truth to reconstruct.  Source: He et al., "Masked Autoencoders", arXiv:2111.06377.  Relatives: noise, drop.
"""

from __future__ import annotations

import torch

from plait.core.component import Rate
from plait.core.packed import Tokens
from plait.core.part import Place, Spec, View

from ._chosen import chosen


class Hide(View):
    """rate: share of a cell's pieces.  modalities: which; null: all."""

    def __init__(self, rate: Rate = 0.5, modalities: list[str] | None = None) -> None:
        super().__init__()
        self.rate, self.modalities = rate, modalities

    def build(self, spec: Spec, place: Place) -> None:
        self.names = chosen(spec, place, self.modalities)

    def pieces(self, pieces: dict[str, Tokens], g: torch.Generator) -> dict[str, Tokens]:
        """pieces: [P, T] places each, some of which get hidden."""
        out = dict(pieces)
        for name in self.names:
            if name in pieces:
                part = pieces[name]
                visible = part.visible
                draw = torch.rand(visible.shape, generator=g).to(visible.device).masked_fill(~visible, 2)
                count = visible.sum(1)
                most = (self.rate * count).round().minimum(count - 1)
                chosen_now = draw.argsort(1).argsort(1) < most.unsqueeze(1)
                out[name] = part.with_(hidden=chosen_now if part.hidden is None else part.hidden | chosen_now)
        return out

"""From embedded pieces to tokens: the part that the encoders of all kinds share."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from plait.core.attention import Block, braid
from plait.core.errors import RecipeError
from plait.core.packed import Packed, Tokens
from plait.core.part import Place

Depth = Annotated[int, Field(ge=0)]
"""Transformer blocks within the modality; 0 for none."""


class Trunk(nn.Module):
    """Visible embeddings [n, D] -> tokens [P, T, D]: places, self-attention within each sample, norm.

    A hidden position holds a learned vector and its place, and nobody attends to it.  One that does not exist holds
    zeros.  RecipeError if the width cannot be divided among the heads.
    """

    def __init__(self, width: int, depth: int, heads: int, dropout: float, place: Place) -> None:
        super().__init__()
        if depth and width % heads:
            raise RecipeError(f"{place}: {heads} heads cannot share a width of {width}. Set heads to a divisor of it.")
        self.unseen = nn.Parameter(torch.zeros(width))
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(Block(width, heads, dropout=dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def forward(self, embedded: Tensor, places: Tensor, pieces: Tokens, layers: int = 0) -> Tokens:
        """embedded: [n, D], the visible pieces in order.  places: [P, T, D], or what broadcasts to it.

        layers: how many of the blocks' outputs to keep, at most all; hidden positions as in the tokens.
        """
        visible = pieces.visible
        places = places.expand(*visible.shape, -1)
        flat = self.dropout(embedded + places[visible])
        values = flat.new_zeros(*visible.shape, flat.shape[-1])
        values[visible] = flat
        kept = []
        if len(self.blocks) and len(pieces):
            layout = braid({"": pieces.with_(values=values)}, int(pieces.rows[-1]) + 1)
            for i, block in enumerate(self.blocks):
                layout = block(layout)
                if i >= len(self.blocks) - layers:
                    kept.append(self._with_unseen(layout.unbraid()[""].values, places, pieces.hidden))
            values = layout.unbraid()[""].values
        values = self.norm(self._with_unseen(values, places, pieces.hidden))
        values = values.masked_fill(~pieces.mask.unsqueeze(-1), 0.0)
        return pieces.with_(values=values, layers=tuple(kept) if layers else None)

    def _with_unseen(self, values: Tensor, places: Tensor, hidden: Tensor | None) -> Tensor:
        if hidden is None:
            return values
        return torch.where(hidden.unsqueeze(-1), (self.unseen + places).to(values.dtype), values)


class Positions(nn.Module):
    """Where a token stands, for cells of any length: sines and cosines, each with a learned weight.

    p(t) = w * [sin(t f_1) .. sin(t f_n), cos(t f_1) .. cos(t f_n)], f from 1 down to 1 / longest.
    Source: Vaswani et al., "Attention Is All You Need", arXiv:1706.03762.
    """

    frequencies: Tensor

    def __init__(self, width: int, longest: float = 10_000.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((width,), 0.1))
        steps = torch.arange((width + 1) // 2) / ((width + 1) // 2)
        self.register_buffer("frequencies", longest**-steps, persistent=False)

    def forward(self, times: Tensor) -> Tensor:
        """[...] -> [..., D]."""
        angles = times.to(self.frequencies.dtype).unsqueeze(-1) * self.frequencies
        return torch.cat([angles.sin(), angles.cos()], -1)[..., : len(self.weight)] * self.weight


def lengths(cells: Packed) -> Tensor:
    """[P] of cells whose first axis may be padded; all of it where nothing says otherwise."""
    if "length" in cells.notes:
        return cells.notes["length"]
    return torch.full_like(cells.rows, cells.values.shape[1])


def within(length: Tensor, size: int) -> Tensor:
    """[P] -> [P, size] bool: the first `length` of each."""
    return torch.arange(size, device=length.device) < length.unsqueeze(1)

"""A precomputed sequence of tokens: standardised, projected token by token, with its positions.

Mean and standard deviation are those of the training rows' tokens.   Relatives: vector, series.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from plait.core.component import Count, Rate
from plait.core.packed import Packed, Tokens
from plait.core.part import Encoder, Modality, Place, Spec, Training

from ._standardise import Standardise, cells_of
from ._trunk import Depth, Positions, Trunk, lengths, within

SAMPLE = 5_000


class TokenSequence(Encoder):
    """positions: whether the order of the tokens means something.  depth: transformer blocks within the modality."""

    kinds = ("tokens",)

    def __init__(self, positions: bool = True, depth: Depth = 0, heads: Count = 4, dropout: Rate = 0.1) -> None:
        super().__init__()
        self.ordered, self.depth, self.heads, self.rate = positions, depth, heads, dropout

    def describe(self, modality: Modality) -> tuple[int, int]:
        return 0 if modality.ragged else modality.shape[0], modality.shape[-1]

    def build(self, spec: Spec, place: Place) -> None:
        if hasattr(self, "linear"):
            return
        _, size = spec.pieces[place.name]
        self.standardise = Standardise(size)
        self.linear = nn.Linear(size, spec.width)
        self.positions = Positions(spec.width) if self.ordered else None
        self.trunk = Trunk(spec.width, self.depth, self.heads, self.rate, place)

    def prepare(self, train: Training) -> None:
        self.standardise.learn(self._existing(cells) for cells in cells_of(train, self.place.name, SAMPLE))

    def _existing(self, cells: Packed) -> Tensor:
        pieces = self.cut(cells)
        return pieces.values[pieces.mask]

    def cut(self, cells: Packed) -> Tokens:
        """[P, T, C] -> [P, T, C]: a token is a piece."""
        mask = within(lengths(cells), cells.values.shape[1])
        return Tokens(cells.values.float(), cells.rows, mask, notes=cells.notes, blend=cells.blend)

    def paste(self, pieces: Tokens) -> Packed:
        return Packed(pieces.values, pieces.rows, notes=pieces.notes, blend=pieces.blend)

    def forward(self, pieces: Tokens, layers: int = 0) -> Tokens:
        embedded = self.linear(self.standardise(pieces.values[pieces.visible]))
        if self.positions is None:
            places = embedded.new_zeros(embedded.shape[-1])  # same: of two dimensions
        else:
            places = self.positions(torch.arange(pieces.values.shape[1], device=pieces.values.device))
        return self.trunk(embedded, places, pieces, layers)

"""A precomputed vector as tokens: standardised, then one linear map per token.

    token_t = norm(W_t (x - mean) / std + b_t)

Mean and standard deviation are those of the training rows.   Relatives: tokens, tabular.
"""

from __future__ import annotations

from torch import nn

from plait.core.component import Count, Rate
from plait.core.packed import Packed, Tokens, tokens_of
from plait.core.part import Encoder, Modality, Place, Spec, Training

from ._standardise import Standardise, cells_of
from ._trunk import Trunk

SAMPLE = 20_000


class Vector(Encoder):
    """tokens: how many tokens are made of a vector.

    feature_dropout: share of the standardised features that each training step leaves out.
    """

    kinds = ("vector",)

    def __init__(self, tokens: Count = 1, dropout: Rate = 0.1, feature_dropout: Rate = 0.0) -> None:
        super().__init__()
        self.tokens, self.dropout = tokens, dropout
        self.feature_dropout = nn.Dropout(feature_dropout)

    def describe(self, modality: Modality) -> tuple[int, int]:
        return 1, modality.shape[-1]

    def build(self, spec: Spec, place: Place) -> None:
        if hasattr(self, "linear"):
            return
        _, size = spec.pieces[place.name]
        self.standardise = Standardise(size)
        self.linear = nn.Linear(size, self.tokens * spec.width, bias=False)
        self.places = nn.Parameter(
            nn.init.normal_(self.linear.weight.new_empty(self.tokens, spec.width), std=0.02)  # same: any small start
        )
        self.trunk = Trunk(spec.width, 0, 1, self.dropout, place)

    def prepare(self, train: Training) -> None:
        self.standardise.learn(cells.values for cells in cells_of(train, self.place.name, SAMPLE))

    def cut(self, cells: Packed) -> Tokens:
        """[P, C] -> [P, 1, C]: the whole vector is one piece."""
        return tokens_of(cells.values.float().unsqueeze(1), cells.rows, notes=cells.notes, blend=cells.blend)

    def paste(self, pieces: Tokens) -> Packed:
        return Packed(pieces.values.squeeze(1), pieces.rows, notes=pieces.notes, blend=pieces.blend)

    def forward(self, pieces: Tokens, layers: int = 0) -> Tokens:
        embedded = self.linear(self.feature_dropout(self.standardise(pieces.values[pieces.visible])))
        wide = pieces.with_(
            mask=pieces.mask.expand(-1, self.tokens),
            hidden=None if pieces.hidden is None else pieces.hidden.expand(-1, self.tokens),
        )
        return self.trunk(embedded.view(-1, self.places.shape[-1]), self.places, wide, layers)  # same: two dimensions

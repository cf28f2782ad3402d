"""Columns as tokens: each number scales its column's vector, each category has a vector of its own.

    token_k = x_k w_k + b_k   (number)        token_k = e_k[category] + b_k   (category)

A missing inner cell is no token.  A category that was not in the training rows gives b_k alone.
Numbers are centred on the median and scaled by the interquartile range of the training rows, then squashed smoothly,
x / sqrt(1 + (x / 3)^2), so that outliers stay in reach.
Source: the feature tokenizer of Gorishniy et al., "Revisiting Deep Learning Models for Tabular Data", arXiv:2106.11959;
robust scaling and smooth clipping: Holzmüller et al., "Better by Default", arXiv:2407.04491.   Relatives: vector.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from plait.core.component import Count, Rate
from plait.core.packed import Packed, Tokens
from plait.core.part import Encoder, Modality, Place, Spec, Training

from ._standardise import cells_of
from ._trunk import Depth, Trunk

SAMPLE = 20_000


def squash(values: Tensor) -> Tensor:
    """x / sqrt(1 + (x / 3)^2): the identity near 0, within 3 everywhere."""
    return values / (1 + (values / 3).square()).sqrt()


def robust_scale(values: Tensor) -> tuple[Tensor, Tensor]:
    """Median and spread of each column of [n, K], NaN where missing -> [K] each; 0 and 1 where there is nothing.

    The spread is the interquartile range on the scale of a standard deviation; the standard deviation where the middle
    half is constant, 1 where all is.
    """
    quarters = torch.nanquantile(values.double(), torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64), dim=0)
    low, median, high = quarters.nan_to_num(0.0)
    spread = (high - low) / 1.349
    known = ~values.isnan()
    count = known.sum(0).clamp_min(1)
    mean = values.double().nansum(0) / count
    deviation = ((values.double() - mean).square().nansum(0) / count).sqrt()
    spread = torch.where(spread > 0, spread, deviation)
    return median.float(), torch.where(spread > 1e-6 * median.abs(), spread, torch.ones_like(spread)).float()


class Tabular(Encoder):
    """depth: transformer blocks within the modality."""

    kinds = ("tabular",)
    center: Tensor
    spread: Tensor
    learned: Tensor
    categories: Tensor
    offsets: Tensor

    def __init__(self, depth: Depth = 1, heads: Count = 4, dropout: Rate = 0.1) -> None:
        super().__init__()
        self.depth, self.heads, self.dropout = depth, heads, dropout

    def describe(self, modality: Modality) -> tuple[int, int]:
        return modality.shape[0], 1

    def build(self, spec: Spec, place: Place) -> None:
        if hasattr(self, "trunk"):
            return
        modality = spec.modalities[place.name]
        (columns,) = modality.shape
        named = modality.details.get("columns") or [{}] * columns
        categories = torch.tensor([len(column.get("categories") or ()) for column in named])
        self.register_buffer("categories", categories, persistent=False)
        self.register_buffer("offsets", categories.cumsum(0) - categories, persistent=False)
        self.register_buffer("center", torch.zeros(columns))
        self.register_buffer("spread", torch.ones(columns))
        self.register_buffer("learned", torch.zeros((), dtype=torch.bool))
        self.scale = nn.Parameter(nn.init.normal_(torch.empty(columns, spec.width), std=0.5))  # same: any small start
        self.bias = nn.Parameter(nn.init.normal_(torch.empty(columns, spec.width), std=0.5))  # same: any small start
        self.category = nn.Parameter(
            nn.init.normal_(torch.empty(int(categories.sum()), spec.width), std=0.5)  # same: any small start
        )
        self.trunk = Trunk(spec.width, self.depth, self.heads, self.dropout, place)

    def prepare(self, train: Training) -> None:
        samples = [cells.values for cells in cells_of(train, self.place.name, SAMPLE)]
        if self.learned or not samples:
            return
        center, spread = robust_scale(torch.cat(samples).cpu())
        self.center.copy_(center)
        self.spread.copy_(spread)
        self.learned.fill_(True)

    def cut(self, cells: Packed) -> Tokens:
        """[P, K] -> [P, K, 1]: an inner cell is a piece; a missing one holds 0 and does not exist."""
        mask = ~cells.values.isnan()
        values = cells.values.float().nan_to_num(0.0).unsqueeze(-1)
        return Tokens(values, cells.rows, mask, notes=cells.notes, blend=cells.blend)

    def paste(self, pieces: Tokens) -> Packed:
        values = pieces.values.squeeze(-1).masked_fill(~pieces.mask, torch.nan)
        return Packed(values, pieces.rows, notes=pieces.notes, blend=pieces.blend)

    def forward(self, pieces: Tokens, layers: int = 0) -> Tokens:
        visible = pieces.visible
        column = visible.nonzero()[:, 1]
        x = pieces.values[visible].squeeze(-1)
        categories = self.categories[column]
        number = squash((x - self.center[column]) / self.spread[column]).unsqueeze(-1) * self.scale[column]
        embedded = number.masked_fill((categories > 0).unsqueeze(-1), 0.0)
        # What is no category's code, as an unknown one, keeps nothing but its column.
        known = (x >= 0) & (x < categories)
        embedded[known] = self.category[self.offsets[column[known]] + x[known].long()].to(embedded.dtype)
        return self.trunk(embedded, self.bias, pieces, layers)

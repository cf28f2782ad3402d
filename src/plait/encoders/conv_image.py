"""Images through a small convolutional stem: one token per patch, each with a view of its surroundings.

The stem halves the image until a patch is one place.  A hidden patch is replaced by the mean colour first.
Source: Xiao et al., "Early Convolutions Help Transformers See Better", arXiv:2106.14881.   Relatives: conv_audio.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from plait.core.component import Count, Rate
from plait.core.packed import Packed, Tokens, tokens_of
from plait.core.part import Encoder, Modality, Place, Spec, Training

from ._conv import ChannelNorm, halvings
from ._standardise import Standardise, cells_of
from ._trunk import Depth, Trunk

SAMPLE = 2_000


class ConvImage(Encoder):
    """size: side of the square that images are decoded to, pixels.  patch: side of a token's patch, a power of two.

    channels: of the first convolution; each further one has twice as many, at most eight times.
    depth: transformer blocks within the modality.
    """

    kinds = ("image",)

    def __init__(
        self,
        size: Count = 64,
        patch: Count = 16,
        channels: Count = 32,
        depth: Depth = 1,
        heads: Count = 4,
        dropout: Rate = 0.1,
    ) -> None:
        super().__init__()
        self.halvings = halvings(patch)
        if size % patch:
            raise ValueError(f"size {size} is not a multiple of patch {patch}")
        self.size, self.patch, self.channels = size, patch, channels
        self.depth, self.heads, self.dropout = depth, heads, dropout

    def wants(self) -> dict[str, Any]:
        return {"size": self.size}

    def describe(self, modality: Modality) -> tuple[int, int]:
        return (self.size // self.patch) ** 2, 3 * self.patch**2

    def build(self, spec: Spec, place: Place) -> None:
        if hasattr(self, "stem"):
            return
        widths = [3, *(self.channels * 2 ** min(i, 3) for i in range(self.halvings))]
        steps: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            steps += [nn.Conv2d(inputs, outputs, 3, 2, 1), ChannelNorm(outputs), nn.GELU()]
        self.standardise = Standardise(3)
        self.stem = nn.Sequential(*steps, nn.Conv2d(widths[-1], spec.width, 1))
        tokens, _ = spec.pieces[place.name]
        self.places = nn.Parameter(nn.init.normal_(torch.empty(tokens, spec.width), std=0.02))  # same: any small start
        self.trunk = Trunk(spec.width, self.depth, self.heads, self.dropout, place)

    def prepare(self, train: Training) -> None:
        self.standardise.learn(cells.values.flatten(0, 2) / 255 for cells in cells_of(train, self.place.name, SAMPLE))

    def cut(self, cells: Packed) -> Tokens:
        """[P, S, S, 3] in 0..255 -> [P, T, 3 * patch^2] in 0..1: patches by row and column."""
        size = len(cells), self.size // self.patch, self.patch
        values = cells.values.reshape(*size, *size[1:], 3).transpose(2, 3).flatten(1, 2).flatten(2)
        return tokens_of(values.float() / 255, cells.rows, notes=cells.notes, blend=cells.blend)

    def paste(self, pieces: Tokens) -> Packed:
        pixels = (self._image(pieces.values) * 255).round().clamp(0, 255).to(torch.uint8)
        return Packed(pixels, pieces.rows, notes=pieces.notes, blend=pieces.blend)

    def _image(self, values: Tensor) -> Tensor:
        """[P, T, 3 * patch^2] -> [P, S, S, 3]."""
        across = self.size // self.patch
        values = values.reshape(len(values), across, across, self.patch, self.patch, 3)
        return values.transpose(2, 3).flatten(3, 4).flatten(1, 2)

    def forward(self, pieces: Tokens, layers: int = 0) -> Tokens:
        visible = pieces.visible
        values = self.standardise(torch.unflatten(pieces.values, 2, (-1, 3))).flatten(2)
        values = values.masked_fill(~visible.unsqueeze(2), 0.0)
        maps = self.stem(self._image(values).permute(0, 3, 1, 2))
        return self.trunk(maps.flatten(2).transpose(1, 2)[visible], self.places, pieces, layers)

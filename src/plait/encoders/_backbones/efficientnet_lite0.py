"""EfficientNet-Lite0, trained on ImageNet: the last feature map, at whatever resolution the images have."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor

from plait.core.errors import RecipeError

from .. import _efficientnet_lite as lite
from .._encoded import Encoded, fingerprint
from . import Backbone

STAGES = 8


class LiteBackbone(Backbone):
    """pooled: the means of the last `stages` feature maps, side by side: [P, 1280] of one, [P, 1904] of four.

    tokens: the places of the last map [P, T, 1280], row by row.
    """

    kind = "image"

    def __init__(self, model: lite.EfficientNetLite0, stages: int) -> None:
        super().__init__()
        self.model, self.stages = model, stages
        del self.model._fc

    def forward(self, cells: Sequence[Tensor]) -> Encoded:
        weight = self.model._conv_stem.weight
        pixels = torch.stack(list(cells)).permute(0, 3, 1, 2).to(weight.device, torch.float32)
        images = ((pixels - 127) / 128).to(weight.dtype, memory_format=torch.channels_last)
        maps = [one.float() for one in self.model.maps(images)[-self.stages :]]
        tokens = maps[-1].flatten(2).transpose(1, 2)
        pooled = torch.cat([one.mean((2, 3)) for one in maps], 1)
        return Encoded(pooled, tokens, tokens.new_ones(tokens.shape[:2], dtype=torch.bool))

    def fingerprint(self) -> str:
        return fingerprint(self.model, "(x - 127) / 128")


def load(name: str, kind: str, dtype: torch.dtype, stages: int) -> Backbone:
    if stages > STAGES:
        raise RecipeError(f"frozen: {name} has {STAGES} stages, found stages: {stages}.")
    return LiteBackbone(copy.deepcopy(lite.load(dtype)), stages)

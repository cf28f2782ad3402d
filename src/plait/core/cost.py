"""Counts that do not depend on the clock: multiply-adds and parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


def multiply_adds(function: Callable[[], Any]) -> int:
    """Multiply-adds of matrix products, convolutions and attention while `function` runs.

    Attention runs on its plain kernel meanwhile: the counter does not see inside the fused one on a CPU.
    """
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        function()
    return int(counter.get_total_flops()) // 2


def parameters(module: nn.Module, trainable: bool = False) -> int:
    """Number of parameters, shared ones once."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad or not trainable)

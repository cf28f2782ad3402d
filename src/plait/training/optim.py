"""Optimisers and the learning-rate schedule."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn

from plait.core.recipe import Training

_OPTIMIZERS: Mapping[str, Callable[..., torch.optim.Optimizer]] = {"adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}


def make(parameters: Iterable[nn.Parameter], settings: Training) -> torch.optim.Optimizer:
    """The optimiser of a recipe.  Vectors and scalars (biases, norms, temperatures) are not decayed."""
    ((name, arguments),) = settings.optimizer.items()
    arguments = dict(arguments)
    if "betas" in arguments:
        arguments["betas"] = tuple(arguments["betas"])
    decay = arguments.pop("weight_decay", 0.0)
    parameters = list(parameters)
    # One kernel for all parameters, where there is one.
    fused = all(p.device.type in ("cpu", "cuda") for p in parameters)
    groups: list[dict[str, Any]] = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    optimizer = _OPTIMIZERS[name]([group for group in groups if group["params"]], fused=fused, **arguments)
    for group in optimizer.param_groups:
        group["base_lr"] = group["lr"]
    if arguments.get("momentum"):
        # 0 is what the first gradient starts from.  The fused kernel starts all of a group at once or none, and fails
        # where nobody in the first batches has some modality, whose parameters then have no gradient yet.
        for parameter in parameters:
            optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimizer


def factor(settings: Training, step: int, total: int) -> float:
    """Share of the learning rate at `step` of `total`: linear warm-up, then cosine to zero or constant."""
    warmup = round(settings.warmup * total)
    if step < warmup:
        return (step + 1) / warmup
    if settings.schedule == "constant":
        return 1.0
    done = (step - warmup) / max(1, total - warmup)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def set_rate(optimizer: torch.optim.Optimizer, share: float) -> float:
    """Set every group's rate to `share` of its own; -> the first group's."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * share
    return float(optimizer.param_groups[0]["lr"]) if optimizer.param_groups else 0.0


class Average:
    """Exponential moving average of the parameters that learn; buffers are as they are.

    The momentum starts low, min(m, (1 + t) / (10 + t)), or the average would remember the initialisation.
    """

    def __init__(self, module: nn.Module, momentum: float) -> None:
        self.momentum = momentum
        self.steps = 0
        self.parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}
        self.tensors = {name: p.detach().clone() for name, p in self.parameters.items()}

    @torch.no_grad()
    def update(self) -> None:
        if self.tensors:
            momentum = min(self.momentum, (1 + self.steps) / (10 + self.steps))
            torch._foreach_lerp_(list(self.tensors.values()), list(self.parameters.values()), 1 - momentum)
        self.steps += 1

    def swap(self) -> None:
        """Parameters and their average change places; nothing is copied."""
        for name, p in self.parameters.items():
            p.data, self.tensors[name] = self.tensors[name], p.data

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps, "tensors": self.tensors}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.steps, self.tensors = state["steps"], dict(state["tensors"])

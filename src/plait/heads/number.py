"""A number: least squares in units of the training rows' spread.

    loss = 1/2 ((y - mean) / std - (w h + b))^2,   prediction = mean + std (w h + b)

Half the squared error is a Gaussian's negative log-likelihood at unit variance, up to a constant.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from plait.core.part import Head, Place, Spec, Training


class Number(Head):
    kinds = ("number",)
    kind = "mean"

    mean: Tensor | None
    std: Tensor | None

    def __init__(self) -> None:
        super().__init__()
        self.linear: nn.Linear | None = None
        self.register_buffer("mean", None)
        self.register_buffer("std", None)

    def build(self, spec: Spec, place: Place) -> None:
        if self.linear is None:
            self.linear = nn.Linear(spec.width, 1)

    def prepare(self, train: Training) -> None:
        """Once: what has been learned stands on these."""
        if self.mean is not None:
            return
        truth = train.target(self.place.name).values.double()
        std, mean = torch.std_mean(truth, correction=0) if len(truth) else (torch.ones(()), torch.zeros(()))
        self.mean, self.std = mean, std if std > 0 else torch.ones_like(std)

    def decide(self, values: Tensor) -> Tensor:
        """[P, D] -> standardised means [P, 1]."""
        assert self.linear is not None
        return self.linear(values)

    def loss(self, params: Tensor, truth: Tensor) -> Tensor:
        """params: [P, 1], truth: [P] in the user's unit -> [P]."""
        if self.mean is not None and self.std is not None:
            truth = (truth - self.mean) / self.std
        return (params.squeeze(1).float() - truth.float()).square() / 2

    def predict(self, params: Tensor) -> Tensor:
        """Numbers in the user's unit, [P] float64."""
        standard = params.squeeze(1).double()
        return standard if self.mean is None or self.std is None else self.mean + self.std * standard

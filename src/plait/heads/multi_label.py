"""Any number of C labels at once: one logistic regression each.

    loss = mean over known labels c of  -log sigmoid(+-(W h + b + logit prior)_c)

A label that is NaN in the truth is unknown and does not count.  The logits start from the labels' frequencies.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from plait.core.part import Head, Place, Spec, Training


class MultiLabel(Head):
    kinds = ("multi_label",)
    kind = "logits"

    logit_prior: Tensor | None

    def __init__(self) -> None:
        super().__init__()
        self.linear: nn.Linear | None = None
        self.register_buffer("logit_prior", None)

    def build(self, spec: Spec, place: Place) -> None:
        if self.linear is None:
            self.linear = nn.Linear(spec.width, spec.targets[place.name].size)

    def prepare(self, train: Training) -> None:
        """Once: what has been learned stands on it."""
        if self.logit_prior is not None:
            return
        assert self.linear is not None
        truth = train.target(self.place.name).values.to(self.linear.weight)
        yes, known = torch.nansum(truth, 0), (~truth.isnan()).sum(0)
        self.logit_prior = ((yes + 1) / (known + 2)).logit()

    def decide(self, values: Tensor) -> Tensor:
        """[P, D] -> logits [P, C]."""
        assert self.linear is not None
        logits = self.linear(values)
        return logits if self.logit_prior is None else logits + self.logit_prior

    def loss(self, params: Tensor, truth: Tensor) -> Tensor:
        """params: [P, C], truth: [P, C] of 0, 1 and NaN -> [P], nats; 0 where nothing is known."""
        known = ~truth.isnan()
        each = F.binary_cross_entropy_with_logits(params, truth.nan_to_num().to(params.dtype), reduction="none")
        return (each * known).sum(1) / known.sum(1).clamp_min(1)

    def predict(self, params: Tensor) -> Tensor:
        """Probabilities, [P, C]."""
        return params.sigmoid()

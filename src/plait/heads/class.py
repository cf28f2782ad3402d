"""One of C classes: softmax and cross-entropy.

    loss = -w_y sum_c q_c log softmax(W h + b + log prior)_c,   q = (1 - s) [c = y] + s / C

The logits start from the classes' log frequencies in training, so that learning begins at the base rate.  w is 1, or
n / (C n_c) if balanced; s is label smoothing: Szegedy et al., arXiv:1512.00567.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from plait.core.component import Rate
from plait.core.part import Head, Place, Spec, Training


class Class(Head):
    """label_smoothing: share of the truth that goes to all classes alike.

    weighting: balanced lets every class weigh the same in the loss, whatever its number of rows.
    """

    kinds = ("class",)
    kind = "logits"

    log_prior: Tensor | None
    weight: Tensor | None

    def __init__(self, label_smoothing: Rate = 0.0, weighting: Literal["none", "balanced"] = "none") -> None:
        super().__init__()
        self.label_smoothing, self.weighting = label_smoothing, weighting
        self.linear: nn.Linear | None = None
        self.register_buffer("log_prior", None)
        self.register_buffer("weight", None)

    def build(self, spec: Spec, place: Place) -> None:
        if self.linear is None:
            self.linear = nn.Linear(spec.width, spec.targets[place.name].size)

    def prepare(self, train: Training) -> None:
        """Once: what has been learned stands on these."""
        if self.log_prior is not None:
            return
        assert self.linear is not None
        counts = torch.bincount(train.target(self.place.name).values.cpu(), minlength=self.linear.out_features) + 1.0
        counts = counts.to(self.linear.weight)
        if self.weighting == "balanced":
            # The classes weigh the same, so the base rate is even.
            self.log_prior = torch.zeros_like(counts)
            self.weight = counts.sum() / (len(counts) * counts)
        else:
            self.log_prior = (counts / counts.sum()).log()

    def decide(self, values: Tensor) -> Tensor:
        """[P, D] -> logits [P, C]."""
        assert self.linear is not None
        logits = self.linear(values)
        return logits if self.log_prior is None else logits + self.log_prior

    def loss(self, params: Tensor, truth: Tensor) -> Tensor:
        """params: [P, C], truth: [P] codes -> [P], nats."""
        loss = F.cross_entropy(params, truth, reduction="none", label_smoothing=self.label_smoothing)
        return loss if self.weight is None else loss * self.weight[truth]

    def score(self, params: Tensor, truth: Tensor) -> Tensor:
        """The probability of the true class, [P]."""
        return params.softmax(1).gather(1, truth.unsqueeze(1)).squeeze(1)

    def predict(self, params: Tensor) -> Tensor:
        """Probabilities, [P, C]."""
        return params.softmax(1)

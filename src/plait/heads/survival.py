"""Time to an event, some rows censored: Cox's proportional hazards.

    hazard(t | h) = hazard_0(t) exp(w h)
    loss_i = event_i ( log sum_{j: t_j >= t_i} exp(w h_j)  -  w h_i )

The risk set {j: t_j >= t_i} is that of the batch: the negative log partial likelihood of a random sample of the cohort,
as in nested case-control studies.  Larger batches give better estimates, and a sample's loss depends on the others.
Tied events share Efron's correction, or Breslow's.  Censored rows lose nothing themselves.
Sources: Cox (1972), "Regression models and life-tables"; Efron, JASA 72 (1977); batches: Kvamme et al.,
arXiv:1907.00825.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from plait.core.part import Head, Place, Spec

Ties = Literal["efron", "breslow"]


def cox(log_hazard: Tensor, time: Tensor, event: Tensor, ties: Ties = "efron") -> Tensor:
    """Negative log partial likelihood, each event's share.  log_hazard, time: [P]; event: [P] bool.  ->  [P], nats.

    The terms of events at one time are shared equally, so that the order of samples does not matter.
    """
    if not len(time):
        return log_hazard
    distinct, group, sizes = torch.unique(time, return_inverse=True, return_counts=True)
    order = group.argsort(descending=True)
    # Log-sums over all who are still at risk, at the last of each time's own samples.
    at_risk = log_hazard[order].logcumsumexp(0).flip(0)[sizes.cumsum(0) - sizes]
    deaths = torch.zeros_like(sizes).index_add(0, group, event.long())
    total = at_risk * deaths
    if ties == "efron":
        share = torch.zeros_like(at_risk).index_add(0, group[event], (log_hazard - at_risk[group])[event].exp())
        first = deaths.cumsum(0) - deaths
        owner = torch.repeat_interleave(torch.arange(len(distinct), device=time.device), deaths)
        before = torch.arange(len(owner), device=time.device) - first[owner]
        total = total.index_add(0, owner, torch.log1p(-share[owner] * before / deaths[owner]))
    return torch.where(event, total[group] / deaths[group].clamp_min(1) - log_hazard, 0)


class Survival(Head):
    """ties: how events at the same time are treated."""

    kinds = ("survival",)
    kind = "log_hazard"

    def __init__(self, ties: Ties = "efron") -> None:
        super().__init__()
        self.ties: Ties = ties
        self.linear: nn.Linear | None = None

    def build(self, spec: Spec, place: Place) -> None:
        if self.linear is None:
            # A constant cancels out of the partial likelihood, so there is no bias.
            self.linear = nn.Linear(spec.width, 1, bias=False)

    def decide(self, values: Tensor) -> Tensor:
        """[P, D] -> log-hazards [P, 1]."""
        assert self.linear is not None
        return self.linear(values)

    def loss(self, params: Tensor, truth: Tensor) -> Tensor:
        """params: [P, 1], truth: [P, 2] of times and 1 for an event, 0 for censored -> [P], nats."""
        return cox(params.squeeze(1).float(), truth[:, 0], truth[:, 1] > 0, self.ties)

    def predict(self, params: Tensor) -> Tensor:
        """Hazard ratios against a log-hazard of 0, [P]."""
        return params.squeeze(1).exp()

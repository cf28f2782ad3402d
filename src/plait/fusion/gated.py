"""Gates decide, feature by feature, how much each present modality says.

    h = sum_{m present} g_m * tanh(W_m x_m),   g = softmax over present m, or sigmoid, of  V_m [x_m; mean of present x]

x_m is the mean over tokens.  A sample with one modality has the gate 1 under softmax.
Relative of the gated multimodal unit: Arevalo et al., arXiv:1702.01992, whose gates read all modalities concatenated
and so need all of them; here they read the mean of what is there.  Relatives: mean, concatenation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from plait.core.named import Named
from plait.core.packed import Fused, Packed, Tokens, mean_over
from plait.core.part import Fusion, Place, Spec
from plait.core.random import seeded, spawn

from ._pooled import nobody, pooled


def softmax_over_present(scores: Mapping[str, Packed], size: int) -> dict[str, Packed]:
    """Each modality's share, feature by feature.  scores: [P, D] each.  -> [P, D] each, sums to 1 over present ones."""
    first = next(iter(scores.values())).values
    highest = first.new_full((size, first.shape[1]), -torch.inf)
    for part in scores.values():
        index = part.rows.unsqueeze(1).expand_as(part.values)
        highest = highest.scatter_reduce(0, index, part.values.detach(), "amax")
    powers = {name: part.with_(values=(part.values - highest[part.rows]).exp()) for name, part in scores.items()}
    total = first.new_zeros(size, first.shape[1])
    for part in powers.values():
        total = total.index_add(0, part.rows, part.values)
    return {name: part.with_(values=part.values / total[part.rows]) for name, part in powers.items()}


class Gated(Fusion):
    """gate: softmax (the gates of a sample sum to 1) or sigmoid (each for itself)."""

    def __init__(self, gate: Literal["softmax", "sigmoid"] = "softmax") -> None:
        super().__init__()
        self.gate = gate
        self.maps, self.gates = Named(), Named()

    def build(self, spec: Spec, place: Place) -> None:
        self.width = spec.width
        base = spawn()
        for name in spec.names:
            if name not in self.maps:
                with seeded(base, name):
                    self.maps[name] = nn.Linear(spec.width, spec.width)
                    self.gates[name] = nn.Linear(2 * spec.width, spec.width)

    def forward(self, tokens: dict[str, Tokens], size: int, g: torch.Generator) -> Fused:
        """tokens: values [P, T, D] each.  -> values [P, D]."""
        if not tokens:
            none = nobody(self.width, next(self.parameters()).device)  # same: for its device
            return Fused(none.values, none.rows)
        said = pooled(tokens)
        company = mean_over(said, size)
        gates = self._gates(said, company, size)
        total = company.values.new_zeros(size, self.width)
        for name, part in said.items():
            total = total.index_add(0, part.rows, gates[name].values * torch.tanh(self.maps[name](part.values)))
        return Fused(total[company.rows], company.rows)

    def _gates(self, said: Mapping[str, Packed], company: Packed, size: int) -> dict[str, Packed]:
        scores = {}
        for name, part in said.items():
            around: Tensor = company.on(part.rows).values
            scores[name] = part.with_(values=self.gates[name](torch.cat([part.values, around], 1)))
        if self.gate == "softmax":
            return softmax_over_present(scores, size)
        return {name: part.with_(values=part.values.sigmoid()) for name, part in scores.items()}

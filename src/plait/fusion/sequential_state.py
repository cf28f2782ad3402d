"""A state is passed from modality to modality, and can be read after each.

    s_0 = learned;   s_k = V_k relu(U_k x_k + c_k) + S_k s_{k-1} + b_k   if the sample has modality k,   else s_{k-1}
    fused = the last state,   own loss = penalty * 1/M sum_{k present} mean_d (s_k - s_{k-1})_d^2

x_k is the mean over tokens; S begins as the identity.  An absent modality is skipped, sample by sample, so nothing is
learned from a stand-in for it.  Every state that a sample goes through is a readout for the same heads: the learned one
(`start`) and those after each modality (`after NAME`) as `Fused.steps`, the last one as the fused vector itself.
With one modality and no state it would be a perceptron of two layers.  The order is that of the schema.
Source: Swamy et al., "MultiModN", arXiv:2309.14118.   Relatives: concatenation, its parallel counterpart.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from plait.core.component import NonNegative
from plait.core.named import Named
from plait.core.outputs import Outputs
from plait.core.packed import Fused, Packed, Tokens
from plait.core.part import Fusion, Place, Spec, Terms
from plait.core.random import seeded, spawn

from ._pooled import pooled


class _Update(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.hidden, self.out, self.state = nn.Linear(width, width), nn.Linear(width, width), nn.Linear(width, width)
        nn.init.eye_(self.state.weight)
        nn.init.zeros_(self.state.bias)

    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        """x, state: [P, D].  -> the next state [P, D]."""
        new: Tensor = self.out(F.relu(self.hidden(x))) + self.state(state)
        return new


class SequentialState(Fusion):
    """penalty: of how far each modality moves the state."""

    def __init__(self, penalty: NonNegative = 0.01) -> None:
        super().__init__()
        self.penalty = penalty
        self.updates = Named()

    def build(self, spec: Spec, place: Place) -> None:
        base = spawn()
        for name in spec.names:
            if name not in self.updates:
                with seeded(base, name):
                    self.updates[name] = _Update(spec.width)
        if not hasattr(self, "start"):
            self.start = nn.Parameter(0.02 * torch.randn(spec.width))  # same: any small start

    def forward(self, tokens: dict[str, Tokens], size: int, g: torch.Generator) -> Fused:
        """tokens: values [P, T, D] each.  -> values [P, D], steps, and how far each state moved as a note [P]."""
        cells = pooled(tokens)
        everyone = torch.arange(size, device=self.start.device)
        state = self.start.expand(size, -1)
        last = torch.full((size,), -1, device=self.start.device)
        for k, name in enumerate(self.updates):
            if name in cells:
                last[cells[name].rows] = k
        moved = state.new_zeros(size)
        steps = {"start": Packed(state, everyone)}
        for k, name in enumerate(self.updates):
            part = cells.get(name)
            if part is not None:
                old = state[part.rows]
                new = self.updates[name](part.values, old)
                state = state.index_copy(0, part.rows, new)
                moved = moved.index_add(0, part.rows, (new - old).square().mean(1) / len(self.updates))
            goes_on = everyone[:0] if part is None else part.rows[last[part.rows] > k]
            steps[f"after {name}"] = Packed(state[goes_on], goes_on)
        rows = everyone[last >= 0]
        return Fused(state[rows], rows, notes={"moved": moved[rows]}, steps=steps)

    def terms(self, out: Outputs, g: torch.Generator) -> Terms:
        if self.penalty == 0:
            return {}
        return {"moved": Packed(self.penalty * out.fused.notes["moved"], out.fused.rows)}

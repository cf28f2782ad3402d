"""Gated multimodal unit: every gate reads all modalities.

    two modalities:   h = z * tanh(W_a x_a) + (1 - z) * tanh(W_b x_b),   z = sigmoid(U_a x_a + U_b x_b)
    more:             h = sum_m z_m * tanh(W_m x_m),   z_m = sigmoid(sum_k U_mk x_k)

x_m is the mean over tokens; U [x_1; ...; x_M] is written as the sum of its blocks, so an absent modality is left out of
the gates and nothing stands in for it.  Of two modalities, the one that a sample has alone is let through whole, the
limit of z, as a network's only one is.  Of more, each gate is its own sigmoid, and they do not sum to 1.  As in the
paper there are no biases.
Source: Arevalo et al., "Gated Multimodal Units for Information Fusion", arXiv:1702.01992.
Relatives: gated, whose gates read their own modality and the mean of all, so that with more than two modalities no gate
can tell which of the others said what; with two and softmax it has the same form as this one.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from plait.core.errors import RecipeError
from plait.core.named import Named
from plait.core.packed import Fused, Packed, Tokens
from plait.core.part import Fusion, Place, Spec
from plait.core.random import seeded, spawn

from ._pooled import nobody, pooled


def weighed(said: Mapping[str, Packed], gates: Mapping[str, Tensor], size: int) -> Tensor:
    """sum_m z_m * said_m.  said: [P, D] each, gates: [size, D] each.  -> [size, D], 0 where nobody says anything."""
    first = next(iter(said.values())).values
    total = first.new_zeros(size, first.shape[1])
    for name, part in said.items():
        total = total.index_add(0, part.rows, gates[name][part.rows] * part.values)
    return total


class GatedMultimodalUnit(Fusion):
    """A unit of two modalities has one gate and its complement, so it cannot grow to three: RecipeError."""

    def __init__(self) -> None:
        super().__init__()
        self.maps, self.gates = Named(), Named()

    def build(self, spec: Spec, place: Place) -> None:
        self.width, self.names = spec.width, spec.names
        if 0 < len(self.maps) <= 2 < len(spec.names):
            raise RecipeError(
                f"{place}: it was built for {len(self.maps)} of {len(spec.names)} modalities, and more than two have "
                "gates of another form. Train a new network, or use fusion: gated."
            )
        base = spawn()
        for name in spec.names:
            if name not in self.maps:
                with seeded(base, name):
                    self.maps[name] = nn.Linear(spec.width, spec.width, bias=False)
        for name in spec.names if len(spec.names) > 2 else spec.names[: len(spec.names) - 1]:
            if name not in self.gates:
                self.gates[name] = Named()
            blocks = self.gates[name]
            assert isinstance(blocks, Named)
            for read in spec.names:
                if read not in blocks:
                    with seeded(base, name, read):
                        blocks[read] = nn.Linear(spec.width, spec.width, bias=False)

    def forward(self, tokens: dict[str, Tokens], size: int, g: torch.Generator) -> Fused:
        """tokens: values [P, T, D] each.  -> values [P, D]."""
        cells = pooled(tokens)
        if not cells:
            none = nobody(self.width, next(self.parameters()).device)  # same: for its device
            return Fused(none.values, none.rows)
        said = {name: part.with_(values=torch.tanh(self.maps[name](part.values))) for name, part in cells.items()}
        values = weighed(said, self.gated(cells, size), size)
        rows = torch.stack([part.present(size) for part in cells.values()]).any(0).nonzero().squeeze(1)
        return Fused(values[rows], rows)

    def gated(self, cells: Mapping[str, Packed], size: int) -> dict[str, Tensor]:
        """How far each modality is let through.  cells: [P, D] each.  -> [size, D] each; [size, 1] of an only one."""
        out = {}
        for name, blocks in self.gates.items():
            total = next(iter(cells.values())).values.new_zeros(size, self.width)
            for read, part in cells.items():
                total = total.index_add(0, part.rows, blocks[read](part.values))
            out[name] = total.sigmoid()
        if len(self.names) == 1:
            return {name: part.present(size).to(part.values.dtype).unsqueeze(1) for name, part in cells.items()}
        if len(self.names) == 2:
            a, b = self.names
            nothing = torch.zeros(size, dtype=torch.bool, device=out[a].device)
            has_a, has_b = (cells[name].present(size) if name in cells else nothing for name in (a, b))
            alone = (has_a & ~has_b).to(out[a].dtype).unsqueeze(1)
            z = torch.where((has_a & has_b).unsqueeze(1), out[a], alone)
            out = {a: z, b: 1 - z}
        return out

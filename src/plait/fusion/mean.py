"""Fused = the mean of what each present modality says.

    h = 1/|present| sum_{m present} mean over tokens of x_m

No parameters; the same as pooling all tokens where every modality has equally many.  Relatives: concatenation, gated.
"""

from __future__ import annotations

import torch

from plait.core.packed import Fused, Tokens, mean_over
from plait.core.part import Fusion, Place, Spec

from ._pooled import pooled


class Mean(Fusion):
    def build(self, spec: Spec, place: Place) -> None:
        self.width = spec.width

    def forward(self, tokens: dict[str, Tokens], size: int, g: torch.Generator) -> Fused:
        """tokens: values [P, T, D] each.  -> values [P, D]."""
        if not tokens:
            return Fused(torch.zeros(0, self.width), torch.zeros(0, dtype=torch.long))
        fused = mean_over(pooled(tokens), size)
        return Fused(fused.values, fused.rows)

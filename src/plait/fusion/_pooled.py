"""What the fusions over one vector per modality share."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from plait.core.packed import Packed, Tokens, mean_over


def pooled(tokens: Mapping[str, Tokens]) -> dict[str, Packed]:
    """Each modality's mean over visible tokens, values [P, D]; cells without any are left out."""
    out = {}
    for name, part in tokens.items():
        seen = part.visible.any(1)
        out[name] = (part if bool(seen.all()) else part.take(seen)).pooled()
    return out


def weighted_mean(cells: Mapping[str, Packed], weights: Mapping[str, Tensor], size: int) -> Packed:
    """Mean over the modalities that a sample has, each with its weight.  cells: [P, D] each -> values [P, D]."""
    parts = {
        name: Packed(torch.cat([part.values * weights[name], weights[name].expand(len(part), 1)], 1), part.rows)
        for name, part in cells.items()
    }
    total = mean_over(parts, size)
    return total.with_(values=total.values[:, :-1] / total.values[:, -1:])


def nobody(width: int, device: torch.device) -> Packed:
    """Zero samples of `width` values."""
    return Packed(torch.zeros(0, width, device=device), torch.zeros(0, dtype=torch.long, device=device))

"""What the fusions over one vector per modality share."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from plait.core.packed import Packed, Tokens


def pooled(tokens: Mapping[str, Tokens]) -> dict[str, Packed]:
    """Each modality's mean over visible tokens, values [P, D]; cells without any are left out."""
    out = {}
    for name, part in tokens.items():
        seen = part.visible.any(1)
        out[name] = (part if bool(seen.all()) else part.take(seen)).pooled()
    return out


def nobody(width: int, device: torch.device) -> Packed:
    """Zero samples of `width` values."""
    return Packed(torch.zeros(0, width, device=device), torch.zeros(0, dtype=torch.long, device=device))

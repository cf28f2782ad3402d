"""Training hides each present cell with a probability, so that the rest learns to do without it.

Hidden cells are taken out before they are encoded: they cost nothing.  A sample always keeps one modality.
Source: Neverova et al., "ModDrop", arXiv:1501.00102, which replaces dropped cells by zeros.  Relative: learned_tokens.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from plait.core.component import Rate
from plait.core.meter import Meter
from plait.core.part import Missing


class ModalityDropout(Missing):
    """rate: share of the present cells that a training pass does not see."""

    at: Literal["cells", "tokens"] = "cells"

    def __init__(self, rate: Rate = 0.2) -> None:
        super().__init__()
        self.rate = rate

    def hide(self, present: Tensor, meter: Meter, g: torch.Generator) -> Tensor:
        """present: [B, M] -> [B, M], True where a cell is to be hidden."""
        return present & (torch.rand(present.shape, generator=g) < self.rate).to(present.device)

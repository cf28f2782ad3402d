"""Takes whole cells away at random, so that two views of a sample differ in what it has.

Each present cell goes with probability `rate`; a sample keeps at least one of its own.  Unlike the Missing component
modality_dropout this holds for the passes that ask for the view alone.  Relatives: noise, hide.
"""

from __future__ import annotations

import torch

from plait.core.component import Rate
from plait.core.packed import Batch
from plait.core.part import Place, Spec, View

from ._chosen import chosen


class Drop(View):
    """rate: share of the cells.  modalities: which; null: all."""

    def __init__(self, rate: Rate = 0.5, modalities: list[str] | None = None) -> None:
        super().__init__()
        self.rate, self.modalities = rate, modalities

    def build(self, spec: Spec, place: Place) -> None:
        self.names = chosen(spec, place, self.modalities)

    def cells(self, batch: Batch, g: torch.Generator) -> Batch:
        if not batch.modalities:
            return batch
        present = batch.present
        may = torch.tensor([name in self.names for name in batch.modalities], device=present.device)
        draw = torch.rand(present.shape, generator=g).to(present.device)
        keep = present & ~(may & (draw < self.rate))
        lost = present.any(1) & ~keep.any(1)
        # The draws are exchangeable, so the highest is a fair choice of what stays.
        keep[lost, draw.masked_fill(~present, -1).argmax(1)[lost]] = True
        return batch.keep(keep)

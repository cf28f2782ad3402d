"""Every training row once per epoch, in random order.

Batches differ by one row at most and none is dropped, so the last is no smaller than the rest.  Relative: balanced.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from plait.core.meter import Meter
from plait.core.part import Draw, Index, Sampler


class Shuffled(Sampler):
    def epoch(self, index: Index, size: int, meter: Meter, g: torch.Generator) -> Iterator[Draw]:
        if index.size:
            for rows in torch.randperm(index.size, generator=g).tensor_split(self.length(index, size)):
                yield Draw(rows)

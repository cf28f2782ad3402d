"""Numbers on the scale of the training rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from plait.core.packed import Packed
from plait.core.part import Training


def cells_of(train: Training, name: str, limit: int) -> Iterator[Packed]:
    """A modality's cells in about `limit` training rows, batch by batch."""
    for batch in train.batches(limit):
        cells = batch.modalities.get(name)
        if cells is not None and len(cells):
            yield cells


class Standardise(nn.Module):
    """(x - mean) / std for each feature, [..., C] -> [..., C], at most `bound` away from 0.

    Until `learn` has seen anything it changes nothing but outliers.  What it has learned it keeps: weights are trained
    on that scale.
    """

    mean: Tensor
    std: Tensor
    learned: Tensor

    def __init__(self, *shape: int, bound: float = 10.0) -> None:
        super().__init__()
        self.bound = bound
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("std", torch.ones(shape))
        self.register_buffer("learned", torch.zeros((), dtype=torch.bool))

    def forward(self, values: Tensor) -> Tensor:
        # A far outlier, or a feature that training rows hardly vary in, must not drown the others.
        return ((values - self.mean) / self.std).clamp(-self.bound, self.bound)

    def learn(self, samples: Iterable[Tensor]) -> None:
        """samples: [n, ...] each, NaN where nothing is known.  Features without variance are only centred."""
        if self.learned:
            return
        count = torch.zeros(self.mean.shape, dtype=torch.float64)
        mean, square = torch.zeros_like(count), torch.zeros_like(count)
        for sample in samples:
            # Merged batch by batch (Chan et al., 1979): sums of squares would lose time stamps' digits.
            x = sample.detach().to("cpu", torch.float64)
            known = ~x.isnan()
            n = known.sum(0)
            own = x.nansum(0) / n.clamp_min(1)
            off, total = own - mean, count + n
            square += (x - own).square().nansum(0) + off.square() * count * n / total.clamp_min(1)
            mean += off * n / total.clamp_min(1)
            count = total
        if not bool(count.any()):
            return
        std = (square / count.clamp_min(1)).sqrt()
        std = torch.where(std > 1e-6 * mean.abs(), std, torch.ones_like(std))
        self.mean.copy_(mean)
        self.std.copy_(std)
        self.learned.fill_(True)

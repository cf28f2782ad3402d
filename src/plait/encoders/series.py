"""Time series with any times, gaps and lengths: one token per patch of steps.

    token_p = W [x_s * o_s, o_s, log(1 + (t_s - t_{s-1}) / step)]_{s in p} + position((t_p - t_0) / step)

x are the standardised channels, o says which were observed, t are the times and `step` is the median gap of the
training rows.  Shifting all times changes nothing, nor does another unit of time.  A patch without any observation is
no token.
Source: patches of steps: Nie et al., "A Time Series is Worth 64 Words", arXiv:2211.14730.   Relatives: tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from plait.core.component import Count, Rate
from plait.core.packed import Packed, Tokens
from plait.core.part import Encoder, Modality, Place, Spec, Training

from ._standardise import Standardise, cells_of
from ._trunk import Depth, Positions, Trunk, lengths, within

SAMPLE = 2_000


class Series(Encoder):
    """patch: steps of a token.  depth: transformer blocks within the modality."""

    kinds = ("series",)
    step: Tensor

    def __init__(self, patch: Count = 8, depth: Depth = 1, heads: Count = 4, dropout: Rate = 0.1) -> None:
        super().__init__()
        self.patch, self.depth, self.heads, self.dropout = patch, depth, heads, dropout

    def describe(self, modality: Modality) -> tuple[int, int]:
        return 0, self.patch * (modality.shape[-1] - 1)

    def build(self, spec: Spec, place: Place) -> None:
        if hasattr(self, "linear"):
            return
        _, size = spec.pieces[place.name]
        self.standardise = Standardise(size // self.patch)
        self.register_buffer("step", torch.ones(()))
        self.linear = nn.Linear(2 * size + self.patch, spec.width)
        self.positions = Positions(spec.width)
        self.trunk = Trunk(spec.width, self.depth, self.heads, self.dropout, place)

    def prepare(self, train: Training) -> None:
        if self.standardise.learned:
            return
        sample = [self._steps(cells) for cells in cells_of(train, self.place.name, SAMPLE)]
        self.standardise.learn(values for values, _ in sample)
        gaps = torch.cat([torch.zeros(0), *(gaps.cpu() for _, gaps in sample)])
        gaps = gaps[gaps > 0]
        if len(gaps):
            self.step.copy_(gaps.median())

    def _steps(self, cells: Packed) -> tuple[Tensor, Tensor]:
        """The channels of all steps [n, C], and the gaps between them [n - P]."""
        exists = within(lengths(cells), cells.values.shape[1])
        return cells.values[..., 1:][exists], cells.values[..., 0].diff(dim=1)[exists[:, 1:]]

    def cut(self, cells: Packed) -> Tokens:
        """[P, T', 1 + C] -> [P, T, patch * C], 0 where nothing was observed.

        notes: "observed" [P, T, patch * C] bool, "time" [P, T, patch]; both are free of what lies beyond a cell's end.
        """
        length = lengths(cells)
        padded = F.pad(cells.values.float(), (0, 0, 0, -cells.values.shape[1] % self.patch))
        exists = within(length, padded.shape[1])
        time = padded[..., 0].masked_fill(~exists, 0.0)
        observed = exists.unsqueeze(2) & ~padded[..., 1:].isnan()
        channels = padded[..., 1:].where(observed, 0.0)
        observed = torch.unflatten(observed, 1, (-1, self.patch)).flatten(2)
        notes = {"length": length, "observed": observed, "time": torch.unflatten(time, 1, (-1, self.patch))}
        return Tokens(
            torch.unflatten(channels, 1, (-1, self.patch)).flatten(2),
            cells.rows,
            observed.any(2),
            notes=cells.notes | notes,
            blend=cells.blend,
        )

    def paste(self, pieces: Tokens) -> Packed:
        values = pieces.values.masked_fill(~pieces.notes["observed"], torch.nan)
        channels = torch.unflatten(values, 2, (self.patch, -1)).flatten(1, 2)
        steps = torch.cat([pieces.notes["time"].flatten(1).unsqueeze(2), channels], 2)
        length = pieces.notes["length"]
        steps = steps.masked_fill(~within(length, steps.shape[1]).unsqueeze(2), 0.0)[:, : int(length.max())]
        return Packed(steps, pieces.rows, notes={"length": length}, blend=pieces.blend)

    def forward(self, pieces: Tokens, layers: int = 0) -> Tokens:
        visible, observed = pieces.visible, pieces.notes["observed"]
        time = pieces.notes["time"] / self.step
        # Gaps within a patch only: a hidden neighbour must not show through them.
        gaps = F.pad(time[visible].diff(dim=1), (1, 0)).clamp_min(0).log1p()
        seen = observed[visible]
        values = self.standardise(torch.unflatten(pieces.values[visible], 1, (self.patch, -1))).flatten(1)
        values = values.masked_fill(~seen, 0.0)
        embedded = self.linear(torch.cat([values, seen.to(values.dtype), gaps], 1))
        return self.trunk(embedded, self.positions(time[..., 0] - time[:, :1, 0]), pieces, layers)

"""Sound as log-mel frames through convolutions over time: one token per patch of frames.

Frames are 10 ms apart.  Eight of them at a time are mapped to one place, which is one matrix product; convolutions
then halve the time until a patch is one place, over all sounds of a batch in one line, so that a short one does not
pay for a long one.  Hidden patches and what lies beyond the end are zero at every step.
Relatives: conv_image, frozen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from plait.core.component import Count, Positive, Rate
from plait.core.packed import Packed, Tokens
from plait.core.part import Encoder, Modality, Place, Spec, Training

from ._conv import ChannelNorm, halvings
from ._logmel import RATE, log_mel
from ._standardise import Standardise, cells_of
from ._trunk import Depth, Positions, Trunk, lengths, within

TOGETHER = 8
"""Frames that make the first place."""
SAMPLE = 2_000
FLOOR = -8.0
"""log10 of the least power: what silence has."""


class ConvAudio(Encoder):
    """seconds: of the beginning that are heard.  mels: bands.  patch: frames of a token, a power of two.

    channels: of every convolution.  depth: transformer blocks within the modality.
    """

    kinds = ("audio",)

    def __init__(
        self,
        seconds: Positive = 10.0,
        mels: Count = 64,
        patch: Count = 64,
        channels: Count = 32,
        depth: Depth = 0,
        heads: Count = 4,
        dropout: Rate = 0.1,
    ) -> None:
        super().__init__()
        self.halvings = halvings(patch)
        self.together = min(patch, TOGETHER)
        self.seconds, self.mels, self.patch, self.channels = seconds, mels, patch, channels
        self.depth, self.heads, self.dropout = depth, heads, dropout

    def wants(self) -> dict[str, Any]:
        return {"rate": RATE, "seconds": self.seconds}

    def precompute(self, cells: Sequence[np.ndarray]) -> list[np.ndarray]:
        """float32 [N] at 16 kHz -> float16 [T, mels], log10 of power, a frame every 10 ms."""
        return [log_mel(torch.tensor(cell), self.mels, floor=10**FLOOR).half().numpy() for cell in cells]

    def fingerprint(self) -> str:
        return f"log_mel 1, {self.mels} bands, floor {FLOOR}"

    def describe(self, modality: Modality) -> tuple[int, int]:
        return 0, self.patch * self.mels

    def build(self, spec: Spec, place: Place) -> None:
        if hasattr(self, "steps"):
            return
        self.standardise = Standardise(self.mels)
        self.first = nn.Sequential(nn.Linear(self.together * self.mels, self.channels), nn.GELU())
        self.steps = nn.ModuleList(
            nn.Sequential(nn.Conv1d(self.channels, self.channels, 5, 2, 2), ChannelNorm(self.channels), nn.GELU())
            for _ in range(self.halvings - halvings(self.together))
        )
        self.linear = nn.Linear(self.channels, spec.width)
        self.positions = Positions(spec.width)
        self.trunk = Trunk(spec.width, self.depth, self.heads, self.dropout, place)

    def prepare(self, train: Training) -> None:
        self.standardise.learn(self._frames(cells) for cells in cells_of(train, self.place.name, SAMPLE))

    def _frames(self, cells: Packed) -> Tensor:
        return cells.values[within(lengths(cells), cells.values.shape[1])]

    def cut(self, cells: Packed) -> Tokens:
        """[P, T', mels] -> [P, T, patch * mels]: frames in order; after the end of a sound, silence."""
        length, (count, steps, mels) = lengths(cells), cells.values.shape
        patches = -(-length // self.patch)
        frames = cells.values.new_zeros(count, steps + -steps % self.patch, mels)
        frames[:, :steps] = cells.values
        tail = within(patches * self.patch, frames.shape[1]) & ~within(length, frames.shape[1])
        frames[tail.nonzero(as_tuple=True)] = FLOOR  # by places: by the mask it goes over all frames
        values = torch.unflatten(frames, 1, (-1, self.patch)).flatten(2)
        mask = within(patches, values.shape[1])
        return Tokens(values, cells.rows, mask, notes=cells.notes | {"length": length}, blend=cells.blend)

    def paste(self, pieces: Tokens) -> Packed:
        frames = torch.unflatten(pieces.values, 2, (self.patch, -1)).flatten(1, 2)
        length = pieces.notes["length"]
        frames = frames.masked_fill(~within(length, frames.shape[1]).unsqueeze(2), 0.0)[:, : int(length.max())]
        return Packed(frames.half(), pieces.rows, notes=pieces.notes, blend=pieces.blend)

    def forward(self, pieces: Tokens, layers: int = 0) -> Tokens:
        visible = pieces.visible
        frames = self.standardise(torch.unflatten(pieces.values[visible].float(), 1, (self.patch, -1)))
        found = self.first(torch.unflatten(frames.flatten(1), 1, (-1, self.together * self.mels)))
        places, size = _end_to_end(pieces.mask)
        places = places[visible]
        values = found.new_zeros(size, *found.shape[1:]).index_copy(0, places, found).flatten(0, 1).T
        empty = torch.ones(size, dtype=torch.bool, device=places.device).index_fill(0, places, False)
        for step in self.steps:
            values = step(values.masked_fill(empty.repeat_interleave(values.shape[1] // size), 0.0).unsqueeze(0))[0]
        embedded = self.linear(values.T[places])
        positions = self.positions(torch.arange(visible.shape[1], device=visible.device))
        return self.trunk(embedded, positions, pieces, layers)


def _end_to_end(mask: Tensor) -> tuple[Tensor, int]:
    """Pieces [P, T] of cells that differ in length, all in one line -> places [P, T], and the length of the line.

    Between two cells one place stays empty, as wide as what a convolution sees beyond a cell.
    """
    count = torch.arange(1, mask.shape[1] + 1, device=mask.device)
    taken = F.pad(mask * count, (1, 0)).amax(1) + 1
    start = taken.cumsum(0) - taken
    return start.unsqueeze(1) + count - 1, int(taken.sum())  # same: the empty place may come first

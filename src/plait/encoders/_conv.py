"""What the convolutional encoders share."""

from __future__ import annotations

from torch import Tensor, nn


class ChannelNorm(nn.Module):
    """Layer norm over the channels at each place: [P, C, ...] -> the same.

    Unlike a batch norm it looks at no other sample, and unlike a group norm at no other place, padding included.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)

    def forward(self, values: Tensor) -> Tensor:
        out: Tensor = self.norm(values.movedim(1, -1)).movedim(-1, 1)
        return out


def halvings(patch: int) -> int:
    """How often a patch can be halved until one place is left.  ValueError unless it is a power of two above 1."""
    if patch < 2 or patch & (patch - 1):
        raise ValueError(f"patch is {patch}, expected a power of two such as 8 or 16")
    return patch.bit_length() - 1

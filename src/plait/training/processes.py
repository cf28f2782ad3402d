"""Several processes that share one batch.  Everything here is the identity in a single one."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from plait.core.outputs import Gather
from plait.core.packed import Packed


class Processes:
    """rank, world: as torch.distributed has them now; 0 and 1 if it was not started, or if `alone`."""

    def __init__(self, alone: bool = False) -> None:
        started = dist.is_available() and dist.is_initialized() and not alone
        self.rank = dist.get_rank() if started else 0
        self.world = dist.get_world_size() if started else 1

    def sum(self, value: Tensor) -> Tensor:
        """Sum over processes, without gradient."""
        total = value.detach().clone()
        if self.world > 1:
            dist.all_reduce(total)
        return total

    def mine(self, rows: Tensor) -> Tensor:
        """This process's share of a batch's rows: contiguous, sizes differ by one at most."""
        return rows.tensor_split(self.world)[self.rank]

    def gatherer(self, size: int) -> Gather | None:
        """A function that makes packed rows of all processes one, renumbered; None in a single process.

        size: samples of this process.
        """
        if self.world == 1:
            return None
        sizes = self._sizes(size)
        shift = sum(sizes[: self.rank])

        def gather(part: Packed) -> Packed:
            counts = self._sizes(len(part))
            moved = part.with_(rows=part.rows + shift)
            if moved.blend is not None:
                moved = moved.with_(blend=(moved.blend[0] + shift, moved.blend[1]))
            return self._same_shape(moved).map(lambda tensor: _gather(tensor, counts, self.rank))

        return gather

    def _sizes(self, size: int) -> list[int]:
        mine = torch.tensor([size])
        found = [torch.empty_like(mine) for _ in range(self.world)]
        dist.all_gather(found, mine)
        return [int(n) for n in found]

    def _same_shape(self, part: Packed) -> Packed:
        """Ragged tokens padded to the longest of all processes."""
        if part.values.dim() < 3:
            return part
        longest = max(self._sizes(part.values.shape[1]))
        length = part.values.shape[1]

        def pad(tensor: Tensor) -> Tensor:
            if tensor.dim() < 2 or tensor.shape[1] != length:
                return tensor
            extra = tensor.new_zeros(tensor.shape[0], longest - length, *tensor.shape[2:])
            return torch.cat([tensor, extra], 1)

        return part if longest == length else part.map(pad)


def _gather(tensor: Tensor, counts: list[int], rank: int) -> Tensor:
    if tensor.is_floating_point():
        # The anchor gives a process without rows a node in the graph: it must take part in backward.
        anchor = torch.zeros((), requires_grad=torch.is_grad_enabled())
        return _GatherRows.apply(tensor, counts, rank, anchor)  # type: ignore[no-untyped-call]
    return _all_rows(tensor.to(torch.int64), counts).to(tensor.dtype)


def _all_rows(tensor: Tensor, counts: list[int]) -> Tensor:
    padded = tensor.new_zeros(max(counts), *tensor.shape[1:])
    padded[: len(tensor)] = tensor
    found = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(found, padded.contiguous())
    return torch.cat([part[:n] for part, n in zip(found, counts, strict=True)])


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor, counts: list[int], rank: int, anchor: Tensor) -> Tensor:
        ctx.span = (sum(counts[:rank]), counts[rank])
        return _all_rows(tensor, counts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        gradient = gradients[0].contiguous()
        dist.all_reduce(gradient)
        start, count = ctx.span
        return gradient[start : start + count], None, None, None

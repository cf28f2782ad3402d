"""Several processes that share one batch.  Everything here is the identity in a single one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F

from plait.core.outputs import Gather
from plait.core.packed import Packed, Tokens

T = TypeVar("T")
P = TypeVar("P", bound=Packed)


class Processes:
    """rank, world: as torch.distributed has them now; 0 and 1 if it was not started, or if `alone`."""

    def __init__(self, alone: bool = False) -> None:
        started = dist.is_available() and dist.is_initialized() and not alone
        self.rank = dist.get_rank() if started else 0
        self.world = dist.get_world_size() if started else 1

    def sum(self, value: Tensor) -> Tensor:
        """Sum over processes, without gradient."""
        if self.world == 1:
            return value.detach()
        total = value.detach().clone()
        dist.all_reduce(total)
        return total

    def mine(self, rows: Tensor) -> Tensor:
        """This process's share of a batch's rows: contiguous, sizes differ by one at most."""
        return rows.tensor_split(self.world)[self.rank]

    def from_first(self, compute: Callable[[], T]) -> T:
        """What the first process computes, on all of them: nobody else computes it."""
        if self.world == 1:
            return compute()
        found: list[Any] = [compute() if self.rank == 0 else None]
        dist.broadcast_object_list(found)
        return found[0]

    def gatherer(self, size: int, device: torch.device) -> Gather | None:
        """What makes the packed rows of all processes one; None in a single process.  size: samples of this process."""
        return None if self.world == 1 else _Gather(self.rank, _objects(size, self.world), device)


class _Gather:
    """sizes: samples of each process.  device: where this process has its tensors."""

    def __init__(self, rank: int, sizes: list[int], device: torch.device) -> None:
        self.rank, self.device = rank, device
        self.size, self.shift, self.world = sum(sizes), sum(sizes[:rank]), len(sizes)

    def __call__(self, part: P | None) -> P | None:
        count = 0 if part is None else len(part)
        said: list[tuple[int, P | None]] = _objects((count, None if part is None else _form(part)), self.world)
        counts = [n for n, _ in said]
        # Who has no rows cannot know what the others' look like: their type, notes, what is hidden.
        forms: list[Any] = [form for n, form in said if form is not None and (n or not any(counts))]
        if not forms:
            return None
        mine: P = part if part is not None and count else forms[0].to(self.device)
        mine = _alike(mine, forms).with_(rows=mine.rows + self.shift)
        if mine.blend is not None:
            mine = mine.with_(blend=(mine.blend[0] + self.shift, mine.blend[1]))
        return mine.map(lambda tensor: _gather(tensor, counts, self.rank))


def _objects(mine: T, world: int) -> list[T]:
    """Something small of every process."""
    found: list[Any] = [None] * world
    dist.all_gather_object(found, mine)
    return found


def _form(part: P) -> P:
    """No rows, but all else: fields, widths and types."""
    return part.map(lambda tensor: torch.empty(0, *tensor.shape[1:], dtype=tensor.dtype))


def _alike(part: P, forms: Sequence[Any]) -> P:
    """With the same fields on every process, and ragged tokens as long as the longest."""
    notes = {name: note for name, note in part.notes.items() if all(name in form.notes for form in forms)}
    part = part.with_(notes=notes, blend=part.blend if all(form.blend is not None for form in forms) else None)
    if part.values.dim() < 3:
        return part
    longest = max(form.values.shape[1] for form in forms)

    def pad(tensor: Tensor) -> Tensor:
        return F.pad(tensor, (0, 0) * (tensor.dim() - 2) + (0, longest - tensor.shape[1]))

    part = part.with_(values=pad(part.values))
    if not isinstance(part, Tokens):
        return part
    hidden, made, layers = part.hidden, part.made, part.layers
    if hidden is None and any(form.hidden is not None for form in forms):
        hidden = torch.zeros_like(part.mask)
    if made is None and any(form.made is not None for form in forms):
        made = torch.zeros_like(part.rows, dtype=torch.bool)
    return part.with_(
        mask=pad(part.mask),
        hidden=None if hidden is None else pad(hidden),
        made=made,
        layers=None if layers is None else tuple(pad(layer) for layer in layers),
    )


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
        gradient = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(gradient)
        start, count = ctx.span
        return gradient[start : start + count], None, None, None

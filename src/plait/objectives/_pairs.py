"""What the contrastive objectives over pairs of modalities share."""

from __future__ import annotations

import itertools
from typing import Literal

import torch
from torch import Tensor

from plait.core.errors import RecipeError, nearest
from plait.core.outputs import Outputs
from plait.core.packed import Tokens, together
from plait.core.part import Place, Spec
from plait.core.random import generator

Pairs = Literal["all"] | list[tuple[str, str]]
Duplicates = Literal["ignore", "keep"]


def pairs_of(spec: Spec, place: Place, pairs: Pairs, hub: str | None) -> tuple[tuple[str, str], ...]:
    """The pairs of modalities to align.  RecipeError if one is unknown, stands against itself, or both are given."""
    names = spec.names
    if hub is not None and pairs != "all":
        raise RecipeError(f"{place}: pairs and hub are both given, and each says which pairs. Leave one out.")
    chosen = list(itertools.combinations(names, 2)) if pairs == "all" else pairs
    for name in [*itertools.chain.from_iterable(chosen), *([] if hub is None else [hub])]:
        if name not in names:
            raise RecipeError(f"{place}: there is no modality {name!r}.{nearest(name, names)}")
    if hub is not None:
        chosen = [(hub, name) for name in names if name != hub]
    for a, b in chosen:
        if a == b:
            raise RecipeError(f"{place}: the pair [{a}, {b}] sets a modality against itself. Name two modalities.")
    if len({frozenset(pair) for pair in chosen}) < len(chosen):
        raise RecipeError(f"{place}: a pair is named twice in {[list(pair) for pair in chosen]}.")
    return tuple(chosen)


def pair(out: Outputs, a: str, b: str, duplicates: Duplicates) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Unit embeddings [N, E] of the samples that have both, their rows [N], and false negatives [N, N] bool.

    Two samples whose cell of a or of b is the same, bit for bit, answer each other's query as well as their own, so
    neither is a wrong answer to the other.  None: duplicates are kept as negatives.
    """
    (x, y), rows = together(out.embedding(a).unit(), out.embedding(b).unit())
    if duplicates == "keep" or not len(rows):
        return x.values, y.values, rows, None
    same = torch.zeros(len(rows), len(rows), dtype=torch.bool, device=rows.device)
    for name in (a, b):
        code = content(out.pieces[name].on(rows))
        same |= code.unsqueeze(1) == code
    return x.values, y.values, rows, same.fill_diagonal_(False)


@torch.no_grad()
def content(pieces: Tokens) -> Tensor:
    """A 64-bit code of each cell's visible pieces, [P]: equal cells have equal codes, others hardly ever do.

    pieces: values [P, T, C].  Padding does not count.  A random linear form of the bits, in wrapping arithmetic; a
    collision, below 1 in 2^32 for a pair of cells, costs one negative.
    """
    # Shifted so that a visible zero differs from what is not there.
    bits = pieces.values.float().view(torch.int32).long() + 2**40
    bits = bits.masked_fill(~pieces.visible.unsqueeze(-1), 0)
    factors = torch.randint(-(2**62), 2**62, bits.shape[1:], generator=generator("content")).to(bits.device)
    return (bits * factors).sum((1, 2))

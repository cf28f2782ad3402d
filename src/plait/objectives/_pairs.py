"""What the contrastive objectives over pairs of modalities share."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from plait.core.errors import RecipeError
from plait.core.outputs import Outputs
from plait.core.packed import Packed, Tokens, together
from plait.core.part import Place, Spec
from plait.core.random import generator

Pairs = Literal["all"] | list[tuple[str, str]]
Duplicates = Literal["ignore", "keep"]
SAMPLED = 2_048
"""Values of a cell that its code is made from at most, about."""


def pairs_of(spec: Spec, place: Place, pairs: Pairs, hub: str | None) -> tuple[tuple[str, str], ...]:
    """The pairs of modalities to align.  RecipeError if one is unknown, stands against itself, or both are given."""
    names = spec.names
    if hub is not None and pairs != "all":
        raise RecipeError(f"{place}: pairs and hub are both given, and each says which pairs. Leave one out.")
    chosen = list(itertools.combinations(names, 2)) if pairs == "all" else pairs
    spec.check(place, *itertools.chain.from_iterable(chosen), *([] if hub is None else [hub]))
    if hub is not None:
        chosen = [(hub, name) for name in names if name != hub]
    for a, b in chosen:
        if a == b:
            raise RecipeError(f"{place}: the pair [{a}, {b}] sets a modality against itself. Name two modalities.")
    if len({frozenset(pair) for pair in chosen}) < len(chosen):
        raise RecipeError(f"{place}: a pair is named twice in {[list(pair) for pair in chosen]}.")
    return tuple(chosen)


@dataclass(frozen=True, eq=False)
class Pair:
    """Two modalities on the N samples that have both.

    a, b: unit embeddings [N, E].  rows: [N].  same: [N, N] bool, false negatives; None: duplicates are kept.
    """

    name: str
    a: Tensor
    b: Tensor
    rows: Tensor
    same: Tensor | None


def each(out: Outputs, pairs: Iterable[tuple[str, str]], duplicates: Duplicates) -> Iterator[Pair]:
    """The pairs, by name, also those that nobody has.

    Two samples whose cell of a or of b is the same, bit for bit, answer each other's query as well as their own, so
    neither is a wrong answer to the other.
    """
    pairs = list(pairs)
    names = dict.fromkeys(itertools.chain.from_iterable(pairs))
    units = {name: out.embedding(name).unit() for name in names}
    pieces = out.pieces if duplicates == "ignore" else {}
    codes = {name: Packed(content(pieces[name]), pieces[name].rows) for name in names if name in pieces}
    for a, b in pairs:
        (x, y), rows = together(units[a], units[b])
        same = None
        if len(rows) and duplicates == "ignore":
            one, other = codes[a].on(rows).values, codes[b].on(rows).values
            same = ((one.unsqueeze(1) == one) | (other.unsqueeze(1) == other)).fill_diagonal_(False)
        yield Pair(f"{a}~{b}", x.values, y.values, rows, same)


@torch.no_grad()
def content(pieces: Tokens) -> Tensor:
    """A 64-bit code of each cell's visible pieces, [P]: equal cells have equal codes, others hardly ever do.

    pieces: values [P, T, C].  Padding does not count.  A random linear form of the bits, in wrapping arithmetic; a
    collision, below 1 in 2^32 for a pair of cells, costs one negative.  Of large cells a grid of about SAMPLED values
    is looked at: two cells that agree on it and nowhere else are no case to pay for in every step.
    """
    values, visible = pieces.values, pieces.visible
    stride = max(1, values.shape[1] * values.shape[2] // SAMPLED)
    # Shifted so that a visible zero differs from what is not there.
    bits = values[:, :, ::stride].float().contiguous().view(torch.int32).long() + 2**40
    bits = bits.masked_fill(~visible.unsqueeze(-1), 0)
    factors = torch.randint(-(2**62), 2**62, bits.shape[1:], generator=generator("content")).to(bits.device)
    return (bits * factors).sum((1, 2))

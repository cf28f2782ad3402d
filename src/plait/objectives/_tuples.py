"""What the objectives that compare whole tuples of modalities share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from plait.core.errors import RecipeError
from plait.core.outputs import Outputs
from plait.core.packed import Packed, Tokens, together
from plait.core.part import Place, Spec
from plait.core.random import generator

from ._pairs import Duplicates, content


def chosen(spec: Spec, place: Place, names: Sequence[str] | None) -> tuple[str, ...]:
    """The modalities of a tuple; None: all.  RecipeError if one is unknown or named twice, or if only one is named."""
    spec.check(place, *(names or ()))
    if names is not None and (len(set(names)) < len(names) or len(names) < 2):
        raise RecipeError(f"{place}: modalities needs two or more different ones, found {list(names)}.")
    return spec.names if names is None else tuple(names)


@dataclass(frozen=True, eq=False)
class Group:
    """The N samples that have all of some K >= 2 modalities.

    units: K x [N, E], unit length.  rows: [N].  own: [N] bool, samples that have no other modality.
    codes: K x [N], equal where two samples' cells are, and such that sums tell tuples apart; None: duplicates are kept.
    """

    names: tuple[str, ...]
    units: list[Tensor]
    rows: Tensor
    own: Tensor
    codes: list[Tensor] | None


def groups(out: Outputs, names: Sequence[str], duplicates: Duplicates) -> Iterator[Group]:
    """A group for each set of two or more modalities that is all that some sample has of `names`.

    So tuples are compared with tuples of equally many, each sample is `own` to one group at most, and whoever has
    more than the group's modalities still serves as a negative.
    """
    units = {name: out.embedding(name).unit() for name in names}
    codes = codes_of(out, names) if duplicates == "ignore" else {}
    have = torch.stack([units[name].present(out.size) for name in names], 1)
    for pattern in have.unique(dim=0):  # type: ignore[no-untyped-call]
        if int(pattern.sum()) < 2:
            continue
        here = tuple(name for name, there in zip(names, pattern.tolist(), strict=True) if there)
        parts, rows = together(*(units[name] for name in here))
        same = [codes[name].on(rows).values for name in here] if duplicates == "ignore" else None
        yield Group(here, [part.values for part in parts], rows, (have[rows] == pattern).all(1), same)


def codes_of(out: Outputs, names: Sequence[str]) -> dict[str, Packed]:
    """[P] of each modality that the batch has: what tells its cells apart, such that sums of them tell tuples apart."""
    return {name: Packed(_code(out.pieces[name], name), out.pieces[name].rows) for name in names if name in out.pieces}


def _code(pieces: Tokens, name: str) -> Tensor:
    """[P]: of the cell's content, by a factor for each modality: equal cells that change places are another tuple."""
    return content(pieces) * (torch.randint(2**62, (), generator=generator("tuples", name)).item() * 2 + 1)


def gathered(losses: Sequence[tuple[Tensor, Group]], like: Tensor) -> Packed:
    """One value for each sample, from the group whose own it is.  losses: [N] each.  like: for what is in none."""
    values = torch.cat([like.new_zeros(0), *(loss[group.own] for loss, group in losses)])
    rows = torch.cat([like.new_zeros(0, dtype=torch.long), *(group.rows[group.own] for _, group in losses)])
    order = rows.argsort()
    return Packed(values[order], rows[order])


def false_negatives(codes: Sequence[Tensor], anchor: int, candidates: Tensor) -> Tensor:
    """[N, L] bool: whether an anchor and a candidate together are what some sample is.

    codes: K x [N].  anchor: the modality that anchors.  candidates: [L], sums of the other modalities' codes.
    """
    return torch.isin(codes[anchor].unsqueeze(1) + candidates, torch.stack(list(codes)).sum(0))

"""A bank of stand-ins: which one is used depends on what the sample does have.

    tokens_m of a sample without m = E[observed, m] [n, D],   observed = the set of modalities that it has

With one entry for all sets this is learned_tokens.  There are M (2^(M-1) - 1) entries, so M is at most 8.  An entry
learns only from samples that have exactly that set; one that training never saw is as it was drawn, near zero.
Source: Yun et al., "Flex-MoE", arXiv:2410.08245, its missing modality bank.   Relative: learned_tokens.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn

from plait.core.component import Count
from plait.core.errors import RecipeError
from plait.core.named import Named, NamedParameters
from plait.core.packed import Tokens, merge, tokens_of
from plait.core.part import Filled, Missing, Place, Spec
from plait.core.random import seeded, spawn

MOST = 8
"""Modalities: 1016 entries."""


def _key(observed: Iterable[str]) -> str:
    """One text for a set of names, whatever they contain."""
    return json.dumps(sorted(observed))


class CombinationBank(Missing):
    """tokens: how many stand in for one absent cell."""

    idle = {"bank.*": "stand-ins for combinations of modalities that no sample has"}

    def __init__(self, tokens: Count = 1) -> None:
        super().__init__()
        self.count = tokens
        self.bank = Named()

    def build(self, spec: Spec, place: Place) -> None:
        if len(spec.names) > MOST:
            raise RecipeError(
                f"{place}: {len(spec.names)} modalities have {2 ** len(spec.names) - 1} combinations, and it takes at "
                f"most {MOST} modalities. Use missing: learned_tokens, or leave columns out."
            )
        base = spawn()
        for name in spec.names:
            if name not in self.bank:
                self.bank[name] = NamedParameters()
            entries = cast(NamedParameters, self.bank[name])
            others = [other for other in spec.names if other != name]
            for observed in itertools.chain.from_iterable(
                itertools.combinations(others, n) for n in range(1, len(others) + 1)
            ):
                key = _key(observed)
                if key not in entries:
                    with seeded(base, name, key):
                        entries[key] = nn.Parameter(0.02 * torch.randn(self.count, spec.width))  # same: any small start

    def forward(self, tokens: dict[str, Tokens], size: int, g: torch.Generator) -> Filled:
        """tokens: values [P, T, D] each.  -> as many samples of every modality as have anything."""
        if not tokens:
            return Filled(tokens)
        has = {name: part.real().present(size) for name, part in tokens.items()}
        nobody = torch.zeros_like(next(iter(has.values())))
        observed = torch.stack([has.get(name, nobody) for name in self.bank], 1)
        # Sets as numbers, so that each that occurs is looked up once.
        code = (observed * 2 ** torch.arange(len(self.bank), device=observed.device)).sum(1)
        out = dict(tokens)
        for name in self.bank:
            filled = tokens[name].present(size) if name in tokens else nobody
            rows = ((code > 0) & ~filled).nonzero().squeeze(1)
            if len(rows):
                made = tokens_of(
                    self._entries(name, code[rows].tolist()), rows, made=torch.ones_like(rows, dtype=torch.bool)
                )
                out[name] = merge(tokens[name], made) if name in tokens else made  # same: merged by row
        return Filled(out)

    def _entries(self, name: str, codes: list[int]) -> Tensor:
        """What stands in for a modality under each of these sets, [P, n, D].  Bit i of a set: the i-th modality."""
        entries, names = cast(NamedParameters, self.bank[name]), list(self.bank)
        # Only those in use are touched: a zero gradient would still let the optimiser move the rest.
        used = {code: i for i, code in enumerate(dict.fromkeys(codes))}
        vectors: list[Tensor] = [
            entries[_key(other for i, other in enumerate(names) if code >> i & 1)] for code in used
        ]
        return torch.stack(vectors)[[used[code] for code in codes]]

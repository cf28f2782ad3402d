"""Learned tokens stand in for an absent modality.

    tokens_m of a sample without m = E_m [n, D], the same for all samples

They are marked `made`, and the fusion pays for them as for real ones.  A sample that has nothing gets none.
Source: Lee et al., "Multimodal Prompting with Missing Modalities", arXiv:2303.03369, in its simplest form.
Relative: modality_dropout, which trains the stand-ins where few cells are missing.
"""

from __future__ import annotations

import torch
from torch import nn

from plait.core.component import Count
from plait.core.named import NamedParameters
from plait.core.packed import Tokens, merge, tokens_of
from plait.core.part import Filled, Missing, Place, Spec
from plait.core.random import seeded, spawn


class LearnedTokens(Missing):
    """tokens: how many stand in for one absent cell."""

    def __init__(self, tokens: Count = 1) -> None:
        super().__init__()
        self.count = tokens
        self.tokens = NamedParameters()

    def build(self, spec: Spec, place: Place) -> None:
        base = spawn()
        for name in spec.names:
            if name not in self.tokens:
                with seeded(base, name):
                    self.tokens[name] = nn.Parameter(
                        0.02 * torch.randn(self.count, spec.width)  # same: any small start
                    )

    def forward(self, tokens: dict[str, Tokens], size: int, g: torch.Generator) -> Filled:
        """tokens: values [P, T, D] each.  -> as many samples of every modality as have anything."""
        if not tokens:
            return Filled(tokens)
        present = {name: part.present(size) for name, part in tokens.items()}
        anything = torch.stack(list(present.values())).any(0)
        out = {}
        for name in self.tokens:
            absent = anything & ~present[name] if name in tokens else anything
            rows = absent.nonzero().squeeze(1)
            made = tokens_of(
                self.tokens[name].expand(len(rows), -1, -1), rows, made=torch.ones_like(rows, dtype=torch.bool)
            )
            out[name] = merge(tokens[name], made) if name in tokens else made
        return Filled({name: part for name, part in out.items() if len(part)})

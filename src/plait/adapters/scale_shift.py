"""What enters the fusion is scaled and shifted, differently for each combination of modalities that is there.

    x'_m = (1 + s_cm) * x_m + t_cm,   c the set of modalities that the sample has,   s = t = 0 at the start

A network that was trained on complete samples is left as it is, and only learns what to change where modalities are
absent: train it in a stage of its own with `train: ["adapters.*"]`.  Complete samples are not touched, and there are no
numbers for them.  A combination that no batch has is never moved, not by weight decay either.
Source: Reza et al., "Robust Multimodal Learning with Missing Modalities via Parameter-Efficient Adaptation",
arXiv:2310.03986, which does so after many layers, by the scale and shift of Lian et al., arXiv:2210.08823.
Relative: missing/learned_tokens, which puts something in the empty place instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import torch
from torch import Tensor, nn

from plait.core.errors import RecipeError
from plait.core.named import NamedParameters
from plait.core.packed import Tokens
from plait.core.part import Adapter, Place, Spec

MOST = 8
"""Modalities: of M there are M 2^(M - 1) - M scales."""


def scale_shift(values: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """values: [..., D].  scale: [D], beyond 1.  shift: [D].  -> [..., D], the same bits where both are 0."""
    return (1 + scale) * values + shift


def incomplete(names: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Every combination that lacks something, and has something."""
    for count in range(1, len(names)):
        yield from combinations(names, count)


class ScaleShift(Adapter):
    """Refuses more than eight modalities."""

    idle = {
        "scale.*": "a combination that nobody has learns nothing",
        "shift.*": "a combination that nobody has learns nothing",
    }

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.shift = NamedParameters(), NamedParameters()

    def build(self, spec: Spec, place: Place) -> None:
        self.names = spec.names
        if len(self.names) > MOST:
            raise RecipeError(
                f"{place}: {len(self.names)} modalities have 2^{len(self.names)} combinations. "
                f"It takes at most {MOST}; take it out."
            )
        for combination in incomplete(self.names):
            for name in combination:
                key = _key(combination, name)
                if key not in self.scale:
                    self.scale[key] = nn.Parameter(torch.zeros(spec.width))
                    self.shift[key] = nn.Parameter(torch.zeros(spec.width))

    def forward(self, tokens: Tokens, site: str, present: Tensor) -> Tokens:
        """tokens: values [P, T, D] of the modality that the site names, before the fusion.  -> the same, modulated."""
        slot, _, name = site.partition(".")
        if slot != "fusion":
            return tokens
        values = tokens.values
        own = present[tokens.rows]
        for pattern in own.unique(dim=0).tolist():  # type: ignore[no-untyped-call]
            combination = tuple(n for n, there in zip(self.names, pattern, strict=True) if there)  # same: alike
            if len(combination) == len(self.names) or name not in combination:
                continue
            at = (own == own.new_tensor(pattern)).all(1).nonzero().squeeze(1)
            # What stands in places that are not visible may be NaN, and would reach the scale's gradient.
            seen = tokens.values[at].masked_fill(~tokens.visible[at].unsqueeze(2), 0)
            key = _key(combination, name)
            values = values.index_copy(0, at, scale_shift(seen, self.scale[key], self.shift[key]))
        return tokens if values is tokens.values else tokens.with_(values=values)


def _key(combination: tuple[str, ...], name: str) -> str:
    # Quoted, since a column may be called "a, b".
    return f"{name} with {sorted(set(combination) - {name})}"

"""Rare classes are drawn more often: a row's chance is 1 / (rows of its class)^power.

Draws are with replacement, as many as there are rows.  Rows without the label have the mean chance of those with it.
power 1 gives all classes the same share, 0 gives each row the same; 1/2 is the square-root sampling of
Mahajan et al., arXiv:1805.00932.  Relative: shuffled.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from plait.core.component import Rate
from plait.core.errors import RecipeError, nearest
from plait.core.meter import Meter
from plait.core.part import Draw, Index, Place, Sampler, Spec


class Balanced(Sampler):
    """target: whose classes; null: the first target that has classes."""

    def __init__(self, target: str | None = None, power: Rate = 1.0) -> None:
        super().__init__()
        self.target, self.power = target, power

    def build(self, spec: Spec, place: Place) -> None:
        suited = [name for name, target in spec.targets.items() if target.kind == "class"]
        if not suited:
            raise RecipeError(f"{place}: no target has classes to balance. Use sampler: shuffled.")
        if self.target is not None and self.target not in suited:
            raise RecipeError(f"{place}: {self.target!r} is no target with classes.{nearest(self.target, suited)}")
        self.name = self.target or suited[0]

    def epoch(self, index: Index, size: int, meter: Meter, g: torch.Generator) -> Iterator[Draw]:
        if not index.size:
            return
        labels = index.target(self.name)
        chance = torch.ones(index.size, dtype=torch.float64)
        if len(labels):
            own = torch.bincount(labels.values)[labels.values].double() ** -self.power
            chance = chance.fill_(own.mean()).index_copy(0, labels.rows, own)
        # By inverse distribution function: torch.multinomial stops at 2^24 rows.
        upto = chance.cumsum(0)
        points = torch.rand(index.size, generator=g, dtype=torch.float64) * upto[-1]
        rows = torch.searchsorted(upto, points, right=True).clamp_max(index.size - 1)
        for part in rows.tensor_split(self.length(index, size)):
            yield Draw(part)

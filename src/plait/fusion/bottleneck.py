"""Attention bottlenecks: all that modalities tell each other passes through a few shared tokens.

    layers before `start`:   x_m <- block_lm(x_m)
    from `start` on:         [x_m; z_m] <- block_lm([x_m; z]),   then  z <- mean over present m of z_m
    fused = mean over present m of norm(x_m)[summary]

x_m are the tokens of m and a learned summary token of m; every modality has its own blocks.  z, `tokens` learned
vectors at first, is averaged after a layer, so what one modality says reaches another one layer later: one fusing layer
fuses nothing, and with `start` = `layers` only the readout does.  The mean runs over the modalities that a sample has.
Behind a linear head, the mean of the summaries is the mean of the logits that the paper takes.
Attention costs sum_m (T_m + tokens)^2 instead of (sum_m T_m)^2: less where cells have many tokens, more where each has
one.  Source: Nagrani et al., "Attention Bottlenecks for Multimodal Fusion", arXiv:2107.00135.
Relative: self_attention, where all tokens see each other.
"""

from __future__ import annotations

from typing import Annotated, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from plait.core.attention import Block, Braid, braid
from plait.core.component import Count, Positive, Rate
from plait.core.named import Named, NamedParameters
from plait.core.packed import Fused, Packed, Tokens, mean_over, tokens_of
from plait.core.part import Fusion, Place, Spec
from plait.core.random import seeded, spawn

from ._pooled import nobody

_SUMMARY, _SHARED = "\0summary", "\0shared"
"""No column is called so."""
Layer = Annotated[int, Field(ge=0)]


def replaced(layout: Braid, name: str, values: Tensor) -> Braid:
    """The same layout with other values for one part of it.  values: [P, T, D], all of them visible."""
    start, stop = layout.spans[name]
    return layout.with_values(layout.values.index_copy(0, layout.places[start:stop], values.flatten(0, 1)))


class Bottleneck(Fusion):
    """tokens: that all modalities share.  layers: of each modality.  start: layers before it see one modality alone.

    heads, dropout, expansion: of the blocks.
    """

    def __init__(
        self,
        tokens: Count = 4,
        layers: Count = 4,
        start: Layer = 2,
        heads: Count = 4,
        dropout: Rate = 0.1,
        expansion: Positive = 2.0,
    ) -> None:
        super().__init__()
        if start > layers:
            raise ValueError(f"start is {start}, but there are only {layers} layers. Set start to at most layers.")
        self.count, self.layers, self.start = tokens, layers, start
        self.heads, self.dropout, self.expansion = heads, dropout, expansion
        self.blocks, self.summaries = Named(), NamedParameters()

    def build(self, spec: Spec, place: Place) -> None:
        base = spawn()
        for name in spec.names:
            if name not in self.blocks:
                with seeded(base, name):
                    made = [Block(spec.width, self.heads, self.expansion, self.dropout) for _ in range(self.layers)]
                    self.blocks[name] = nn.ModuleList(made)
                    self.summaries[name] = nn.Parameter(0.02 * torch.randn(spec.width))  # same: any small start
        if not hasattr(self, "norm"):
            self.norm = nn.LayerNorm(spec.width)
            if self.start < self.layers:
                self.shared = nn.Parameter(0.02 * torch.randn(self.count, spec.width))  # same: any small start

    def forward(self, tokens: dict[str, Tokens], size: int, g: torch.Generator) -> Fused:
        """tokens: values [P, T, D] each.  -> values [P, D] of the samples that have any visible token."""
        layouts = {}
        for name, part in tokens.items():
            seen = part.take(part.visible.any(1))
            if len(seen):
                summary = tokens_of(self.summaries[name].expand(len(seen), 1, -1), seen.rows)
                layouts[name] = braid({_SUMMARY: summary, name: seen}, size)
        if not layouts:
            none = nobody(len(self.norm.weight), self.norm.weight.device)
            return Fused(none.values, none.rows)
        for i in range(self.layers - 1):
            if i >= self.start:
                layouts = self._told(layouts, size, first=i == self.start)
            layouts = {name: self._block(name, i)(layout) for name, layout in layouts.items()}
        if self.start < self.layers:
            layouts = self._told(layouts, size, first=self.start == self.layers - 1)
        return self._read(layouts, size)

    def _block(self, name: str, layer: int) -> Block:
        return cast(Block, cast(nn.ModuleList, self.blocks[name])[layer])

    def _told(self, layouts: dict[str, Braid], size: int, first: bool) -> dict[str, Braid]:
        """Every modality with what all said in the layer before; the first time, with the learned vectors."""
        out = {}
        if first:
            for name, layout in layouts.items():
                rows = layout.parts[_SUMMARY].rows
                shared = tokens_of(self.shared.expand(len(rows), -1, -1), rows)
                out[name] = braid({**layout.unbraid(), _SHARED: shared}, size)
            return out
        said = {}
        for name, layout in layouts.items():
            rows = layout.parts[_SUMMARY].rows
            said[name] = Packed(layout.part(_SHARED).view(len(rows), self.count, -1), rows)
        mean = mean_over(said, size)
        for name, layout in layouts.items():
            out[name] = replaced(layout, _SHARED, mean.at(said[name].rows).values)
        return out

    def _read(self, layouts: dict[str, Braid], size: int) -> Fused:
        """The last layer: of each modality only the summary, unless somebody reads the context."""
        summaries, context = {}, {}
        for name, layout in layouts.items():
            block, rows = self._block(name, self.layers - 1), layout.parts[_SUMMARY].rows
            if self.context:
                layout = block(layout)
                layout = layout.with_values(self.norm(layout.values))
                summaries[name], context[name] = Packed(layout.part(_SUMMARY), rows), layout.unbraid()[name]
            else:
                summaries[name] = Packed(self.norm(block.only(layout, _SUMMARY)), rows)
        mean = mean_over(summaries, size)
        return Fused(mean.values, mean.rows, tokens=context)

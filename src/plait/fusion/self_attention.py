"""Late fusion by a transformer over the tokens of all modalities.

    x_m = tokens_m + type_m;   x = blocks([summary, x_1 ... x_M]);   y = norm(x)[summary], or the mean over tokens
    fused = y,   or with `skip`:  sum_m a_m mean(tokens_m) / sum_m a_m  +  b r W y,   W = 0, a = b = 1 at the start

With `skip` it begins as the plain mean of the modalities, which few rows hardly beat, and learns what that leaves
over.  In training r is 0 for a share `drop_path` of the samples (stochastic depth, arXiv:1603.09382), so that the mean
stays good by itself; otherwise r = 1 / (1 - drop_path), and 1 when predicting.

On training rows a modality that was learned by heart looks as good as one that says something.  So how far each
modality and the transformer are trusted, a and b, is no matter of training: these M + 1 numbers minimise the heads'
loss on the validation rows, after training, with a log-normal prior around 1 (stacking, Wolpert, Neural Networks 1992).

Runs on flat tokens, so a sample pays for what it has.  It is the strong baseline of "Fusion or Confusion",
arXiv:2512.22991.  Source of the block: Vaswani et al., arXiv:1706.03762, pre-norm as in Xiong et al., arXiv:2002.04745.
Relatives: concatenation, mean, gated.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, cast

import torch
from torch import Tensor, nn

from plait.core.attention import Block, braid
from plait.core.component import Count, Positive, Rate
from plait.core.named import Named, NamedParameters
from plait.core.packed import Fused, Tokens, together, tokens_of
from plait.core.part import Fusion, Place, Spec, Training
from plait.core.random import seeded, spawn

from ._pooled import pooled, weighted_mean

_SUMMARY = _REST = "\0"
"""No column is called so."""
SETTLED_ON = 2_000
"""Validation rows that the trust is chosen on at most."""
PRIOR = 2.0
"""Standard deviation of its logarithm."""


class SelfAttention(Fusion):
    """layers, heads, dropout, expansion: of the transformer.  pool: what a sample's fused vector is read from.

    skip: add the mean of the modalities' own tokens.  drop_path: how often training leaves the transformer out of it.
    """

    def __init__(
        self,
        layers: Count = 2,
        heads: Count = 4,
        dropout: Rate = 0.1,
        expansion: Positive = 2.0,
        pool: Literal["summary", "mean"] = "summary",
        skip: bool = True,
        drop_path: Rate = 0.5,
    ) -> None:
        super().__init__()
        self.layers, self.heads, self.dropout, self.expansion, self.pool = layers, heads, dropout, expansion, pool
        self.skip, self.drop_path = skip, drop_path
        self.blocks = nn.ModuleList()
        self.types = NamedParameters()
        self.trust = Named()

    def build(self, spec: Spec, place: Place) -> None:
        base = spawn()
        for name in spec.names:
            if self.skip and name not in self.trust:
                self.trust[name] = _Trust()
            if name not in self.types:
                with seeded(base, name):
                    self.types[name] = nn.Parameter(0.02 * torch.randn(spec.width))  # same: any small start
        if not self.blocks:
            self.blocks.extend(Block(spec.width, self.heads, self.expansion, self.dropout) for _ in range(self.layers))
            self.norm = nn.LayerNorm(spec.width)
            if self.pool == "summary":
                self.summary = nn.Parameter(0.02 * torch.randn(spec.width))  # same: any small start
            if self.skip:
                self.trust[_REST] = _Trust()
                self.rest = nn.Linear(spec.width, spec.width)
                nn.init.zeros_(self.rest.weight)
                nn.init.zeros_(self.rest.bias)

    def forward(self, tokens: dict[str, Tokens], size: int, g: torch.Generator) -> Fused:
        """tokens: values [P, T, D] each.  -> values [P, D] of the samples that have any visible token."""
        typed = {name: part.with_(values=part.values + self.types[name]) for name, part in tokens.items()}
        rows = _rows(tokens, size, self.norm.weight)
        if not len(rows):
            return Fused(self.norm.weight.new_zeros(0, len(self.norm.weight)), rows)
        if self.pool == "summary":
            typed[_SUMMARY] = tokens_of(self.summary.expand(len(rows), 1, -1), rows)
        layout = braid(typed, size)
        context: dict[str, Tokens] = {}
        *earlier, last = (cast(Block, block) for block in self.blocks)
        for block in earlier:
            layout = block(layout)
        if self.pool == "summary" and not self.context:
            values = self.norm(last.only(layout, _SUMMARY))
        else:
            layout = last(layout)
            layout = layout.with_values(self.norm(layout.values))
            values = layout.part(_SUMMARY) if self.pool == "summary" else layout.mean().values
            if self.context:
                context = layout.unbraid()
                context.pop(_SUMMARY, None)
        if self.skip:
            trust = {name: part.log.exp() for name, part in self.trust.items()}
            own = weighted_mean(pooled(tokens), trust, size).values
            values = own + trust[_REST] * self.rest(values) * self._kept(len(rows), values)
        return Fused(values, rows, tokens=context)

    def settle(self, held_out: Training) -> None:
        """Choose how far each modality and the transformer are trusted, by the heads' loss on `held_out` rows."""
        if not self.skip:
            return
        passes = list(held_out.outputs(SETTLED_ON))
        parts = list(self.trust.values())
        logs = torch.zeros(len(parts), device=self.rest.weight.device, requires_grad=True)
        search = torch.optim.LBFGS([logs], max_iter=50, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            for part, log in zip(parts, logs, strict=True):
                part.log = log
            total = logs.square().sum() / (2 * PRIOR**2)
            for out in passes:
                again = out.given(out.seen)
                for name, prediction in again.predictions.items():
                    if name not in out.targets:
                        continue
                    (params, truth), rows = together(prediction, out.targets[name])
                    if len(rows):
                        total = total + again.heads[name].loss(params.values, truth.values).sum()
            (logs.grad,) = torch.autograd.grad(total, [logs])
            return total

        search.step(loss)  # type: ignore[no-untyped-call]
        for part, log in zip(parts, logs.detach(), strict=True):
            part.log = log.clone()

    def _kept(self, count: int, like: Tensor) -> Tensor:
        """[count, 1]: b of each sample."""
        keep = torch.ones(count, 1, dtype=like.dtype, device=like.device)
        return nn.functional.dropout(keep, self.drop_path, self.training)


class _Trust(nn.Module):
    """log: of a weight."""

    log: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("log", torch.zeros(()))


def _rows(tokens: Mapping[str, Tokens], size: int, like: Tensor) -> Tensor:
    """Samples that have any visible token, [P]."""
    found = torch.zeros(size, dtype=torch.bool, device=like.device)
    for part in tokens.values():
        found[part.rows[part.visible.any(1)]] = True
    return found.nonzero().squeeze(1)

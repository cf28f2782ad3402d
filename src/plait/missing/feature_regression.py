"""A small network for each pair of modalities predicts an absent one's embedding from one that is there.

    r_a  = mean over k of read_a(q_ak, tokens_a)                  learned prompts q_ak, which tokens do not read back
    y_am = f_am(r_a),   f_am: norm, linear, gelu, linear
    token of m, of a sample without it = mean over present a of y_am

Alone it learns from the task, where a prediction stands in; the objective predicted_embedding makes y_am predict the
true mean token wherever a sample has both, and what a prompt reads is read by no token.
Source: Kim and Kim, "Missing Modality Prediction for Unpaired Multimodal Learning via Joint Embedding of Unimodal
Models", arXiv:2407.12616, where the prompts pass through frozen encoders; here they read the encoder's output.
Relatives: proxy_token, a query for each pair and no network; masked_projection.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from plait.core.attention import CrossAttention
from plait.core.component import Count
from plait.core.named import Named
from plait.core.packed import Tokens
from plait.core.part import Place, Spec
from plait.core.random import seeded, spawn

from ._pairwise import Pairwise


class FeatureRegression(Pairwise):
    """prompts: of each modality.  heads: of the attention by which they read.

    expansion: width of the networks' inner layer, in widths of a token.
    """

    def __init__(self, prompts: Count = 4, heads: Count = 4, expansion: Count = 1) -> None:
        super().__init__()
        self.prompts, self.heads, self.expansion = prompts, heads, expansion
        self.sources = Named()

    def build(self, spec: Spec, place: Place) -> None:
        base = spawn()
        self.names = spec.names if len(spec.names) > 1 else ()
        for name in self.names:
            if name not in self.sources:
                with seeded(base, name):
                    self.sources[name] = _Source(spec.width, self.prompts, self.heads, place)
            predictors = cast(_Source, self.sources[name]).predictors
            for other in self.names:
                if other != name and other not in predictors:
                    with seeded(base, name, other):
                        predictors[other] = predictor(spec.width, self.expansion)

    def says(self, name: str, part: Tokens) -> dict[str, Tensor]:
        source = cast(_Source, self.sources[name])
        read = source.reader(source.prompts, part.values, part.visible).mean(1)
        return {other: predict(read) for other, predict in source.predictors.items()}


def predictor(width: int, expansion: int) -> nn.Sequential:
    """[P, D] -> [P, D]."""
    inner = expansion * width
    return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, inner), nn.GELU(), nn.Linear(inner, width))


class _Source(nn.Module):
    """How one modality is read, and what it predicts of each other."""

    def __init__(self, width: int, prompts: int, heads: int, place: object) -> None:
        super().__init__()
        self.prompts = nn.Parameter(0.02 * torch.randn(prompts, width))  # same: any small start
        self.reader, self.predictors = CrossAttention(width, heads, place, expansion=2), Named()

"""A pretrained model that stays as it is, and a small trainable map from its features to tokens.

    token_t = norm(W (f_t - mean) / std + type_t + position_t)

With `cache` the model runs once per cell and its features are stored.  Without, cells are stored as decoded and the
model is a part of the network: adapters such as LoRA reach its layers, and views may change the cells.
Models: `efficientnet-lite0` (image) and `minilm-l6` (English text), whose weights come with plait[image] and
plait[text], or any id of the Hugging Face hub, or a folder.   Relatives: conv_image, hashed_text, conv_audio.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn

from plait.core.component import Count, Positive, Rate
from plait.core.errors import RecipeError
from plait.core.packed import Packed, Tokens, tokens_of
from plait.core.part import Encoder, Modality, Place, Spec, Training

from . import _backbones
from ._encoded import Encoded
from ._logmel import RATE
from ._standardise import Standardise, cells_of
from ._trunk import Depth, Positions, Trunk, lengths, within

BATCH = 32
"""Cells that the model runs on together."""
HALF = 65504.0
"""Largest number of half precision."""
SAMPLE = {True: 20_000, False: 256}
"""Training rows that statistics are taken from, by `cache`: without one each costs a run of the model."""
FEATURES = 1
"""Version of how features are made from cells: part of every cache key."""


class Frozen(Encoder):
    """model: name, hub id or folder.  tokens: one pooled token, all tokens of the last layer, or both.

    stages: how many of its last stages the pooled token is taken from (efficientnet-lite0 has 8, the others 1).
    size: side that images are decoded to, pixels.  seconds: of the beginning of a sound that are heard.
    precision: of the model's arithmetic.  depth: trainable transformer blocks within the modality.
    feature_dropout: share of the standardised features that each training step leaves out.
    """

    kinds = ("image", "text", "audio")
    backbone: _backbones.Backbone

    def __init__(
        self,
        model: str,
        tokens: Literal["pooled", "all", "both"] = "pooled",
        stages: Count = 1,
        cache: bool = True,
        size: Count = 224,
        seconds: Positive = 10.0,
        precision: Literal["float32", "bfloat16"] = "float32",
        depth: Depth = 0,
        heads: Count = 4,
        dropout: Rate = 0.1,
        feature_dropout: Rate = 0.0,
    ) -> None:
        super().__init__()
        self.model, self.tokens, self.frozen, self.size, self.seconds = model, tokens, cache, size, seconds
        self.dtype: torch.dtype = getattr(torch, precision)
        self.stages, self.depth, self.heads, self.dropout = stages, depth, heads, dropout
        self.feature_dropout = nn.Dropout(feature_dropout)

    def wants(self) -> dict[str, Any]:
        options: dict[str, dict[str, Any]] = {
            "image": {"size": self.size},
            "text": {},
            "audio": {"rate": RATE, "seconds": self.seconds},
        }
        return options[self.kind]

    def fingerprint(self) -> str:
        if not self.frozen:
            return super().fingerprint()
        return json.dumps([FEATURES, self._shared().fingerprint(), self.tokens, self.stages, str(self.dtype), BATCH])

    def precompute(self, cells: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Decoded cells -> [T, C], a pooled token alone in float32, else in float16; as they are without `cache`."""
        if not self.frozen:
            return list(cells)
        backbone, features = self._shared(), []
        for start in range(0, len(cells), BATCH):
            with torch.inference_mode():
                values, mask = self._chosen(backbone([torch.tensor(cell) for cell in cells[start : start + BATCH]]))
            if self.tokens != "pooled":
                values = values.clamp(-HALF, HALF).half()
            features += [cell[exists].cpu().numpy() for cell, exists in zip(values, mask, strict=True)]  # same: as many
        return features

    def unknown_rate(self, texts: Sequence[str]) -> float:
        """Share of the word pieces of `texts` that the model's vocabulary lacks, 0 to 1; for text only."""
        return self._shared().unknown_rate(texts)

    def _shared(self) -> _backbones.Backbone:
        """The model for `precompute`, which is no part of the network: neither saved nor copied nor trained."""
        if "_loaded" not in self.__dict__:
            self.__dict__["_loaded"] = self._checked(_backbones.shared(self.model, self.kind, self.dtype, self.stages))
        return self.__dict__["_loaded"]

    def _checked(self, backbone: _backbones.Backbone) -> _backbones.Backbone:
        if backbone.kind != self.kind:
            raise RecipeError(
                f"frozen: {self.model} takes {backbone.kind} cells, not {self.kind}. Choose another model."
            )
        return backbone

    def _chosen(self, encoded: Encoded) -> tuple[Tensor, Tensor]:
        """-> values [P, T, C], mask [P, T]."""
        pooled = encoded.pooled.unsqueeze(1)
        exists = encoded.mask.new_ones(len(pooled), 1)
        if self.tokens == "pooled":
            return pooled, exists
        if self.tokens == "all":
            return encoded.tokens, encoded.mask
        if pooled.shape[2] != encoded.tokens.shape[2]:
            raise RecipeError(
                f"frozen: {self.model} has a pooled token of {pooled.shape[2]} features and others of "
                f"{encoded.tokens.shape[2]}, which cannot stand together. Set tokens to pooled or all."
            )
        return torch.cat([pooled, encoded.tokens], 1), torch.cat([exists, encoded.mask], 1)

    def describe(self, modality: Modality) -> tuple[int, int]:
        if self.frozen:
            return 0 if modality.ragged else modality.shape[0], modality.shape[-1]
        return 1, 0 if modality.ragged else math.prod(modality.shape)

    def build(self, spec: Spec, place: Place) -> None:
        if hasattr(self, "linear"):
            return
        self.kind = spec.modalities[place.name].kind
        self.__dict__.pop("_loaded", None)
        if self.frozen:
            _, size = spec.pieces[place.name]
        else:
            self.backbone = backbone = self._checked(_backbones.load(self.model, self.kind, self.dtype, self.stages))
            size = self._chosen(backbone([_blank(self.kind, self.size)]))[0].shape[2]
        sorts = 2 if self.tokens == "both" else 1
        self.scales = nn.ModuleList(Standardise(size) for _ in range(sorts))
        self.linear = nn.Linear(size, spec.width, bias=False)
        self.types = nn.Parameter(nn.init.normal_(torch.empty(sorts, spec.width), std=0.02))  # same: any small start
        self.positions = None if self.tokens == "pooled" else Positions(spec.width)
        self.trunk = Trunk(spec.width, self.depth, self.heads, self.dropout, place)

    def train(self, mode: bool = True) -> Frozen:
        super().train(mode)
        if not self.frozen and hasattr(self, "backbone"):
            self.backbone.eval()
        return self

    def prepare(self, train: Training) -> None:
        for sort, scale in enumerate(self.scales):
            cast(Standardise, scale).learn(self._samples(train, sort))

    def _samples(self, train: Training, sort: int) -> Iterator[Tensor]:
        """Features [n, C] of all training tokens of one sort."""
        for cells in cells_of(train, self.place.name, SAMPLE[self.frozen]):
            with torch.no_grad():
                features = self._features(self.cut(cells))
            yield features.values[features.mask & (self._sorts(features) == sort)]

    def _sorts(self, features: Tokens) -> Tensor:
        """[T]: which of `types` each token is; the pooled one comes first."""
        return torch.arange(features.values.shape[1], device=features.values.device).clamp_max(len(self.types) - 1)

    def cut(self, cells: Packed) -> Tokens:
        """Stored features [P, T, C] -> the same; without `cache`, each cell is one piece, [P, 1, C]."""
        if not self.frozen:
            notes = cells.notes if self.kind == "image" else cells.notes | {"length": lengths(cells)}
            return tokens_of(cells.values.flatten(1).unsqueeze(1), cells.rows, notes=notes, blend=cells.blend)
        mask = within(lengths(cells), cells.values.shape[1])
        return Tokens(cells.values.float(), cells.rows, mask, notes=cells.notes, blend=cells.blend)

    def paste(self, pieces: Tokens) -> Packed:
        values = pieces.values
        if self.frozen:
            values = values if self.tokens == "pooled" else values.half()
        elif self.kind == "image":
            values = values.reshape(len(pieces), self.size, self.size, 3)
        else:
            values = values.squeeze(1)
        return Packed(values, pieces.rows, notes=pieces.notes, blend=pieces.blend)

    def _features(self, pieces: Tokens) -> Tokens:
        """The model's features of the visible pieces; a hidden cell has one token, hidden."""
        if self.frozen:
            return pieces
        visible = pieces.visible.squeeze(1)
        cells = pieces.values[:, 0][visible]
        if self.kind == "image":
            each = list(cells.reshape(-1, self.size, self.size, 3))
        else:
            each = [cell[:n] for cell, n in zip(cells, pieces.notes["length"][visible].tolist(), strict=True)]
        if not each:
            return pieces.with_(values=self.linear.weight.new_zeros(len(pieces), 1, self.linear.in_features))
        values, mask = self._chosen(self.backbone(each))
        all_values = values.new_zeros(len(pieces), *values.shape[1:])
        all_mask = mask.new_zeros(len(pieces), values.shape[1])
        all_values[visible], all_mask[visible] = values, mask
        hidden = None
        if pieces.hidden is not None:
            hidden = torch.zeros_like(all_mask)
            hidden[:, :1] = pieces.hidden
            all_mask[:, :1] |= pieces.hidden
        return pieces.with_(values=all_values, mask=all_mask, hidden=hidden)

    def forward(self, pieces: Tokens, layers: int = 0) -> Tokens:
        features = self._features(pieces)
        visible, sorts = features.visible, self._sorts(features)
        embedded = self.linear.weight.new_zeros(*visible.shape, self.linear.out_features)
        for sort, scale in enumerate(self.scales):
            of_sort = visible & (sorts == sort)
            embedded[of_sort] = self.linear(self.feature_dropout(scale(features.values[of_sort]))).to(embedded.dtype)
        places = self.types[sorts]
        if self.positions is not None:
            places = places + self.positions(torch.arange(len(sorts), device=sorts.device))
        return self.trunk(embedded[visible], places, features, layers)


def _blank(kind: str, size: int) -> Tensor:
    """A cell to find out a model's width with."""
    blanks = {
        "image": torch.zeros(size, size, 3, dtype=torch.uint8),
        "text": torch.tensor(list(b"a"), dtype=torch.uint8),
        "audio": torch.zeros(RATE),
    }
    return blanks[kind]

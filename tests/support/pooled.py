"""Fusions over one vector per modality, and cells for them."""

import tiny
import torch

from plait.core.packed import Tokens, tokens_of

WIDTH = 8
COMPLETE = {"a": [0, 1, 2, 3], "b": [0, 1, 2, 3], "c": [0, 1, 2, 3]}
PARTIAL = {"a": [0, 2], "b": [0, 1], "c": [0, 3]}


def built(fusion, names="abc"):
    torch.manual_seed(0)
    fusion.build(tiny.spec(names, width=WIDTH), None)
    return fusion.eval()


def cells(present: dict[str, list[int]], seed: int = 0) -> dict[str, Tokens]:
    """Cells of three tokens, as leaves of a gradient."""
    g = torch.Generator().manual_seed(seed)
    return {
        name: tokens_of(
            torch.randn(len(rows), 3, WIDTH, generator=g).requires_grad_(), torch.tensor(rows, dtype=torch.long)
        )
        for name, rows in present.items()
    }

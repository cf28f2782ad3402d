"""Whether this is one of several processes, and which, before torch is imported."""

from __future__ import annotations

import os


def rank() -> int:
    """As torchrun and accelerate say it; 0 where there is but one."""
    return int(os.environ.get("RANK", "0"))


def one_of_several() -> bool:
    """Whether torchrun or accelerate started it."""
    return "WORLD_SIZE" in os.environ

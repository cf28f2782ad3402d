"""Which of several processes this is, before torch is imported."""

from __future__ import annotations

import os


def rank() -> int:
    """As torchrun and accelerate say it; 0 where there is but one."""
    return int(os.environ.get("RANK", "0"))

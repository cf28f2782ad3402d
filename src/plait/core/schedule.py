"""Numbers that change in the course of a training."""

from __future__ import annotations


def annealed(first: float, last: float, step: int, steps: int) -> float:
    """What goes evenly from `first` to `last` over so many optimiser steps, and stays; `last` at once if they are 0."""
    left = max(0.0, 1 - step / steps) if steps else 0.0
    return last + (first - last) * left

"""What is claimed of measures, as functions: one file for each entry that is a measure.

A planted claim's function takes `draw` and a seed and gives two numbers, the measure's and the baseline's.  `draw()` is
the made table, `draw(missing=0.0)` the same with a knob turned.  An exact claim's function takes nothing and gives what
the claim speaks of.
"""

from __future__ import annotations

from typing import Any, Protocol

from plait.data.table import Table


class Draw(Protocol):
    """Gives the drawn table, with knobs turned if they are named."""

    def __call__(self, **knobs: Any) -> Table: ...

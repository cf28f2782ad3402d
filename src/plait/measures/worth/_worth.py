"""Numbers of modalities or pairs of them, with intervals, and the same numbers row by row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..bootstrap import mean_interval
from ._game import Game, Subset, stacked

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Worth:
    """of: what each number is of, a modality or a pair.  value, se: [K]; interval: [K, 2], NaN where v is numbers.

    rows: [N, K], the same of every row, or None.  se: standard error from drawn orders, 0 where nothing was drawn; the
    interval has it in it.
    """

    of: tuple[Subset, ...]
    value: Array
    interval: Array
    se: Array
    rows: Array | None

    def within(self, labels: Array, *, groups: Array | None = None, seed: int = 0) -> dict[Any, Worth]:
        """{label: the same of its rows}.  labels: [N].  Not of drawn orders, whose error in a part is not known."""
        if self.rows is None or len(labels) != len(self.rows) or self.se.any():
            raise ValueError("expected a label for each row, of an exact worth that was made from values of rows")
        parts = {label: np.asarray(labels) == label for label in np.unique(labels).tolist()}
        return {
            label: _of_rows(self.of, self.rows[part], None if groups is None else np.asarray(groups)[part], seed)
            for label, part in parts.items()
        }

    def account(self) -> dict[str, dict[str, float | None]]:
        """Plain data: {"image": {value, low, high, se}}, a pair as "image + text"."""
        numbers = np.column_stack([self.value, self.interval, self.se]).tolist()
        return {
            " + ".join(name): {
                said: None if np.isnan(number) else number
                for said, number in zip(("value", "low", "high", "se"), line, strict=True)
            }
            for name, line in zip(self.of, numbers, strict=True)
        }


def of_game(
    game: Game,
    shares: Sequence[Array],
    groups: Array | None,
    seed: int,
    *,
    of: Sequence[Subset] | None = None,
    level: float = 0.95,
) -> Worth:
    """shares: K x [N] as the game gives them; of: [K], the modalities unless others are said."""
    named = tuple((name,) for name in game.names) if of is None else tuple(of)
    table = stacked(shares)
    if game.rows is None:
        return Worth(named, table[0], np.full((len(named), 2), np.nan), np.zeros(len(named)), None)
    return _of_rows(named, table, groups, seed, level)


def _of_rows(of: tuple[Subset, ...], rows: Array, groups: Array | None, seed: int, level: float = 0.95) -> Worth:
    ends = [mean_interval(share, groups=groups, seed=seed, level=level, exact=False) for share in rows.T]
    return Worth(of, rows.mean(0), np.array(ends), np.zeros(len(of)), rows)

"""What arms that were judged at the same units differ by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import stdtrit

from plait.workflow.nested import Judged

from . import gates, verdict
from .grounds import Ground
from .verdict import Estimate

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Results:
    """Arms by name, where they were judged."""

    ground: Ground
    judged: dict[str, Judged]

    def difference(self, one: str, other: str) -> tuple[Estimate, Array]:
        """Of one arm's measure minus the other's, and what it was computed from: [U] or [N]."""
        values = self.judged[one].values() - self.judged[other].values()
        of_one, of_other = self.rows(one), self.rows(other)
        rows = None if of_one is None or of_other is None else of_one - of_other
        return self._estimate(values, rows), values if rows is None else rows

    def level(self, arm: str) -> Estimate:
        """Of the measure itself."""
        return self._estimate(self.judged[arm].values(), self.rows(arm))

    def _estimate(self, values: Array, rows: Array | None) -> Estimate:
        """values: [U], of units.  rows: [N], NaN where a row has none; None if the measure has no rows."""
        if self.ground.made:
            return verdict.of_runs(values)
        if rows is None:
            place = self.ground.grounds.units[0].place
            return verdict.of_folds(values, len(place.test), len(place.train) + len(place.validation))
        kept = ~np.isnan(rows)
        return verdict.of_rows(rows[kept], self.ground.groups[kept], values if len(values) > 1 else None)

    def rows(self, arm: str) -> Array | None:
        """[N] a measure's values per row, the mean over repeats and seeds.

        None if it has none, and of a made table, where each unit has rows of its own.
        """
        if self.ground.made:
            return None
        total, times = np.zeros(len(self.ground.groups)), np.zeros(len(self.ground.groups))
        for unit, outcomes in zip(self.ground.grounds.units, self.judged[arm].finals, strict=True):
            for outcome in outcomes:
                if outcome.rows is None:
                    return None
                seen = ~np.isnan(outcome.rows)
                total[unit.place.test[seen]] += outcome.rows[seen]
                times[unit.place.test[seen]] += 1
        return np.where(times > 0, total / np.maximum(times, 1), np.nan)

    def discordant(self, one: str, other: str) -> int:
        """Groups with rows on which two arms differ; of a made table, rows over all draws."""
        found = 0
        differs = np.zeros(len(self.ground.groups), bool)
        pairs = zip(self.judged[one].finals, self.judged[other].finals, strict=True)
        for unit, (first, second) in zip(self.ground.grounds.units, pairs, strict=True):
            apart = gates.differs(first[0], second[0], 0.0)
            found += int(apart.sum())
            if not self.ground.made:
                differs[unit.place.test[apart]] = True
        return found if self.ground.made else len(np.unique(self.ground.groups[differs]))

    def noise(self, arm: str) -> float | None:
        """By how much an arm may well differ from itself with other seeds: t(.975, U (S - 1)) sqrt(2) s / sqrt(U S).

        None of a made table: each draw has a seed of its own, so the interval has it already.
        """
        if self.ground.made:
            return None
        finals = self.judged[arm].finals
        units, seeds = len(finals), len(finals[0])
        spread = np.mean([np.var([outcome.value for outcome in unit], ddof=1) for unit in finals])
        return float(stdtrit(units * (seeds - 1), 0.975) * np.sqrt(2 * spread / (units * seeds)))

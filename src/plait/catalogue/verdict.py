"""From differences between two arms to an interval and a verdict.

    D = mean of D_i;   SE = sqrt(G / (G - 1) sum_g (sum_{i in g} (D_i - D))^2) / n;   D +- 1.3 t(.975, G - 1) SE

for measures that are means over rows, D_i the mean over repeats of (method - baseline) on row i, in G groups of rows
that belong together.  The 1.3 pays for training sets that overlap: a plain t-interval over overlapping splits calls
exchangeable arms different in up to half of the cases.  Where trainings differ from each other more than rows show, the
t-interval over folds is wider and takes its place.  Measures that are no means over rows have a difference a fold:

    d +- t(.975, J - 1) s sqrt(1 / J + n_test / n_rest)

Source: Nadeau and Bengio, "Inference for the generalization error", Machine Learning 2003; many claims at once:
Benjamini and Hochberg, J. R. Statist. Soc. B 1995.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import nctdtrinc, stdtr, stdtrit

from plait.measures.multiple_testing import adjusted

Array = NDArray[Any]
OVERLAP = 1.3
"""By how much intervals of row differences are widened; found by simulation."""
FOUND = 0.8
"""How often a difference of the size that could have been seen is found."""

Word = Literal["holds", "unclear", "contradicted", "informative"]
"""The last of what is told and not judged: how long something took."""


@dataclass(frozen=True)
class Estimate:
    """A difference with its 95 % interval.  se: its standard error, widening included.  df: degrees of freedom."""

    difference: float
    se: float
    df: int

    @property
    def half(self) -> float:
        """Half of the interval's width."""
        return float(stdtrit(self.df, 0.975)) * self.se

    @property
    def interval(self) -> tuple[float, float]:
        return self.difference - self.half, self.difference + self.half

    def seen_from(self, tests: int = 1) -> float:
        """The difference that is found in four of five cases: 2.8 standard errors of many rows, 3.8 of 5 folds.

        tests: how many share one level; it is what the strictest of them finds (Holm).  The statistic of such a
        difference is a noncentral t.
        """
        critical = stdtrit(self.df, 1 - 0.025 / tests)
        return float(nctdtrinc(self.df, 1 - FOUND, critical)) * self.se

    def account(self) -> dict[str, Any]:
        """What a record has of it."""
        return {"difference": self.difference, "interval": list(self.interval)}

    @property
    def p(self) -> float:
        """Two-sided, of `there is no difference`."""
        if self.se == 0:
            return float(self.difference == 0)
        return float(2 * stdtr(self.df, -abs(self.difference) / self.se))

    def p_above(self, value: float) -> float:
        """One-sided p of `the difference is at most value`."""
        if self.se == 0:
            return 0.0 if self.difference > value else 1.0
        return float(stdtr(self.df, (value - self.difference) / self.se))


def of_rows(differences: Array, groups: Array, folds: Array | None = None) -> Estimate:
    """differences: [P], each row's mean over repeats.  groups: [P].  ValueError on fewer than 2 groups.

    folds: [J], one for each fold of every repeat.  Rows cannot say how much trainings differ from each other; where the
    t-interval over folds is the wider one, it is the one that counts.
    """
    _, code = np.unique(groups, return_inverse=True)
    count = int(code.max(initial=-1)) + 1
    if count < 2 or len(differences) != len(code):
        raise ValueError(f"expected a difference and a group for each row, and 2 groups or more, found {count}")
    mean = float(np.mean(differences))
    sums = np.bincount(code, np.asarray(differences, np.float64) - mean)
    se = float(np.sqrt(count / (count - 1) * np.sum(sums**2)) / len(differences))
    rows = Estimate(mean, OVERLAP * se, count - 1)
    if folds is None:
        return rows
    return max(rows, replace(of_runs(folds), difference=mean), key=lambda found: found.half)


def of_folds(differences: Array, test: int, rest: int) -> Estimate:
    """differences: [J], one for each fold of every repeat.  test, rest: rows in a fold, and outside of it."""
    return _of_t(differences, 1 / len(differences) + test / rest)


def of_runs(differences: Array) -> Estimate:
    """differences: [S], each from data of its own."""
    return _of_t(differences, 1 / len(differences))


def _of_t(differences: Array, factor: float) -> Estimate:
    if len(differences) < 2:
        raise ValueError(f"expected 2 differences or more, found {len(differences)}")
    spread = float(np.std(np.asarray(differences, np.float64), ddof=1))
    return Estimate(float(np.mean(differences)), spread * float(np.sqrt(factor)), len(differences) - 1)


def judge(found: Estimate, expect: str, margin: float) -> tuple[Word, str]:
    """-> verdict, and why it is unclear.

    higher: holds above 0, is contradicted below the margin.  lower: the same of the negative.  not_lower: holds above
    -margin, is contradicted below 0.  equal: holds within the margin, is contradicted where the interval lies outside.
    """
    if expect == "lower":
        return judge(Estimate(-found.difference, found.se, found.df), "higher", margin)
    low, high = found.interval
    if expect == "equal":
        if -margin < low and high < margin:
            return "holds", ""
        return ("contradicted", "") if low > margin or high < -margin else ("unclear", "underpowered")
    holds_above, contradicted_below = {"higher": (0.0, margin), "not_lower": (-margin, 0.0)}[expect]
    if low > holds_above:
        return "holds", ""
    if high < contradicted_below:
        return "contradicted", ""
    if found.difference < 0:
        return "unclear", "reversed"
    if expect == "higher" and found.difference < margin and found.seen_from() <= margin:
        return "unclear", "no worthwhile gain"
    return "unclear", "underpowered"


def reaches(found: Estimate, value: float) -> tuple[Word, str]:
    """Whether the measure itself, estimated as `found`, reaches a value."""
    low, high = found.interval
    return ("holds", "") if low > value else ("contradicted", "") if high < value else ("unclear", "underpowered")


def together(words: list[Word]) -> Word:
    """Of several parts: holds if all do, is contradicted if one is.  What is not judged has no say."""
    words = [word for word in words if word != "informative"]
    if "contradicted" in words:
        return "contradicted"
    return "holds" if words and set(words) == {"holds"} else "unclear"


def discoveries(p: Array, q: float = 0.10) -> Array:
    """[K] bool: which of K claims stand when the share of false ones among them is held to `q`."""
    return np.asarray(adjusted(p, "fdr") <= q)

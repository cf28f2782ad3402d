"""What a measure is on every subset of the modalities."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Subset = tuple[str, ...]
Values = Mapping[Subset, float | Array] | Callable[[Subset], float | Array]


class Game:
    """names [M], and `game(indices)` -> [N] values of rows, or [1] where the measure is one number.

    values: {modalities: a number, or [N], one for each row}, in which the order of names in a subset does not matter
    and () stands for no modality; or a function of a subset, for names.  Each subset is read when it is asked for, and
    once.  A number among values of rows holds for all of them.  ValueError on a subset that is not there, values that
    are not finite, or of unequal length.  rows: how many, None as long as only numbers were read.
    """

    def __init__(self, values: Values, names: Sequence[str] | None = None) -> None:
        if isinstance(values, Mapping):
            listed = list(dict.fromkeys(n for key in values for n in key) if names is None else names)
            self._ask = _lookup(values)
        elif names is None:
            raise ValueError("a function of subsets does not say which modalities there are: give `names`")
        else:
            listed, self._ask = list(names), values
        if not listed or len(set(listed)) < len(listed):
            raise ValueError(f"expected one modality or more, each named once, found {listed}")
        self.names = tuple(listed)
        self.rows: int | None = None
        self._known: dict[Subset, Array] = {}

    @property
    def asked(self) -> int:
        """How many subsets have been read."""
        return len(self._known)

    def __call__(self, chosen: Iterable[int]) -> Array:
        subset = tuple(self.names[i] for i in sorted(chosen))
        if subset not in self._known:
            value = np.asarray(self._ask(subset), np.float64)
            if value.ndim > 1 or not value.size or not np.isfinite(value).all():
                raise ValueError(f"{subset}: expected a number or [N], all finite, found shape {value.shape}: {value}")
            if value.ndim and len(value) != (self.rows or len(value)):
                raise ValueError(f"{subset}: found values of {len(value)} rows, expected {self.rows}, as of others")
            self.rows = len(value) if value.ndim else self.rows
            self._known[subset] = value.reshape(-1)
        return self._known[subset]


def stacked(values: Sequence[Array]) -> Array:
    """K x [N] or [1] -> [N, K]."""
    return np.stack(np.broadcast_arrays(*values), -1)


def _lookup(values: Mapping[Subset, float | Array]) -> Callable[[Subset], float | Array]:
    for key in values:
        if not isinstance(key, tuple):
            raise ValueError(f"expected tuples of modalities, such as ('{key}',), found {key!r}")
    table = {frozenset(key): value for key, value in values.items()}
    if len(table) < len(values):
        raise ValueError(f"a subset is there twice, in another order, among {list(values)}")

    def ask(subset: Subset) -> float | Array:
        if frozenset(subset) not in table:
            hint = (
                "" if subset else ": what the measure is without any modality, such as that of the most frequent class"
            )
            raise ValueError(f"no value for the subset {subset}{hint}")
        return table[frozenset(subset)]

    return ask

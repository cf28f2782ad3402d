"""How much of an output each modality accounts for, by integrated gradients where the modalities meet.

    a_m = <x_m - b_m,  int_0^1 dF/dx_m (b + t (x - b)) dt>          sum_m a_m = F(x) - F(b)      (completeness)

x: the tokens that enter the fusion; b: what the fusion gets of an absent modality.  The baseline has to be given: zeros
are a cell the model has never seen, not the absence of one.  The integral is Gauss and Legendre's sum, exact for
polynomials of degree 2 steps in F; elsewhere the residual of completeness says how good it is, and is reported.
Sources: Sundararajan et al., "Axiomatic attribution for deep networks", arXiv:1703.01365; per modality at the fusion
layer, Jain et al., "MAEA: multimodal attribution for embodied AI", arXiv:2307.13850 (its kind of gradient: not ours).
Limits: all modalities move from absent to present together, so what only two give jointly is split between them, by
the path and not by any rule of fairness; shares are of absolute amounts, so that what cancels is not hidden.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import bootstrap
from ..estimate import Accounted, Estimate, mean
from ._checked import finite

Array = NDArray[Any]
ValueAndGradient = Callable[[Mapping[str, Array]], tuple[Array, Mapping[str, Array]]]
"""{modality: tokens [N, ...]} -> F [N], {modality: the gradient of the sum of F, as the tokens}."""


@dataclass(frozen=True, eq=False)
class ModalityAttribution(Accounted):
    """attribution: {modality: [N]}, in the unit of F.  difference: [N], F(x) - F(b).  residual: [N], what is lacking.

    mean: of the attributions, with sign.  share: mean |a_m| / sum_k mean |a_k|; NaN where nothing is attributed.
    complete: whether sum |residual| is at most `tolerance` of sum |difference|; else more steps are needed.
    """

    attribution: Mapping[str, Array]
    difference: Array
    residual: Array
    mean: Mapping[str, Estimate]
    share: Mapping[str, Estimate]
    complete: bool


def modality_attribution(
    value_and_gradient: ValueAndGradient,
    tokens: Mapping[str, Array],
    absent: Mapping[str, Array],
    *,
    steps: int = 32,
    tolerance: float = 0.02,
    groups: Array | None = None,
    seed: int = 0,
    draws: int = 1000,
) -> ModalityAttribution:
    """tokens: {modality: [N, ...]}, the absent token in rows without it.  absent: the same, or of one row [...].

    Rows must not look at each other.  Intervals: rows are resampled, or `groups` [N] of rows that belong together.
    ValueError if a baseline is missing or of another shape, for NaN, and for gradients that do not fit.
    """
    if steps < 1:
        raise ValueError(f"steps: expected 1 or more, found {steps}")
    start, end = _ends(tokens, absent)
    attribution, difference = integrated_gradients(value_and_gradient, start, end, steps)
    residual = sum(attribution.values()) - difference
    size = np.stack([np.abs(a) for a in attribution.values()])

    def statistic(rows: Array) -> dict[str, float]:
        total = size[:, rows].sum(1)
        share = total / total.sum() if total.sum() > 0 else np.full(len(total), np.nan)
        return {name: float(s) for name, s in zip(attribution, share, strict=True)}

    ends = bootstrap.intervals(statistic, len(difference), groups=groups, seed=seed, draws=draws)
    return ModalityAttribution(
        attribution,
        difference,
        residual,
        {name: mean(a, groups=groups, seed=seed, exact=False) for name, a in attribution.items()},
        {name: Estimate(value, ends[name]) for name, value in statistic(np.arange(len(difference))).items()},
        bool(np.abs(residual).sum() <= tolerance * np.abs(difference).sum()),
    )


def integrated_gradients(
    value_and_gradient: ValueAndGradient, start: Mapping[str, Array], end: Mapping[str, Array], steps: int
) -> tuple[dict[str, Array], Array]:
    """-> {modality: [N] attribution}, [N] F(end) - F(start).  start, end: {modality: [N, ...]}, of equal shapes."""
    rows = len(next(iter(end.values())))
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    total = {name: np.zeros(values.shape) for name, values in end.items()}
    for at, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
        _, gradient = value_and_gradient({name: start[name] + at * (end[name] - start[name]) for name in end})
        for name in end:
            if name not in gradient:
                raise ValueError(f"no gradient was given for {name}, expected one for each of {', '.join(end)}")
            total[name] += weight * finite(gradient[name], f"gradient of {name}", *end[name].shape)
    found = {name: ((end[name] - start[name]) * total[name]).reshape(rows, -1).sum(1) for name in end}
    before, after = (finite(value_and_gradient(inputs)[0], "value", rows) for inputs in (start, end))
    return found, after - before


def _ends(tokens: Mapping[str, Array], absent: Mapping[str, Array]) -> tuple[dict[str, Array], dict[str, Array]]:
    if not tokens or set(tokens) != set(absent):
        raise ValueError(
            f"absent: expected what stands in for each of {', '.join(tokens) or 'no modality'}, "
            f"found {', '.join(absent) or 'nothing'}"
        )
    rows = {len(np.atleast_1d(values)) for values in tokens.values()}
    if len(rows) != 1 or 0 in rows:
        raise ValueError(f"tokens: expected equally many rows of each modality, at least one, found {sorted(rows)}")
    end = {name: finite(v, f"tokens of {name}", *np.shape(v)) for name, v in tokens.items()}
    start = {}
    for name, values in end.items():
        found = finite(absent[name], f"absent {name}", *np.shape(absent[name]))
        if found.shape not in (values.shape, values.shape[1:]):
            raise ValueError(
                f"absent {name}: expected {list(values.shape[1:])} or {list(values.shape)}, found {list(found.shape)}"
            )
        start[name] = np.broadcast_to(found, values.shape)
    return start, end

"""Units of an encoder that has learned from captions, against one that has seen images alone."""

from __future__ import annotations

import numpy as np
from sklearn.cross_decomposition import PLSSVD
from sklearn.decomposition import PCA

from plait.measures.space.unit_selectivity import UnitSelectivity, unit_selectivity

from . import Draw
from ._readers import Array, cells, codes, odd

FEATURES = 4
UNITS = 200
BLOCKS = 2
"""Of the jackknife, whose intervals nobody reads here."""


def share(draw: Draw, seed: int) -> tuple[float, float]:
    """Share of selective units: of the encoder that learned from captions, and of the one that saw images alone."""
    captioned, alone = _probed(draw, seed)
    return captioned.share, alone.share


def specificity(draw: Draw, seed: int) -> tuple[float, float]:
    """The same of their specificity; 0 where no unit is selective."""
    captioned, alone = _probed(draw, seed)
    return float(np.nan_to_num(captioned.specificity)), float(np.nan_to_num(alone.specificity))


def scaled() -> float:
    """What positive factors of the units change, in p-values and preferences."""
    rng = np.random.default_rng(0)
    names = np.repeat(["face", "scene", "word"], 20)
    units = rng.normal(size=(60, 30)) + (names == "face")[:, None] * np.linspace(0, 2, 30)
    one = unit_selectivity(units, names, blocks=BLOCKS)
    other = unit_selectivity(units * rng.uniform(0.1, 10, 30), names, blocks=BLOCKS)
    changed = sum(x != y for x, y in zip(one.preferred, other.preferred, strict=True))
    return float(np.abs(one.p - other.p).max() + changed)


def planted_unit() -> float:
    """1 less whether a unit that answers to one category alone is flagged with it, among 50 of noise."""
    rng = np.random.default_rng(0)
    names = np.repeat(["face", "scene", "word"], 30)
    units = np.column_stack([3.0 * (names == "scene") + rng.normal(size=90), rng.normal(size=(90, 50))])
    return float(unit_selectivity(units, names, blocks=BLOCKS).preferred[0] != "scene")


def layer(features: Array, seed: int) -> Array:
    """[N, UNITS] rectified random sums of features [N, F], each of deviation 1; the same for every encoder."""
    rng = np.random.default_rng(seed)
    return np.maximum(features / features.std(0) @ rng.normal(size=(features.shape[1], UNITS)), 0)


def _probed(draw: Draw, seed: int) -> tuple[UnitSelectivity, UnitSelectivity]:
    """Images are a, captions b, categories the target's classes.  Half of the rows teach the encoders."""
    table = draw()
    a, b, names, judge = cells(table, "a"), cells(table, "b"), codes(table, "y").astype(str), odd(len(table))
    directions = PLSSVD(FEATURES, scale=False).fit(a[~judge], b[~judge]).x_weights_
    captioned = (a[judge] - a[~judge].mean(0)) @ directions
    alone = PCA(FEATURES, svd_solver="full").fit(a[~judge]).transform(a[judge])
    probed = [unit_selectivity(layer(x, seed), names[judge], blocks=BLOCKS, seed=seed) for x in (captioned, alone)]
    return probed[0], probed[1]

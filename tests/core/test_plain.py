import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from plait.core.plain import plain


@dataclass(frozen=True)
class Found:
    value: float
    ends: tuple[float, float]


def test_everything_becomes_what_strict_json_says():
    data = {
        1: np.arange(3),
        "number": np.float32(0.5),
        "flag": np.bool_(True),
        "none": [float("nan"), np.inf, np.array([np.nan])],
        "place": Path("a") / "b",
        "found": [Found(0.5, (float("-inf"), 1.0))],
    }
    expected = {
        "1": [0, 1, 2],
        "number": 0.5,
        "flag": True,
        "none": [None, None, [None]],
        "place": "a/b",
        "found": [{"value": 0.5, "ends": [None, 1.0]}],
    }
    assert plain(data) == expected
    assert json.loads(json.dumps(plain(data), allow_nan=False)) == expected

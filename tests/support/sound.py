"""An entry of the catalogue in which nothing is wrong; claims and recipes for entries that are checked in seconds."""

from __future__ import annotations

from typing import Any

from grounded import SMALL

SOUND = {
    "title": "A gate",
    "source": "arXiv:1702.01992",
    "family": "fusion",
    "mechanism": "Gates.",
    "published": "Beats concatenation.",
    "carried_by": "fusion/gated",
    "recipe": {"fusion": {"gated": {}}},
    "baseline": {"fusion": {"concatenation": {}}},
    "claims": [
        {"says": "It does.", "kind": "compare", "data": "mfeat", "measure": "test/accuracy", "expect": "higher"},
        {
            "says": "Where one is noise.", "kind": "planted", "measure": "test/accuracy", "expect": {"at_least": 0.9},
            "data": {"factors": {"noise": 2.0}}, "without": {"factors": {"noise": 0.0}},
        },
    ],
}  # fmt: skip

EASY = {"factors": {"rows": 120, "modalities": 2, "unique": 0, "noise": 0.3}}
HOPELESS = {"factors": {"rows": 120, "modalities": 2, "unique": 0, "noise": 50.0}}


def training(epochs: int, **more: Any) -> dict[str, Any]:
    """The small recipe, trained for so long."""
    return {**SMALL, "training": {**SMALL["training"], "epochs": epochs}, **more}


def planted(expect: Any = "higher", says: str = "It gains where it can.", **more: Any) -> dict[str, Any]:
    """A claim of something easy to learn, and hopeless where its condition is off."""
    fixed = {"says": says, "kind": "planted", "measure": "test/accuracy", "data": EASY, "without": HOPELESS}
    return {**fixed, "expect": expect, **more}


def compare(expect: Any = "higher", says: str = "It gains on real rows.", **more: Any) -> dict[str, Any]:
    """A claim about a collected set, `toy`."""
    return {"says": says, "kind": "compare", "data": "toy", "measure": "test/accuracy", "expect": expect, **more}

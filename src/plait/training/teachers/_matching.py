"""What teachers share that are networks of another training."""

from __future__ import annotations

from plait.core.errors import RunError
from plait.core.network import Network
from plait.core.part import Encoder, Target


def check(teacher: Network, online: Network) -> None:
    """Both are given the same stored cells, and are compared class by class.  RunError where that cannot be."""
    if not set(teacher.names) & set(online.names):
        raise RunError(f"It knows {', '.join(teacher.names)}, none of which is here: {', '.join(online.names)}.")
    for name in teacher.names:
        if name not in online.names:
            continue
        mine, other = teacher.encoders[name], online.encoders[name]
        assert isinstance(mine, Encoder)
        assert isinstance(other, Encoder)
        alike = mine.wants() == other.wants() and mine.fingerprint() == other.fingerprint()
        if not alike or teacher.spec.modalities[name] != online.spec.modalities[name]:
            raise RunError(
                f"Its encoder of {name!r} reads cells that are decoded or precomputed otherwise. Give both recipes "
                "an encoder with the same settings for what is done once per cell, and the same columns."
            )
    for name, target in teacher.spec.targets.items():
        if name in online.spec.targets and online.spec.targets[name] != target:
            raise RunError(
                f"Its target {name!r} is {_said(target)}, here it is {_said(online.spec.targets[name])}. "
                "Fit both with one schema."
            )


def _said(target: Target) -> str:
    return f"{target.kind} ({', '.join(target.classes)})" if target.classes else target.kind

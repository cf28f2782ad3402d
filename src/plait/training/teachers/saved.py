"""The network of an earlier run, as it was saved; its recipe may be another, and its modalities fewer.

A network that was trained on complete rows can so teach one that learns on rows with missing cells, and models of
single modalities together one of all.
Source of the idea: Hinton et al., "Distilling the Knowledge in a Neural Network", arXiv:1503.02531.
"""

from __future__ import annotations

from pathlib import Path

from plait.core.errors import RunError
from plait.core.network import Network
from plait.core.part import Encoder, Target, Teacher
from plait.training.runs import load_network


class Saved(Teacher):
    """run: folder of the run."""

    def __init__(self, run: str) -> None:
        super().__init__()
        self.run = run

    def start(self, online: Network) -> Network:
        """RunError if the folder holds no finished run, or one that reads other cells or means other classes."""
        try:
            network, _ = load_network(Path(self.run))
            _check(network, online)
        except RunError as error:
            raise RunError(f"{self.place}: the run {self.run} cannot teach this one. {error}") from error
        return network


def _check(teacher: Network, online: Network) -> None:
    """Both are given the same stored cells, and are compared class by class."""
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

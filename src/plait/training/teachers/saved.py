"""The network of an earlier run, as it was saved; its recipe may be another, and its modalities fewer.

A network that was trained on complete rows can so teach one that learns on rows with missing cells, and models of
single modalities together one of all.
Source of the idea: Hinton et al., "Distilling the Knowledge in a Neural Network", arXiv:1503.02531.
"""

from __future__ import annotations

from pathlib import Path

from plait.core.errors import RunError
from plait.core.network import Network
from plait.core.part import Teacher
from plait.training.runs import load_network

from ._matching import check


class Saved(Teacher):
    """run: folder of the run."""

    def __init__(self, run: str) -> None:
        super().__init__()
        self.run = run

    def start(self, online: Network) -> Network:
        """RunError if the folder holds no finished run, or one that reads other cells or means other classes."""
        try:
            network, _ = load_network(Path(self.run))
            check(network, online)
        except RunError as error:
            raise RunError(f"{self.place}: the run {self.run} cannot teach this one. {error}") from error
        return network

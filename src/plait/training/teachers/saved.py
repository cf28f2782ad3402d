"""The network of an earlier run of the same recipe and schema, as it was saved.

A network that was trained on complete rows can so teach one that learns on rows with missing cells.
Source of the idea: Hinton et al., "Distilling the Knowledge in a Neural Network", arXiv:1503.02531.
"""

from __future__ import annotations

import copy
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file

from plait.core.errors import RunError
from plait.core.network import Network
from plait.core.part import Teacher


class Saved(Teacher):
    """run: folder of the run."""

    def __init__(self, run: str) -> None:
        super().__init__()
        self.run = run

    def start(self, online: Network) -> Network:
        """RunError if the folder has no weights, or they are of another recipe or schema."""
        path = Path(self.run) / "model.safetensors"
        try:
            tensors = load_file(path)
        except (OSError, SafetensorError) as error:
            raise RunError(f"{self.place}: {path} cannot be read as saved weights ({error}).") from error
        network = copy.deepcopy(online)
        try:
            network.load_tensors(tensors)
        except RunError as error:
            raise RunError(f"{self.place}: the run {self.run} cannot teach this one. {error}") from error
        return network

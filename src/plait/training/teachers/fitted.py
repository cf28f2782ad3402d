"""A model that is trained for it, before the stage and on the stage's own rows: a larger one, or one of an ensemble.

Slots of its recipe replace those of the table's default recipe.  {width: 256, fusion: late_average, objectives:
{singles: {}}} is a network of every modality on its own, which decide together; several with different seeds are an
ensemble of them, and what they know can be distilled into one small student.
Sources: Hinton et al., "Distilling the Knowledge in a Neural Network", arXiv:1503.02531; large networks of one modality
each teach a small one of all: Guerra-Manzanares and Shamout, "MIND", arXiv:2502.01158.  Relative: saved.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from plait.core.errors import RunError
from plait.core.network import Network
from plait.core.part import Teacher, Tools

from ._matching import check


class Fitted(Teacher):
    """recipe: its slots.  seed: added to the run's, so that one differs from the next."""

    def __init__(self, recipe: dict[str, Any] | None = None, seed: int = 0) -> None:
        super().__init__()
        self.recipe: Mapping[str, Any] = recipe or {}
        self.seed = seed
        self.network: Network | None = None

    def learn(self, table: Any, tools: Tools) -> None:
        network: Network = tools.fit(self.recipe, table, tools.seed + self.seed).network
        # A teacher belongs to nobody's parameters.
        self.__dict__["network"] = network

    def start(self, online: Network) -> Network:
        """RunError if it was given nothing to learn from, or reads other cells than its student."""
        if self.network is None:
            raise RunError(f"{self.place}: it has had no rows to learn from.")
        try:
            check(self.network, online)
        except RunError as error:
            raise RunError(f"{self.place}: it cannot teach this network. {error}") from error
        return self.network

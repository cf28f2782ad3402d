"""Every modality learns to predict the targets alone, through a head of its own.

    L_target,m = mean over labelled samples that have m of head_m.loss(head_m(mean token of m), label)

Keeps a weak modality's encoder learning when a strong one explains the labels.
Source: Wang et al., "What Makes Training Multi-Modal Classification Networks Hard?", arXiv:1905.12681, with fixed
weights.  Relative: supervised.
"""

from __future__ import annotations

import torch

from plait.core.outputs import State
from plait.core.packed import Packed
from plait.core.part import Needs, Objective, Place, Spec, Terms

from ._labelled import compares_samples, labelled_loss


class Singles(Objective):
    """Terms: TARGET/MODALITY."""

    needs = Needs(singles="trained")

    def build(self, spec: Spec, place: Place) -> None:
        self.targets, self.names = tuple(spec.targets), spec.names
        self.whole = compares_samples(spec)

    def forward(self, state: State) -> Terms:
        out = state.of()
        ids = state.batch.ids
        nobody = Packed(torch.zeros(0, 1, device=ids.device), ids[:0])
        return {
            f"{target}/{name}": labelled_loss(
                out.heads[target], out.singles[target].get(name, nobody), out.targets, target
            )
            for target in self.targets
            for name in self.names
        }

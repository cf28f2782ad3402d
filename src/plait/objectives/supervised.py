"""Each head's own loss on the rows that have a label, also on the fusion's intermediate readouts.

    L_target = mean over labelled samples of head.loss(head(fused), label)

Unlabelled rows take no part.  Relative: singles, the same for every modality alone.
"""

from __future__ import annotations

from plait.core.outputs import State
from plait.core.packed import Fused
from plait.core.part import Objective, Place, Spec, Terms

from ._labelled import compares_samples, labelled_loss


class Supervised(Objective):
    """Terms: TARGET, and TARGET/STEP for each of the fusion's readouts."""

    def build(self, spec: Spec, place: Place) -> None:
        self.targets = tuple(spec.targets)
        self.whole = compares_samples(spec)

    def forward(self, state: State) -> Terms:
        out = state.of()
        terms: Terms = {
            name: labelled_loss(out.heads[name], out.predictions[name], out.targets, name) for name in self.targets
        }
        for step, readout in out.fused.steps.items():
            decisions = out.decode(Fused(readout.values, readout.rows))
            for name in self.targets:
                terms[f"{name}/{step}"] = labelled_loss(out.heads[name], decisions[name], out.targets, name)
        return terms

"""What objectives on labels share."""

from __future__ import annotations

from collections.abc import Mapping

from plait.core.packed import Packed, together
from plait.core.part import Head, Spec


def labelled_loss(head: Head, decision: Packed, targets: Mapping[str, Packed], name: str) -> Packed:
    """The head's loss, [P], on the samples that have both a decision [P', K] and a label."""
    if not len(decision) or name not in targets:
        return Packed(decision.values[:0].sum(1), decision.rows[:0])
    (params, truth), rows = together(decision, targets[name])
    return Packed(head.loss(params.values, truth.values), rows)


def compares_samples(spec: Spec) -> bool:
    """Whether a target's loss sets a sample against the others of its batch: survival times are ranked."""
    return any(target.kind == "survival" for target in spec.targets.values())

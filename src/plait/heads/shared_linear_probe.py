"""One linear classifier in the space of embeddings, for which every labelled cell of any modality is a training point.

    logits(z) = s W z / |z| + b,   L = mean over labelled i of  sum_{m present} weight_m CE(logits(z_im), y_i)

It does not ask which modality a point comes from, so a caption or a sound of a
class is one more shot of an image class; of one modality alone it is the ordinary linear probe.  A sample is predicted
from the mean direction of what it has.  The points are the head's own loss: leave the objective `supervised` out, which
would add the means of samples to them.  To train on frozen embeddings, name `heads.*` in a stage's `train`.
Source: Lin et al., "Multimodality Helps Unimodality", arXiv:2301.06267.  Relative: class.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from plait.core.component import NonNegative, Positive
from plait.core.errors import RecipeError
from plait.core.outputs import Outputs
from plait.core.packed import Packed, mean_over, together
from plait.core.part import Head, Place, Spec, Terms


def probe(embeddings: Tensor, weight: Tensor, bias: Tensor, scale: float) -> Tensor:
    """embeddings: [P, E], of any length; weight: [C, E]; bias: [C].  -> logits [P, C]."""
    return F.linear(scale * F.normalize(embeddings, dim=1), weight, bias)


class SharedLinearProbe(Head):
    """modality: from which alone a sample is predicted; null: from the mean direction of what it has.

    scale: of the unit embeddings, 1 / temperature.  weights: factors of modalities' points; others: of those that are
    neither named there nor `modality`.  With 0 a modality is not even projected.  Its own term: points.
    """

    kinds = ("class",)
    kind = "logits"

    def __init__(
        self,
        modality: str | None = None,
        scale: Positive = 10.0,
        weights: dict[str, NonNegative] | None = None,
        others: NonNegative = 1.0,
    ) -> None:
        super().__init__()
        self.modality, self.scale, self.weights, self.others = modality, scale, weights or {}, others
        self.linear: nn.Linear | None = None

    def build(self, spec: Spec, place: Place) -> None:
        spec.check(place, *self.weights, *([] if self.modality is None else [self.modality]))
        factors = {name: 1.0 if name == self.modality else self.others for name in spec.names} | self.weights
        self.factors = {name: factor for name, factor in factors.items() if factor}
        if self.linear is None:
            self.linear = nn.Linear(spec.embedding, spec.targets[place.name].size)

    def read(self, out: Outputs) -> Packed:
        return out.joint() if self.modality is None else out.embedding(self.modality)

    def decide(self, values: Tensor) -> Tensor:
        """[P, E] -> logits [P, C].  RecipeError for single-modality heads, which read tokens, unless E = D."""
        assert self.linear is not None
        if values.shape[1] != self.linear.in_features:
            raise RecipeError(
                f"{self.place}: it reads embeddings of {self.linear.in_features} values, and a head of one modality "
                f"alone reads tokens of {values.shape[1]}. Take out what asks for those, or set embedding to the width."
            )
        return probe(values, self.linear.weight, self.linear.bias, self.scale)

    def terms(self, out: Outputs, g: torch.Generator) -> Terms:
        """The loss of each labelled sample's points, summed over its modalities."""
        labels = out.targets.get(self.place.name)
        if labels is None or not self.factors:
            return {"points": Packed(self._nothing(), torch.zeros(0, dtype=torch.long))}
        points = {}
        for name, factor in self.factors.items():
            (own, truth), rows = together(out.embedding(name), labels)
            points[name] = Packed(factor * self.loss(self.decide(own.values), truth.values), rows)
        mean = mean_over(points, out.size)
        return {"points": Packed(mean.values * mean.notes["count"], mean.rows)}

    def _nothing(self) -> Tensor:
        assert self.linear is not None
        return self.linear.weight[:0].sum(1)

    def loss(self, params: Tensor, truth: Tensor) -> Tensor:
        """params: [P, C], truth: [P] codes -> [P], nats."""
        return F.cross_entropy(params, truth, reduction="none")

    def score(self, params: Tensor, truth: Tensor) -> Tensor:
        """The probability of the true class, [P]."""
        return params.softmax(1).gather(1, truth.unsqueeze(1)).squeeze(1)

    def predict(self, params: Tensor) -> Tensor:
        """Probabilities, [P, C]."""
        return params.softmax(1)

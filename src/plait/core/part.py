"""The base class of every replaceable part.  One mechanism is one subclass in one file of its room.

A part declares what it needs (single-modality scores, a teacher, a queue, two views) and the loop provides it; the
loop never mentions a method by name.  All parts are built by `build(spec, place)`, which makes what is missing and is
called again when the network grows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from .errors import RecipeError, nearest
from .packed import Batch, Fused, Packed, Prediction, Tokens

if TYPE_CHECKING:
    from .meter import Meter
    from .network import Network
    from .outputs import Outputs, Pass, State

Terms = dict[str, Packed | Tensor]
"""Named losses.  Packed: one value per sample, the loop divides by the global count.  A scalar only if `whole`."""


@dataclass(frozen=True)
class Modality:
    """What the stored cells of one modality look like.

    shape: of one cell; ragged: its first axis differs from cell to cell (and `shape` leaves it out).
    details: what the kind knows of it, such as the categories of a table's columns.
    """

    kind: str
    shape: tuple[int, ...]
    ragged: bool = False
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Target:
    """kind: class, multi_label, number or survival.  classes: names in the order of the codes, where there are any."""

    kind: str
    classes: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Number of classes or labels; 1 for a number or a survival time."""
        return len(self.classes) or 1


@dataclass(frozen=True)
class Spec:
    """What a network is built for.  width: D of all tokens; embedding: D of the projections.

    pieces: what each encoder cuts a cell into, (T, C), T = 0 where cells differ; known once the encoders are built.
    """

    width: int
    embedding: int
    modalities: Mapping[str, Modality]
    targets: Mapping[str, Target] = field(default_factory=dict)
    pieces: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.modalities)

    def check(self, place: object, *names: str) -> None:
        """RecipeError at that place if one of the names is no modality."""
        for name in names:
            if name not in self.modalities:
                raise RecipeError(f"{place}: there is no modality {name!r}.{nearest(name, self.names)}")


class Place(NamedTuple):
    """Where a part stands in a recipe: slot "encoders", name "image"."""

    slot: str
    name: str

    def __str__(self) -> str:
        return f"{self.slot}.{self.name}" if self.name else self.slot


@dataclass(frozen=True)
class Needs:
    """What a part asks of the loop.

    singles: single-modality heads, as detached probes or trained with the rest.
    history: the meter keeps each sample's loss per modality.
    context: the fusion keeps every token as it is in the company of the others, `Fused.tokens`.
    decoders: some modality has a head that decodes it.
    """

    singles: Literal["probe", "trained"] | None = None
    history: bool = False
    context: bool = False
    decoders: bool = False


@dataclass(frozen=True)
class Clock:
    """step: optimiser steps taken; epoch: begun at 0; progress: share of the training that is done, 0 to 1."""

    step: int = 0
    epoch: int = 0
    progress: float = 0.0


class Training(Protocol):
    """Rows that `prepare` or `settle` may look at, as they are, without views."""

    size: int

    def batches(self, limit: int | None = None) -> Iterator[Batch]:
        """The rows in order; at most about `limit` of them, evenly spread."""

    def outputs(self, limit: int | None = None) -> Iterator[Outputs]:
        """The network's outputs on them, in eval mode and without gradient."""

    def target(self, name: str) -> Packed:
        """Labels of the training rows that have one; reads no cell."""


class Part(nn.Module):
    """Base of every component.  Its constructor's signature is its schema in a recipe."""

    needs: Needs = Needs()
    place: Place = Place("", "")
    idle: ClassVar[Mapping[str, str]] = {}
    """{glob of own parameters: why no gradient may reach them}, such as those for categories that nobody has."""

    def build(self, spec: Spec, place: Place) -> None:
        """Make what is missing.  Called again to grow, so what exists is left as it is."""

    def prepare(self, train: Training) -> None:
        """Once, before training: statistics, memory banks, neighbours.  Keep them in buffers, which are saved.

        A buffer whose shape only the data tell is registered as None in `build`.
        """

    def settle(self, held_out: Training) -> None:
        """Once, after all training, with the weights that are kept: what only rows can tell that taught nothing.

        held_out: the validation rows; it is not called if there are none.  For a few numbers, kept in buffers: these
        rows also pick the epoch, and the test rows report.
        """

    def terms(self, out: Outputs, g: torch.Generator) -> Terms:
        """The part's own losses on a pass, if it has any."""
        return {}

    def keep(self, out: Outputs) -> None:
        """After each optimiser step, without gradient: what is kept of the plain pass, read over all processes.

        For parts of the network.  `forward` itself keeps nothing: a pass may run more than once.
        """

    def observe(self, meter: Meter) -> None:
        """End of an epoch: look at the meter."""

    def figures(self) -> dict[str, float]:
        """Numbers that it came to and that a reader of the finished run may ask for, such as a temperature.

        For parts that the model is not saved with; asked once, after the last stage.
        """
        return {}


class Encoder(Part):
    """Cells of one modality -> Tokens.  kinds: the kinds of modality that it takes; kind: the one that it has.

    A cell's way: decoded once with `wants()`, `precompute`d once and stored; then, in every batch, `cut` into
    parameter-free pieces and encoded.  `frozen` says that `precompute` runs a pretrained model, so that the stored
    cells are features: views on cells cannot apply to them.
    """

    kinds: ClassVar[tuple[str, ...]] = ()
    kind: str = ""
    frozen: bool = False

    def wants(self) -> dict[str, Any]:
        """Options for decoding a cell, such as {"size": 64}."""
        return {}

    def precompute(self, cells: Sequence[np.ndarray]) -> list[np.ndarray]:
        """What is done once per cell, without gradient; its result is stored.  Nothing, unless overridden."""
        return list(cells)

    def fingerprint(self) -> str:
        """Identifies what `precompute` does: equal fingerprints must mean equal results."""
        return "identity"

    def describe(self, modality: Modality) -> tuple[int, int]:
        """(T, C) of the pieces that `cut` makes of one cell; T = 0 where it differs from cell to cell."""
        raise NotImplementedError

    def cut(self, cells: Packed) -> Tokens:
        """Stored cells -> pieces [P, T, C] without parameters; also the truth to reconstruct."""
        raise NotImplementedError

    def forward(self, pieces: Tokens, layers: int = 0) -> Tokens:
        """pieces [P, T, C] -> tokens [P, T', D]; with the outputs of the last `layers` layers if asked.

        What `pieces.hidden` marks must not influence the result.
        """
        raise NotImplementedError

    def paste(self, pieces: Tokens) -> Packed:
        """The inverse of `cut`, for encoders that a generative head uses."""
        raise TypeError(f"{type(self).__name__} cannot turn pieces back into cells")


class Adapter(Part):
    """A small trainable part on or inside an encoder or fusion.  It never mixes modalities."""

    def forward(self, tokens: Tokens, site: str, present: Tensor) -> Tokens:
        """At a seam between parts.  site: "encoders.NAME" (after) or "fusion.NAME" (before).  present: [B, M]."""
        return tokens

    def inside(self, values: Tensor, rows: Tensor, site: str) -> Tensor:
        """Inside our transformer blocks: flat tokens [N, D] and their rows [N]."""
        return values

    def wrap(self, path: str, linear: nn.Linear) -> nn.Module:
        """Replace a linear layer, as LoRA does; the same layer to leave it."""
        return linear


class Hiding:
    """Something that hides modalities from training passes.  The loop keeps at least one per sample."""

    at: Literal["cells", "tokens"] = "cells"

    def hide(self, present: Tensor, meter: Meter, g: torch.Generator) -> Tensor:
        """present: [B, M] bool -> [B, M] bool, True where a modality is to be hidden."""
        return torch.zeros_like(present)


@dataclass(frozen=True, eq=False)
class Filled:
    """tokens: what the fusion reads.  guesses: what was made, also for cells whose truth is known."""

    tokens: dict[str, Tokens]
    guesses: dict[str, Tokens] = field(default_factory=dict)


class Missing(Part, Hiding):
    """What, if anything, stands in for an absent modality.  It cannot see the hidden truth."""

    def forward(self, tokens: dict[str, Tokens], size: int, g: torch.Generator) -> Filled:
        return Filled(tokens)


class Projection(Part):
    """Tokens of one modality -> its embedding in the space that all modalities share, not normalised."""

    def forward(self, name: str, tokens: Tokens) -> Packed:
        raise NotImplementedError


class Fusion(Part):
    """{modality: Tokens} -> Fused.  tokens holds only modalities that somebody has, and may be empty.

    context: whether some part reads `Fused.tokens`.
    """

    context: bool = False

    def forward(self, tokens: dict[str, Tokens], size: int, g: torch.Generator) -> Fused:
        raise NotImplementedError


class Late(Part):
    """Decision-level fusion: combines the single-modality heads' parameters of one target.

    accepts: the kinds of parameters that it can combine.
    """

    needs = Needs(singles="trained")
    accepts: ClassVar[tuple[str, ...]] = ("logits",)

    def forward(self, decisions: dict[str, Prediction], tokens: dict[str, Tokens], size: int) -> Fused:
        """{modality: [P, K]}, at least one -> Fused whose values [P, K] are the combined parameters."""
        raise NotImplementedError


class Head(Part):
    """Fused -> the parameters of a prediction.  Its place is a target, or a modality (then it is a decoder).

    One for masked modelling has parameters for every piece, [P, T, K], and a loss for every piece, [P, T].
    kinds: the kinds of target that it serves; none: a decoder.
    kind: what its parameters are ("logits", "mean", "log_hazard" ...).
    """

    kinds: ClassVar[tuple[str, ...]] = ()
    kind: str = "logits"

    def read(self, out: Outputs) -> Packed:
        """What it decides from: values [P, D]."""
        return out.fused

    def decide(self, values: Tensor) -> Tensor:
        """[P, D] -> parameters [P, K]."""
        raise NotImplementedError

    def forward(self, out: Outputs) -> Prediction:
        source = self.read(out)
        return Prediction(self.decide(source.values), source.rows)

    def loss(self, params: Tensor, truth: Tensor) -> Tensor:
        """params [P, K], truth [P, ...] -> [P], in nats where it is a likelihood."""
        raise NotImplementedError

    def score(self, params: Tensor, truth: Tensor) -> Tensor:
        """How well each sample is predicted, [P], higher is better and at most 1."""
        return torch.exp(-self.loss(params, truth))

    def predict(self, params: Tensor) -> Tensor:
        """Parameters -> what a user reads: probabilities [P, C], numbers [P], risks [P]."""
        raise NotImplementedError


class Objective(Part):
    """State -> named losses.

    whole: every read is the full batch over all processes (contrastive and batch-statistics losses); with False, the
    loss of a batch must equal that of its two halves together.
    local: with `whole` False, a sample's loss may all the same depend on the others of its own process, such as wrong
    partners chosen for `Outputs.regroup`; then several processes do not have the gradient of one.
    memory: {name: last n rows, 0 = replaced at each step}; filled by `remember` after the step, without gradient.
    """

    whole: bool = False
    local: bool = False
    memory: Mapping[str, int] = {}

    def passes(self, spec: Spec) -> dict[str, Pass]:
        """The ways of running the network that it reads, under its own names."""
        from .outputs import Pass

        return {"main": Pass()}

    def forward(self, state: State) -> Terms:
        raise NotImplementedError

    def remember(self, state: State) -> dict[str, Tensor]:
        return {}


class Branch:
    """One modality's own parameters, between backward and the optimiser's step."""

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self.parameters = list(parameters)

    def gradient(self) -> Tensor:
        """All gradients in one vector [n]; zeros where there is none."""
        parts = [(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in self.parameters]
        return torch.cat(parts) if parts else torch.zeros(0)

    def scale(self, factor: float) -> None:
        for p in self.parameters:
            if p.grad is not None:
                p.grad.mul_(factor)

    def change(self, function: Callable[[Tensor], Tensor]) -> None:
        """Replace every gradient by `function` of it."""
        for p in self.parameters:
            if p.grad is not None:
                p.grad.copy_(function(p.grad))


class Balance(Objective, Hiding):
    """How training keeps one modality from winning: by terms, hiding, weights or gradients."""

    def passes(self, spec: Spec) -> dict[str, Pass]:
        return {}

    def forward(self, state: State) -> Terms:
        return {}

    def weigh(self, names: Sequence[str], meter: Meter) -> dict[str, float]:
        """Factors for terms by name."""
        return {}

    def gradients(self, branches: Mapping[str, Branch], state: State) -> None:
        """Change the branches' gradients: after all-reduce and unscaling, before clipping."""


class View(Part):
    """Augmentation or masking; sees all modalities at once."""

    def cells(self, batch: Batch, g: torch.Generator) -> Batch:
        return batch

    def pieces(self, pieces: dict[str, Tokens], g: torch.Generator) -> dict[str, Tokens]:
        return pieces


class Teacher(Part):
    """Another network that objectives may ask: an average of this one, an earlier stage, a run, one fitted for it."""

    def learn(self, table: Any, tools: Tools) -> None:
        """Before its stage, from the rows that the stage trains on; most have nothing to learn from them."""

    def start(self, online: Network) -> Network:
        raise NotImplementedError

    def update(self, teacher: Network, online: Network, step: int) -> None:
        """After each optimiser step."""


class Index(Protocol):
    """What a sampler may know of the training rows.  have: [N, M] bool; names: modalities."""

    @property
    def size(self) -> int: ...

    @property
    def names(self) -> tuple[str, ...]: ...

    @property
    def have(self) -> Tensor: ...

    def target(self, name: str) -> Packed:
        """Labels of the rows that have one."""


class Draw(NamedTuple):
    """rows: [B] of the training rows.  keep: [B, M] cells to use; None: all."""

    rows: Tensor
    keep: Tensor | None = None


class Sampler(Part):
    """Which rows make a batch.

    adaptive: draws depend on the meter or on the network, so an epoch cannot be replayed and checkpoints wait for its
    end.
    """

    adaptive: bool = False

    def epoch(self, index: Index, size: int, meter: Meter, g: torch.Generator) -> Iterator[Draw]:
        """Batches of about `size` rows.  Equal generators give equal epochs."""
        raise NotImplementedError

    def length(self, index: Index, size: int) -> int:
        """Batches in an epoch."""
        return -(-index.size // size)

    def passes(self, spec: Spec) -> dict[str, Pass]:
        """What `choose` reads; empty: batches are used whole."""
        return {}

    def choose(self, state: State, g: torch.Generator) -> Tensor:
        """Rows of a super-batch to keep, [b]."""
        raise NotImplementedError


class Tools(Protocol):
    """What an edit or a teacher may use: the seed, and models fitted on the way."""

    @property
    def seed(self) -> int: ...

    def fit(self, recipe: Any, table: Any, seed: int | None = None) -> Any:
        """A model of the default recipe with these slots, fitted on a table.  seed: another than the run's."""

    def embed(self, model: Any, table: Any) -> Any: ...


class Edit(Part):
    """Changes a table before a stage trains on it: poisoning, curation, mining, pseudo-labels.

    splits: to which splits it applies.
    """

    splits: tuple[str, ...] = ("train",)

    def forward(self, table: Any, tools: Tools, g: torch.Generator) -> Any:
        raise NotImplementedError

    def fingerprint(self) -> str:
        """Part of the key of everything stored for an edited table."""
        raise NotImplementedError

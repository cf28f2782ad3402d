"""The network: encoders, adapters, missing, fusion, heads, projection, and how it is built, grown, saved and loaded."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from .attention import Seam
from .errors import RecipeError, RunError, nearest
from .named import Named
from .outputs import Outputs
from .packed import Batch, Packed, Prediction, Tokens, tokens_of
from .part import Adapter, Branch, Encoder, Filled, Fusion, Head, Late, Missing, Part, Place, Projection, Spec, Training
from .random import seeded

Singles = Literal["probe", "trained"]


class Network(nn.Module):
    """Modalities in, predictions and embeddings out.

    encoders: {modality: Encoder}.  heads: {target, or modality to decode: Head}.
    singles: whether every modality also gets a head of its own: a probe learns from detached tokens.
    Initialisation is keyed by (seed, path), so a part added or left out changes no other.
    """

    def __init__(
        self,
        encoders: Mapping[str, Encoder],
        fusion: Fusion | Late,
        heads: Mapping[str, Head],
        *,
        projection: Projection | None = None,
        missing: Mapping[str, Missing] | None = None,
        adapters: Mapping[str, Adapter] | None = None,
        singles: Singles | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.encoders = Named(encoders)
        self.adapters = Named(adapters or {})
        self.missing = Named(missing or {})
        self.fusion = fusion
        self.projection = projection
        self._unbuilt = {name: copy.deepcopy(head) for name, head in heads.items()}
        self.heads = Named(heads)
        self.singles = Named()
        self.singles_mode: Singles | None = "trained" if isinstance(fusion, Late) else singles
        self.seed = seed
        self.spec = Spec(0, 0, {})
        self._wrapped: set[str] = set()

    @property
    def names(self) -> tuple[str, ...]:
        """Modalities, in the order of every [B, M]."""
        return self.spec.names

    def parts(self) -> Iterator[tuple[Place, Part]]:
        """Every part with its place, encoders first."""
        slots: dict[str, Mapping[str, Part]] = {
            "encoders": self.encoders,  # type: ignore[dict-item]
            "adapters": self.adapters,  # type: ignore[dict-item]
            "missing": self.missing,  # type: ignore[dict-item]
            "projection": {"": self.projection} if self.projection is not None else {},
            "fusion": {"": self.fusion},
            "heads": self.heads,  # type: ignore[dict-item]
        }
        for slot, named in slots.items():
            for name, part in named.items():
                yield Place(slot, name), part
        for target, heads in self.singles.items():
            for name, head in heads.items():
                yield Place("singles", f"{target}.{name}"), head

    def build(self, spec: Spec) -> Network:
        """Make every part for `spec`; again, to grow: what exists keeps its bits."""
        pieces = {}
        for name, encoder in self.encoders.items():
            assert isinstance(encoder, Encoder)
            pieces[name] = encoder.describe(spec.modalities[name])
        self.spec = dataclasses.replace(spec, pieces=pieces)
        if self.singles_mode is not None:
            self._add_singles()
        for place, part in self.parts():
            part.place = Place("heads", place.name.partition(".")[0]) if place.slot == "singles" else place
            with seeded(self.seed, str(place)):
                part.build(self.spec, part.place)
        if isinstance(self.fusion, Late):
            self._leave_deciding_to_singles(self.fusion)
        self._hang_adapters()
        return self

    def _leave_deciding_to_singles(self, fusion: Late) -> None:
        """With decision-level fusion the targets' own heads only know losses: nothing reaches their parameters."""
        if not self.spec.targets:
            raise RecipeError(
                f"fusion: {type(fusion).__name__} combines what modalities decide about a target, and there is none. "
                "Name one with --target COLUMN, or take another fusion."
            )
        for target in self.spec.targets:
            head = self.heads[target]
            assert isinstance(head, Head)
            if head.kind not in fusion.accepts:
                raise RecipeError(
                    f"fusion: {type(fusion).__name__} combines {' or '.join(fusion.accepts)}, but the head of "
                    f"{target!r} gives {head.kind}. Choose another head for it, or another fusion."
                )
            for parameter in head.parameters():
                parameter.requires_grad_(False)
                parameter.learns = False  # type: ignore[attr-defined]

    def _add_singles(self) -> None:
        for target in self.spec.targets:
            if target not in self._unbuilt:
                continue
            if target not in self.singles:
                self.singles[target] = Named()
            heads = self.singles[target]
            assert isinstance(heads, Named)
            for name in self.spec.modalities:
                if name not in heads:
                    heads[name] = copy.deepcopy(self._unbuilt[target])

    def _hang_adapters(self) -> None:
        for path, module in self.named_modules():
            if isinstance(module, Seam):
                module.site = path.removesuffix(".seam")
                module.__dict__["adapters"] = list(self.adapters.values())
        for name, adapter in self.adapters.items():
            assert isinstance(adapter, Adapter)
            if type(adapter).wrap is Adapter.wrap:
                continue
            for path, module in list(self.named_modules()):
                inside = any(path == w or path.startswith(f"{w}.") for w in self._wrapped)
                if not isinstance(module, nn.Linear) or inside or not path.startswith(("encoders.", "fusion.")):
                    continue
                with seeded(self.seed, "adapters", name, path):
                    wrapped = adapter.wrap(path, module)
                if wrapped is not module:
                    parent, _, leaf = path.rpartition(".")
                    setattr(self.get_submodule(parent), leaf, wrapped)
                    self._wrapped.add(path)
            if not self._wrapped:
                raise RecipeError(
                    f"adapters.{name}: it found no layer to wrap. A frozen encoder whose outputs are cached has no "
                    "layers inside the network: set cache: false on it."
                )

    def cut(self, batch: Batch) -> dict[str, Tokens]:
        """Cells -> parameter-free pieces, of the modalities that have an encoder and that somebody has."""
        out = {}
        for name, cells in batch.modalities.items():
            if name in self.encoders and len(cells):
                encoder = self.encoders[name]
                assert isinstance(encoder, Encoder)
                out[name] = encoder.cut(cells)
        return out

    def forward(self, batch: Batch, seed: tuple[object, ...] = ()) -> Outputs:
        """A plain pass: no view, nothing hidden."""
        return Outputs.of(self, batch, self.cut(batch), seed=seed)

    def encode(self, name: str, pieces: Tokens, layers: int, present: Tensor) -> Tokens:
        tokens: Tokens = self.encoders[name](pieces, layers=layers)
        for adapter in self.adapters.values():
            tokens = adapter(tokens, f"encoders.{name}", present)
        return tokens

    def adapt(self, site: str, tokens: dict[str, Tokens], present: Tensor) -> dict[str, Tokens]:
        """The adapters at the seam before a part."""
        for adapter in self.adapters.values():
            tokens = {name: adapter(part, f"{site}.{name}", present) for name, part in tokens.items()}
        return tokens

    def fill(self, tokens: dict[str, Tokens], size: int, g: torch.Generator) -> Filled:
        guesses: dict[str, Tokens] = {}
        for missing in self.missing.values():
            filled = missing(tokens, size, g)
            tokens, guesses = filled.tokens, {**guesses, **filled.guesses}
        return Filled(tokens, guesses)

    def project(self, name: str, tokens: Tokens) -> Packed:
        if self.projection is None:
            raise RecipeError("projection: this recipe has none, and embeddings were asked for. Add projection: linear")
        projected: Packed = self.projection(name, tokens)
        return projected

    def project_each(self, name: str, tokens: Tokens) -> Tokens:
        """Each visible token's embedding [P, T, E]: what `project` makes of a cell that is this token alone."""
        visible = tokens.visible
        alone = tokens.values[visible].unsqueeze(1)
        found = self.project(name, tokens_of(alone, torch.arange(len(alone), device=alone.device))).values
        values = found.new_zeros(*visible.shape, found.shape[1])
        values[visible] = found
        return Tokens(values, tokens.rows, visible)

    def alone(self, tokens: Mapping[str, Tokens]) -> dict[str, dict[str, Prediction]]:
        """Each target from each modality alone; a probe does not reach the encoders."""
        out: dict[str, dict[str, Prediction]] = {}
        pooled = {name: part.real().pooled() for name, part in tokens.items()}
        for target, heads in self.singles.items():
            out[target] = {}
            for name, part in pooled.items():
                values = part.values.detach() if self.singles_mode == "probe" else part.values
                out[target][name] = Prediction(heads[name].decide(values), part.rows)
        return out

    def branches(self) -> dict[str, Branch]:
        """Each modality's own trainable parameters.  RecipeError if two modalities share some."""
        found: dict[str, Branch] = {}
        owner: dict[int, str] = {}
        for name, encoder in self.encoders.items():
            branch = [p for p in encoder.parameters() if p.requires_grad]
            for p in branch:
                if owner.setdefault(id(p), name) != name:
                    raise RecipeError(
                        f"encoders.{name} shares parameters with encoders.{owner[id(p)]}: there is no branch to "
                        "modulate. Use separate encoders, or take the balance component out."
                    )
            found[name] = Branch(branch)
        return found

    def prepare(self, train: Training) -> None:
        """Each part looks at the training data once, encoders first."""
        for place, part in self.parts():
            with seeded(self.seed, "prepare", str(place)):
                part.prepare(train)

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Take saved tensors.  RunError if they do not fit."""
        load_tensors(self, tensors)


def load_tensors(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """`load_state_dict` that also takes buffers to which only `prepare` had given a shape.

    RunError, naming the first tensor that does not fit.
    """
    for path in tensors:
        owner, _, leaf = path.rpartition(".")
        try:
            part = module.get_submodule(owner)
        except AttributeError:
            continue
        if leaf in part._buffers and part._buffers[leaf] is None:
            part._buffers[leaf] = tensors[path].clone()
    have = module.state_dict()
    for path in tensors:
        if path not in have:
            raise RunError(f"The saved weights have {path!r}, which this recipe has not.{nearest(path, have)}")
    for path, tensor in have.items():
        if path not in tensors:
            raise RunError(f"The saved weights lack {path!r}: they come from another recipe.")
        if tensor.shape != tensors[path].shape:
            raise RunError(
                f"The saved weights have {path!r} as {list(tensors[path].shape)}, this recipe needs "
                f"{list(tensor.shape)}: they come from another recipe or schema."
            )
    module.load_state_dict(tensors)

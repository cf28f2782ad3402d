"""Every component of every slot, each standing in an otherwise tiny step."""

from __future__ import annotations

import copy
import inspect
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tiny
import torch

from plait.core.assemble import assemble, encoder_for
from plait.core.component import SLOTS, arguments_of, available, configure, find
from plait.core.errors import MissingExtra
from plait.core.network import Network
from plait.core.outputs import Pass, State
from plait.core.packed import Batch, Packed, together
from plait.core.part import Encoder, Head, Late, Modality, Objective, Spec, Target, Terms
from plait.core.recipe import Recipe
from plait.objectives._labelled import labelled_loss
from plait.training.step import Step

PRETRAINED = {"image": "efficientnet-lite0", "text": "minilm-l6"}
"""Models whose weights come with a package, by kind."""
EARLIER = {
    "encoders": {"vector": {"tiny:Flat": {}}, "tokens": {"tiny:Flat": {}}},
    "fusion": "mean",
    "width": 16,
    "embedding": 8,
}
"""The recipe of a run that teaches."""
IN_A_STEP = ("fusion", "missing", "projection", "heads", "objectives", "balance", "views", "adapters", "teachers")


class Reads(Objective):
    """Supervised on the pass of one view."""

    def __init__(self, asked: Pass) -> None:
        super().__init__()
        self.asked = asked

    def passes(self, spec: Spec) -> dict[str, Pass]:
        return {"main": self.asked}

    def forward(self, state: State) -> Terms:
        out = state.of()
        return {name: labelled_loss(out.heads[name], p, out.targets, name) for name, p in out.predictions.items()}


class Imitates(Objective):
    """Squared distance to a teacher's fused vector."""

    def passes(self, spec: Spec) -> dict[str, Pass]:
        return {"main": Pass(), "teacher": Pass(by="it")}

    def forward(self, state: State) -> Terms:
        (own, theirs), rows = together(state.of().fused, state.of("teacher").fused)
        return {"it": Packed((own.values - theirs.values).square().sum(1), rows)}


class Decodes(Objective):
    """Every piece of every modality from what a view leaves."""

    def passes(self, spec: Spec) -> dict[str, Pass]:
        return {"main": Pass(view="masked")}

    def forward(self, state: State) -> Terms:
        out, found = state.of(), {}
        for name, decoded in out.decoded.items():
            if name in out.pieces:
                (params, truth), rows = together(decoded, out.pieces[name])
                loss = out.heads[name].loss(params.values, truth.values).masked_fill(~truth.mask, 0)
                found[name] = Packed(loss.sum(1), rows)
        return found


class Case:
    """One component in its slot.  make: a step with it, its network prepared on a batch of 48."""

    def __init__(self, slot: str, name: str, folder: Path) -> None:
        self.slot, self.name, self.folder = slot, name, folder
        self.part = self.configured()

    def __repr__(self) -> str:
        return f"{self.slot}.{self.name}"

    def configured(self) -> Any:
        """With default arguments; those without default are filled by their names."""
        wanted = [
            a
            for a, (_, default) in arguments_of(find(self.slot, self.name)).items()
            if default is inspect.Parameter.empty
        ]
        return configure(self.slot, self.name, {argument: self.argument(argument) for argument in wanted})

    def argument(self, name: str) -> Any:
        if name == "run":
            return str(self.folder)
        raise KeyError(f"{self}: no value for the argument {name!r}; give it a default, or add one here")

    @property
    def targets(self) -> tuple[str, ...]:
        if isinstance(self.part, Head):
            return self.part.kinds or tuple(tiny.TARGETS)
        if isinstance(self.part, Late):
            return ("class",)
        return tuple(tiny.TARGETS)

    def head(self, target: str, fusion: Late) -> str:
        """One whose parameters a decision-level fusion combines."""
        fits = [h for h in available("heads") if target in find("heads", h).kinds]
        return next(h for h in fits if find("heads", h).kind in fusion.accepts)

    def make(
        self,
        names: str = "abcd",
        *,
        seed: int = 0,
        targets: tuple[str, ...] | None = None,
        without: bool = False,
        prepared: bool = True,
        weights: dict[str, float] | None = None,
    ) -> Step:
        """without: the same step, the component left out."""
        targets = self.targets if targets is None else targets
        if self.slot == "teachers":
            recipe = Recipe.parse(EARLIER)
            spec = tiny.spec(names, targets, recipe.width)
            encoders = {name: encoder_for(recipe, name, spec.modalities[name].kind) for name in names}
            earlier = assemble(recipe, spec, encoders, seed=99)
            earlier.prepare(tiny.Rows(earlier, tiny.batch(48, names, targets)))
            tiny.keep(self.folder, earlier, recipe)
        part = self.configured()
        if self.slot == "teachers":
            part.learn(None, SimpleNamespace(seed=seed, fit=lambda *what: SimpleNamespace(network=earlier)))
        network: dict[str, Any] = {}
        step: dict[str, Any] = {"weights": weights, "seed": seed}
        if not without:
            step |= tiny.asked(part, tiny.spec(names, targets))
        objectives: dict[str, Any] = {"supervised": "supervised", "pairs": "info_nce"}
        if not without:
            if part.needs.decoders:
                # Of a cell of one piece the view hides nothing.
                network["heads"] = {name: "piece_decoder" for name in names if tiny.MODALITIES[name].ragged}
            if self.slot in ("fusion", "projection"):
                network[self.slot] = part
                if isinstance(part, Late):
                    network["heads"] = {target: self.head(target, part) for target in targets}
            elif self.slot in ("missing", "adapters"):
                network[self.slot] = {"it": part}
            elif self.slot == "heads" and part.kinds:
                network["heads"] = {kind: self.configured() for kind in part.kinds}
            elif self.slot == "heads":
                network["heads"] = {name: copy.deepcopy(part) for name in names}
                network["fusion"] = "self_attention"
                objectives["it"] = Decodes()
                step["views"] = {"masked": [tiny.EverySecond()]}
            elif self.slot == "objectives":
                objectives["it"] = part
            elif self.slot == "balance":
                step["balance"] = {"it": part}
            elif self.slot == "views":
                step["views"] = {"it": [part]}
                objectives["it"] = Reads(Pass(view="it"))
            elif self.slot == "teachers":
                step["teachers"] = {"it": part}
                objectives["it"] = Imitates()
        singles = part.needs.singles if not without else None
        net = tiny.network(names, targets, singles=singles, seed=seed, **network)
        if prepared:
            net.prepare(tiny.Rows(net, tiny.batch(48, names, targets, seed=seed + 77)))
        made = tiny.step(net, objectives, **step)
        if prepared:
            for _, own in made.parts():
                own.prepare(tiny.Rows(net, tiny.batch(48, names, targets, seed=seed + 77)))
        return made


def every(*slots: str) -> list[tuple[str, str]]:
    return [(slot, name) for slot in slots for name in available(slot)]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`case`: each component that stands in a step.  `component`: each of all slots, as (slot, name)."""
    if "case" in metafunc.fixturenames:
        found = every(*getattr(metafunc.function, "slots", IN_A_STEP))
        metafunc.parametrize("case", found, ids=[".".join(pair) for pair in found], indirect=True)
    if "component" in metafunc.fixturenames:
        found = every(*SLOTS)
        metafunc.parametrize("component", found, ids=[".".join(pair) for pair in found])
    if "encoder" in metafunc.fixturenames:
        found = [(name, kind) for _, name in every("encoders") for kind in find("encoders", name).kinds]
        metafunc.parametrize("encoder", found, ids=["-".join(pair) for pair in found], indirect=True)


@pytest.fixture
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    try:
        return Case(*request.param, tmp_path)
    except MissingExtra as error:
        pytest.skip(str(error))


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Encoding:
    """One encoder with cells of one kind: 12 rows, some of which lack the cell, beside a vector that all have."""

    SIZE = 12

    def __init__(self, name: str, kind: str) -> None:
        self.name, self.kind = name, kind
        encoder = self.configured()
        g = np.random.default_rng(0)
        self.raw = [_cell(kind, encoder.wants(), g) for _ in range(9)]
        self.cells = encoder.precompute(self.raw)
        ragged = kind in ("series", "tokens") or len({cell.shape for cell in self.cells}) > 1
        categories = {"u": None, "v": ["p", "q", "r"], "w": None, "x": None}
        details = {"columns": [{"name": name, "categories": known} for name, known in categories.items()]}
        shape = self.cells[0].shape[1:] if ragged else self.cells[0].shape
        self.modality = Modality(kind, shape, ragged, details if kind == "tabular" else {})

    def configured(self) -> Encoder:
        arguments: dict[str, Any] = {}
        if "model" in arguments_of(find("encoders", self.name)):
            if self.kind not in PRETRAINED:
                pytest.skip(f"no package brings a pretrained model for {self.kind}")
            arguments["model"] = PRETRAINED[self.kind]
        recipe = Recipe.parse({"encoders": {self.kind: {self.name: arguments}}})
        return encoder_for(recipe, "m", self.kind)

    def batch(self, cells: list[int], beyond: float = 0.0, extra: int = 0) -> Batch:
        """Rows 0 to 11; the chosen cells in rows 1, 2 and so on.  beyond: what stands after a ragged cell's end."""
        chosen = [self.cells[i] for i in cells]
        rows = torch.arange(len(cells)) + 1
        if self.modality.ragged:
            length = torch.tensor([len(cell) for cell in chosen])
            longest = int(length.max()) + extra
            values = np.full((len(chosen), longest, *self.modality.shape), beyond).astype(chosen[0].dtype)
            for place, cell in zip(values, chosen, strict=True):
                place[: len(cell)] = cell
            part = Packed(torch.from_numpy(values), rows, notes={"length": length})
        else:
            part = Packed(torch.from_numpy(np.stack(chosen)), rows)
        g = torch.Generator().manual_seed(0)
        everyone = torch.arange(self.SIZE)
        other = Packed(torch.randn(self.SIZE, 5, generator=g), everyone)
        label = Packed(torch.randint(2, (self.SIZE,), generator=g), everyone)
        return Batch(self.SIZE, {"m": part, "a": other}, {"y": label}, everyone)

    def network(self, seed: int = 0, prepared: bool = True) -> Network:
        spec = Spec(16, 8, {"m": self.modality, "a": tiny.MODALITIES["a"]}, {"y": Target("class", ("n", "y"))})
        heads = {"y": configure("heads", "class", {})}
        encoders = {"m": self.configured(), "a": tiny.Flat()}
        net = Network(encoders, configure("fusion", "mean", {}), heads, seed=seed).build(spec)
        if prepared:
            net.prepare(tiny.Rows(net, self.batch(list(range(9)))))
        return net


def _cell(kind: str, wants: dict[str, Any], g: np.random.Generator) -> np.ndarray:
    """A decoded cell, as the encoder's `precompute` gets it."""
    length = int(g.integers(3, 40))
    if kind == "image":
        return g.integers(0, 256, (wants["size"], wants["size"], 3), dtype=np.uint8)
    if kind == "audio":
        return g.normal(size=400 * length).astype(np.float32)
    if kind == "text":
        words = ["red", "bird", "über", "日本", "a", "house"]
        text = " ".join(words[i] for i in g.integers(0, 6, 1 + length // 4))
        return np.frombuffer(text.encode(), np.uint8).copy()
    if kind == "series":
        values = g.normal(size=(length, 3)).astype(np.float32)
        values[:, 0] = np.sort(values[:, 0])
        values[1:, 1][g.random(length - 1) < 0.3] = np.nan
        return values
    if kind == "tabular":
        number = g.normal() if g.random() < 0.8 else np.nan
        return np.array([number, g.integers(0, 3), g.normal(), g.normal()], np.float32)
    if kind == "tokens":
        return g.normal(size=(length, 6)).astype(np.float32)
    if kind == "vector":
        return g.normal(size=6).astype(np.float32)
    raise KeyError(f"how cells of the kind {kind!r} look has to be said here")


@pytest.fixture
def encoder(request: pytest.FixtureRequest) -> Encoding:
    try:
        return Encoding(*request.param)
    except MissingExtra as error:
        pytest.skip(str(error))

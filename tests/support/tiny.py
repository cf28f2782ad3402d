"""Tiny networks, batches and steps: two modalities of fixed shape, two ragged, one target of each kind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save_file
from torch import nn

from plait.core.component import configure
from plait.core.meter import Meter
from plait.core.network import Network
from plait.core.outputs import Outputs
from plait.core.packed import Batch, Packed, Tokens, tokens_of
from plait.core.part import Clock, Encoder, Modality, Objective, Part, Place, Spec, Target, View
from plait.core.recipe import Recipe
from plait.training import checkpoint
from plait.training.runs import CONFIG, describe
from plait.training.step import Step

MODALITIES = {
    "a": Modality("vector", (5,)),
    "b": Modality("tokens", (3,), ragged=True),
    "c": Modality("vector", (4,)),
    "d": Modality("tokens", (2,), ragged=True),
}
TARGETS = {
    "class": Target("class", ("x", "y", "z")),
    "multi_label": Target("multi_label", ("p", "q")),
    "number": Target("number"),
    "survival": Target("survival"),
}
LONGEST = 5


class Flat(Encoder):
    """A linear layer on every piece."""

    kinds = ("vector", "tokens")

    def build(self, spec: Spec, place: Place) -> None:
        if not hasattr(self, "linear"):
            self.linear = nn.Linear(spec.pieces[place.name][1], spec.width)

    def describe(self, modality: Modality) -> tuple[int, int]:
        return (0 if modality.ragged else 1), modality.shape[-1]

    def cut(self, cells: Packed) -> Tokens:
        if cells.values.dim() == 2:
            return tokens_of(cells.values.unsqueeze(1), cells.rows)
        mask = torch.arange(cells.values.shape[1]) < cells.notes["length"].unsqueeze(1)
        return tokens_of(cells.values, cells.rows, mask)

    def forward(self, pieces: Tokens, layers: int = 0) -> Tokens:
        values = self.linear(pieces.values.masked_fill(~pieces.visible.unsqueeze(-1), 0)).tanh()
        return pieces.with_(values=values, layers=(values,) * layers if layers else None)


def spec(names: str = "abcd", targets: Sequence[str] = tuple(TARGETS), width: int = 16) -> Spec:
    return Spec(width, 8, {n: MODALITIES[n] for n in names}, {t: TARGETS[t] for t in targets})


def batch(
    size: int = 24,
    names: str = "abcd",
    targets: Sequence[str] = tuple(TARGETS),
    missing: float = 0.3,
    unlabelled: float = 0.2,
    seed: int = 0,
) -> Batch:
    """Every target depends on every modality; cells and labels are missing at random, but no sample has nothing."""
    g = torch.Generator().manual_seed(seed)
    signal = torch.randn(size, generator=g)
    have = torch.rand(size, len(names), generator=g) >= missing
    if names:
        have[torch.arange(size), torch.randint(len(names), (size,), generator=g)] = True
    modalities = {}
    for column, name in enumerate(names):
        rows = have[:, column].nonzero().squeeze(1)
        shape = MODALITIES[name].shape
        if not MODALITIES[name].ragged:
            values = signal[rows, None] + torch.randn(len(rows), *shape, generator=g)
            modalities[name] = Packed(values, rows)
            continue
        length = torch.randint(1, LONGEST + 1, (len(rows),), generator=g)
        values = signal[rows, None, None] + torch.randn(len(rows), LONGEST, *shape, generator=g)
        values[torch.arange(LONGEST) >= length.unsqueeze(1)] = 0
        modalities[name] = Packed(values, rows, notes={"length": length})
    return Batch(size, modalities, _targets(signal, targets, unlabelled, g), torch.arange(size))


def _targets(signal: torch.Tensor, names: Sequence[str], unlabelled: float, g: torch.Generator) -> dict[str, Packed]:
    out = {}
    for name in names:
        rows = (torch.rand(len(signal), generator=g) >= unlabelled).nonzero().squeeze(1)
        x = signal[rows] + 0.3 * torch.randn(len(rows), generator=g)
        if name == "class":
            values = (x > -0.5).long() + (x > 0.5).long()
        elif name == "multi_label":
            values = torch.stack([x > 0, x < 0.3], 1).float()
            values[torch.rand(values.shape, generator=g) < 0.1] = float("nan")
        elif name == "number":
            values = 100 + 20 * x.double()
        else:
            event = torch.rand(len(rows), generator=g) < 0.7
            values = torch.stack([(4 - x).clamp_min(0.1).mul(3).round().double(), event.double()], 1)
        out[name] = Packed(values, rows)
    return out


def part(slot: str, name: Any, arguments: Mapping[str, Any] | None = None) -> Any:
    """A component by name, or the part itself."""
    return name if isinstance(name, Part) else configure(slot, name, arguments)


def network(
    names: str = "abcd",
    targets: Sequence[str] = tuple(TARGETS),
    *,
    fusion: Any = "mean",
    projection: Any = "linear",
    missing: Mapping[str, Any] | None = None,
    adapters: Mapping[str, Any] | None = None,
    heads: Mapping[str, Any] | None = None,
    encoders: Mapping[str, Encoder] | None = None,
    singles: Any = None,
    seed: int = 0,
    width: int = 16,
) -> Network:
    """A built network; components by name or as parts.  heads: of targets, and decoders of modalities."""
    chosen = {t: part("heads", (heads or {}).get(t, t)) for t in targets}
    chosen |= {name: part("heads", head) for name, head in (heads or {}).items() if name in names}
    fusion = part("fusion", fusion)
    fusion.context = getattr(fusion, "context", False) or any(head.needs.context for head in chosen.values())
    return Network(
        encoders or {name: Flat() for name in names},
        fusion,
        chosen,
        projection=part("projection", projection),
        missing={key: part("missing", value) for key, value in (missing or {}).items()},
        adapters={key: part("adapters", value) for key, value in (adapters or {}).items()},
        singles=singles,
        seed=seed,
    ).build(spec(names, targets, width))


class Rows:
    """What `prepare` and samplers may look at, over the rows of one batch."""

    def __init__(self, network: Network | None, rows: Batch) -> None:
        self.network, self.rows, self.size = network, rows, rows.size
        self.names, self.have = tuple(rows.modalities), rows.present

    def batches(self, limit: int | None = None) -> Iterator[Batch]:
        yield self.rows

    @torch.no_grad()
    def outputs(self, limit: int | None = None) -> Iterator[Outputs]:
        assert self.network is not None
        was = self.network.training
        self.network.eval()
        yield self.network(self.rows)
        self.network.train(was)

    def target(self, name: str) -> Packed:
        return self.rows.targets[name]


class EverySecond(View):
    """Hides every second piece of a cell: a view that treats a sample alike in any batch."""

    def pieces(self, pieces: dict[str, Tokens], g: torch.Generator) -> dict[str, Tokens]:
        out = {}
        for name, part in pieces.items():
            second = torch.arange(part.mask.shape[1]) % 2 == 1
            out[name] = part.with_(hidden=part.mask & second)
        return out


def asked(part: Part, of: Spec) -> dict[str, Any]:
    """The views and teachers that an objective or a balance component reads, which a recipe would have."""
    passes = list(part.passes(of).values()) if isinstance(part, Objective) else []
    return {
        "views": {one.view: [EverySecond()] for one in passes if one.view is not None},
        "teachers": {one.by: configure("teachers", "ema", {}) for one in passes if one.by != "model"},
    }


def step(net: Network, objectives: Mapping[str, Any] | None = None, **more: Any) -> Step:
    """A step; objectives by name or as parts."""
    chosen = {"supervised": "supervised"} if objectives is None else objectives
    return Step(net, {key: part("objectives", value) for key, value in chosen.items()}, **more)


def meter(of: Step) -> Meter:
    """One that keeps a history if a part asks for it, as the loop makes it."""
    parts = [part for _, part in (*of.parts(), *of.network.parts())]
    return Meter(of.network.names, any(part.needs.history for part in parts))


def loss(of: Step, rows: Batch, at: int = 0) -> torch.Tensor:
    """The step's loss, the probes' included."""
    total, probe, _ = of(rows, Clock(step=at), meter(of))
    return total + probe


def train(of: Step, steps: int = 5, size: int = 24, lr: float = 0.01, **data: Any) -> Step:
    """A few steps of AdamW, as the loop takes them: none where no term is active."""
    of.train()
    optimizer = torch.optim.AdamW([p for p in of.parameters() if p.requires_grad], lr=lr)
    kept = meter(of)
    for i in range(steps):
        optimizer.zero_grad()
        total, probe, report = of(batch(size, of.network.spec.names, seed=i, **data), Clock(step=i), kept)
        if not report.active and not probe.requires_grad:
            continue
        (total + probe).backward()
        optimizer.step()
        of.after(i)
    return of


def gradients(of: nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in of.named_parameters() if p.grad is not None}


def keep(folder: Path, network: Network, recipe: Recipe) -> None:
    """What a finished run folder says of a network."""
    said = {"recipe": recipe.dump(), "spec": describe(network.spec), "seed": network.seed}
    (folder / CONFIG).write_text(yaml.safe_dump(said), encoding="utf-8")
    save_file(network.state_dict(), folder / checkpoint.WEIGHTS)


def equal(first: Mapping[str, torch.Tensor], second: Mapping[str, torch.Tensor]) -> bool:
    """Bit for bit."""
    return first.keys() == second.keys() and all(torch.equal(value, second[name]) for name, value in first.items())


def agrees(found: torch.Tensor, expected: torch.Tensor, leaves: Sequence[torch.Tensor], atol: float = 1e-5) -> bool:
    """Whether two ways of computing the same give the same, and every leaf, which all count, the same gradient."""
    direction = torch.randn(found.shape, generator=torch.Generator().manual_seed(0))
    own, theirs = (torch.autograd.grad((y * direction).sum(), leaves, retain_graph=True) for y in (found, expected))
    assert all((gradient != 0).any() for gradient in theirs)
    pairs = zip((found, *own), (expected, *theirs), strict=True)
    return all(torch.allclose(one, other, atol=atol) for one, other in pairs)


def without(net: Network, rows: Batch, column: int) -> Outputs:
    """A pass that must not see one modality of the even rows."""
    keep = torch.ones(rows.size, len(net.names), dtype=torch.bool)
    keep[::2, column] = False
    return Outputs.of(net, rows, net.cut(rows), keep=keep)


def attended(block: Any, x: torch.Tensor) -> torch.Tensor:
    """A pre-norm block on one sample's tokens [n, D], by torch's own attention."""
    own = block.attention
    weight = torch.cat([own.query.weight, own.key_value.weight])
    bias = torch.cat([own.query.bias, own.key_value.bias])
    seen = block.norm_attention(x).unsqueeze(1)
    y, _ = nn.functional.multi_head_attention_forward(
        seen, seen, seen, x.shape[1], own.heads, weight, bias, None, None, False, 0.0, own.out.weight, own.out.bias
    )
    x = x + y.squeeze(1)
    return x + block.feed(block.norm_feed(x))

"""The one training loop.  It knows slots and stages, and mentions no method by name."""

from __future__ import annotations

import fnmatch
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from plait.core.assemble import assemble, chain, encoder_for, single
from plait.core.component import complaint, configure
from plait.core.errors import RecipeError, nearest
from plait.core.meter import Meter
from plait.core.network import Network, load_tensors
from plait.core.outputs import Outputs
from plait.core.packed import Batch, Packed, together
from plait.core.part import (
    Balance,
    Clock,
    Draw,
    Encoder,
    Head,
    Index,
    Objective,
    Part,
    Place,
    Sampler,
    Spec,
    Teacher,
    View,
)
from plait.core.random import generator
from plait.core.recipe import Recipe, Stage, Training

from . import checkpoint, optim
from .processes import Processes
from .step import Step

CHECKPOINT = "checkpoint.safetensors"
HISTORY = "metrics.jsonl"


class Rows(Index, Protocol):
    """Rows that can be drawn as batches."""

    def batch(self, rows: Tensor, keep: Tensor | None = None) -> Batch:
        """rows: [b] of these rows.  keep: [b, M] cells to use."""


@dataclass(frozen=True)
class Data:
    """What a stage learns from, and what picks its best epoch."""

    train: Rows
    validation: Rows | None = None


@dataclass(frozen=True)
class Judge:
    """How validation is judged, without the loop knowing any measure.

    score: (kind of target, predicted, truth) -> {measure: value}.  main: kind -> (its main measure, higher is better).
    """

    score: Callable[[str, np.ndarray, np.ndarray], dict[str, float]]
    main: Callable[[str], tuple[str, bool]]


@dataclass
class Trained:
    """The fitted network with its best weights, and how it came to them."""

    network: Network
    best: dict[str, Any]
    steps: int
    seconds: float
    history: list[dict[str, Any]] = field(default_factory=list)


Watch = Callable[[dict[str, Any]], None]
"""Called after each epoch with its line of the history."""


class _TrainingRows:
    """What `Part.prepare` may look at."""

    def __init__(self, rows: Rows, network: Network, device: torch.device, batch: int = 256) -> None:
        self.rows, self.network, self.device, self.size, self.batch = rows, network, device, rows.size, batch

    def batches(self, limit: int | None = None) -> Iterator[Batch]:
        step = 1 if limit is None else max(1, self.size // limit)
        for rows in torch.arange(0, self.size, step).split(self.batch):  # type: ignore[no-untyped-call]
            yield self.rows.batch(rows).to(self.device)

    def target(self, name: str) -> Packed:
        return self.rows.target(name)

    def outputs(self, limit: int | None = None) -> Iterator[Outputs]:
        was = self.network.training
        self.network.eval()
        try:
            with torch.no_grad():
                for batch in self.batches(limit):
                    yield self.network(batch)
        finally:
            self.network.train(was)


def run(
    recipe: Recipe,
    spec: Spec,
    encoders: Mapping[str, Encoder],
    data: Callable[[Stage], Data],
    judge: Judge,
    *,
    seed: int = 0,
    folder: Path | None = None,
    watch: Watch = lambda line: None,
) -> Trained:
    """Train a recipe.

    data: the rows of a stage, its edits applied.  folder: where checkpoints and `metrics.jsonl` go; a checkpoint found
    there is gone on from, to the bit-identical weights of an uninterrupted run on the same machine and thread count.
    RecipeError if the recipe does not fit the data; RunError if the disk refuses or the checkpoint is damaged.
    """
    began = time.perf_counter()
    stages = recipe.stages or [Stage()]
    saved = checkpoint.read(folder / CHECKPOINT) if folder and (folder / CHECKPOINT).exists() else None
    history: list[dict[str, Any]] = list(saved["history"]) if saved else []
    if folder:
        _write_history(folder, history)
    loops = [_parts(recipe, stage) for stage in stages]
    watchers = [part for parts in loops for part in (*parts.objectives.values(), *parts.balance.values())]
    network = assemble(recipe, spec, encoders, seed, watchers)
    first = saved["stage"] if saved else 0
    steps = 0
    best: dict[str, Any] = {}
    for number, (stage, parts) in enumerate(zip(stages, loops, strict=True)):
        if number < first:
            continue
        if stage.start == "fresh" and number > 0:
            encoders = {name: encoder_for(recipe, name, spec.modalities[name].kind) for name in spec.names}
            network = assemble(recipe, spec, encoders, seed, watchers)
        loop = _Loop(network, parts, data(stage), judge, seed, steps, number)
        if saved is not None and number == first:
            loop.load(saved)
            saved = None
        else:
            loop.prepare(first_stage=number == 0 or stage.start == "fresh")
            if stage.start not in ("previous", "fresh"):
                network.load_tensors(checkpoint.weights(Path(stage.start)))
        loop.run(history, folder, watch)
        steps, best = loop.clock.step, loop.best
    return Trained(network, best, steps, time.perf_counter() - began, history)


@dataclass
class _Parts:
    """One stage's parts, configured."""

    objectives: dict[str, Objective]
    balance: dict[str, Balance]
    views: dict[str, list[View]]
    teachers: dict[str, Teacher]
    sampler: Sampler
    weights: dict[str, float]
    settings: Training
    train: list[str] | None


def _parts(recipe: Recipe, stage: Stage) -> _Parts:
    """The stage's own choice where it makes one, else the recipe's."""

    def pick(name: str) -> Any:
        own = getattr(stage, name)
        return getattr(recipe, name) if own is None else own

    objectives = pick("objectives")
    weights = dict(pick("weights"))
    for name, arguments in objectives.items():
        if "weight" in arguments:
            weights[f"{name}/*"] = weights.get(f"{name}/*", 1.0) * _weight(name, arguments["weight"])
    known = Training.model_fields
    for key in stage.training:
        if key not in known:
            raise RecipeError(f"stages.training: there is no setting {key!r}.{nearest(key, known)}")
    try:
        settings = Training.model_validate({**recipe.training.model_dump(), **stage.training})
    except ValueError as error:
        raise RecipeError(complaint(error, "stages.training")) from error  # type: ignore[arg-type]
    return _Parts(
        chain("objectives", objectives, reserved=("weight",)),
        chain("balance", pick("balance")),
        {
            name: [configure("views", view, args, f"views.{name}.{view}") for n in views for view, args in n.items()]
            for name, views in pick("views").items()
        },
        chain("teachers", pick("teachers")),
        single("sampler", pick("sampler")),
        weights,
        settings,
        stage.train,
    )


def _weight(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
        raise RecipeError(f"objectives.{name}.weight: a number of at least 0 was expected, found {value!r}.")
    return float(value)


class _Loop:
    """One stage's training."""

    def __init__(
        self, network: Network, parts: _Parts, data: Data, judge: Judge, seed: int, steps: int, number: int
    ) -> None:
        from accelerate import Accelerator, DistributedDataParallelKwargs

        self.network, self.parts, self.data, self.judge = network, parts, data, judge
        self.settings, self.seed, self.number = parts.settings, seed, number
        self.accelerator = Accelerator(
            mixed_precision=_precision(parts.settings.precision),
            # A modality that nobody has in a batch leaves its encoder unused.
            kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
        )
        self.device = self.accelerator.device
        self.processes = Processes()
        network.to(self.device)
        self.step = Step(
            network,
            parts.objectives,
            parts.balance,
            views=parts.views,
            teachers=parts.teachers,
            weights=parts.weights,
            seed=seed,
            processes=self.processes,
        ).to(self.device)
        self._select(parts.train)
        probes = list(network.singles.parameters()) if network.singles_mode == "probe" else []
        apart = {id(p) for p in probes}
        self.learning = [p for p in self.step.parameters() if p.requires_grad and id(p) not in apart]
        optimizer = optim.make(self.learning, self.settings) if self.learning else None
        self.probes = torch.optim.AdamW(probes, lr=1e-2) if probes else None
        self.wrapped, self.optimizer = self.accelerator.prepare(self.step, optimizer)
        everyone = (*self.parts.objectives.values(), *self.parts.balance.values(), *(p for _, p in network.parts()))
        self.meter = Meter(network.names, any(part.needs.history for part in everyone))
        parts.sampler.place = Place("sampler", "")
        parts.sampler.build(network.spec, parts.sampler.place)
        self.per_epoch = parts.sampler.length(data.train, self.settings.batch)
        self.total = self.per_epoch * self.settings.epochs
        self.average = optim.Average(network, self.settings.ema) if self.settings.ema is not None else None
        self.first_step = steps
        self.clock = Clock(steps, 0, 0.0)
        self.begun = 0
        self.sums: dict[str, tuple[Tensor, int]] = {}
        self.best: dict[str, Any] = {}
        self.best_tensors: dict[str, Tensor] = {}
        self.waiting = 0
        self.monitor, self.higher = self._monitor()

    def _select(self, train: list[str] | None) -> None:
        """Which parameters learn; what is frozen is in eval mode too."""
        named = {name.removeprefix("network."): p for name, p in self.step.named_parameters()}
        if train is not None:
            for pattern in train:
                if not fnmatch.filter(named, pattern):
                    raise RecipeError(f"stages.{self.number}.train: {pattern!r} matches no parameter.")
        for name, parameter in named.items():
            if train is None:
                parameter.requires_grad_(getattr(parameter, "learns", True))
            else:
                parameter.requires_grad_(any(fnmatch.fnmatchcase(name, pattern) for pattern in train))

    def _training_mode(self) -> None:
        def visit(module: nn.Module) -> None:
            own = list(module.parameters())
            if own and not any(p.requires_grad for p in own):
                module.eval()
                return
            module.training = True
            for child in module.children():
                visit(child)

        visit(self.step)

    def _monitor(self) -> tuple[str, bool]:
        """-> what the best epoch is picked by, and whether higher is better."""
        asked = self.settings.monitor
        targets = self.network.spec.targets
        supervised = [name for name in targets if self._labelled(name)]
        if asked == "auto" and supervised:
            main, higher = self.judge.main(targets[supervised[0]].kind)
            return f"{supervised[0]}/{main}", higher
        if asked in ("auto", "loss"):
            return "loss", False
        target, _, measure = asked.rpartition("/")
        target = target or next(iter(targets), "")
        if target not in targets:
            raise RecipeError(f"training.monitor: there is no target {target!r}.{nearest(target, targets)}")
        return f"{target}/{measure}", self.judge.main(targets[target].kind)[1] or measure not in ("mae", "rmse")

    def _labelled(self, target: str) -> bool:
        return self.data.validation is not None and len(self.data.validation.target(target)) > 0

    def prepare(self, first_stage: bool) -> None:
        """Every part looks at the training rows once."""
        train = _TrainingRows(self.data.train, self.network, self.device)
        if first_stage:
            self.network.prepare(train)
            self.network.to(self.device)
        for _, part in self.step.parts():
            part.prepare(train)
        if self.average is not None:
            self.average = optim.Average(self.network, self.average.momentum)

    def run(self, history: list[dict[str, Any]], folder: Path | None, watch: Watch) -> None:
        while self.clock.epoch < self.settings.epochs and not self._stalled():
            began = time.perf_counter()
            line = self._epoch(folder, history)
            line["seconds"] = time.perf_counter() - began
            self._observe(line)
            history.append(line)
            self.clock = Clock(self.clock.step, self.clock.epoch + 1, self._progress())
            if folder is not None and self.processes.rank == 0:
                # The checkpoint first: what it has not, resuming writes again.
                checkpoint.write(folder / CHECKPOINT, self.state(history))
                _write_history(folder, history)
            watch(line)
        if self.best_tensors:
            self.network.load_tensors(self.best_tensors)
        elif self.average is not None:
            self.network.load_tensors(self.average.tensors)
        self.step.eval()

    def _stalled(self) -> bool:
        patience = self.settings.early_stopping
        return patience is not None and self.waiting >= patience

    def _progress(self) -> float:
        return (self.clock.step - self.first_step) / self.total if self.total else 1.0

    def _epoch(self, folder: Path | None, history: list[dict[str, Any]]) -> dict[str, Any]:
        self._training_mode()
        rate = 0.0
        g = generator(self.seed, "sampler", self.number, self.clock.epoch)
        draws = self.parts.sampler.epoch(self.data.train, self.settings.batch, self.meter, g)
        for i, draw in enumerate(draws):
            if i < self.begun:
                continue
            rate = self._train(draw)
            every = self.settings.checkpoint
            if folder and every and not self.parts.sampler.adaptive and (i + 1) % every == 0:
                self.begun = i + 1
                if self.processes.rank == 0:
                    checkpoint.write(folder / CHECKPOINT, self.state(history))
        self.begun = 0
        terms = {name: float(total) / count for name, (total, count) in self.sums.items()}
        self.sums = {}
        return {
            "stage": self.number,
            "epoch": self.clock.epoch,
            "step": self.clock.step,
            "rate": rate,
            "train": terms,
            "validation": self._validate(),
        }

    def _train(self, draw: Draw) -> float:
        """One optimiser step, if any term is active; -> the learning rate."""
        rows = self.processes.mine(draw.rows)
        keep = None if draw.keep is None else self.processes.mine(draw.keep)
        batch = self.data.train.batch(rows, keep).to(self.device)
        batch = self.step.choose(self.parts.sampler, batch, self.clock, self.meter)
        loss, probe, report = self.wrapped(batch, self.clock, self.meter)
        for name, (total, count) in report.terms.items():
            old, seen = self.sums.get(name, (torch.zeros_like(total), 0))
            self.sums[name] = (old + total, seen + count)
        rate = 0.0
        if self.probes is not None:
            self.probes.zero_grad()
        together_ = loss + probe if self.probes is not None and probe.requires_grad else loss
        if together_.requires_grad:
            if self.optimizer is not None:
                self.optimizer.zero_grad()
            self.accelerator.backward(together_)
            if self.probes is not None and probe.requires_grad:
                self.probes.step()
        if report.active and loss.requires_grad and self.optimizer is not None:
            self._gradients(batch)
            rate = optim.set_rate(
                self.optimizer, optim.factor(self.settings, self.clock.step - self.first_step, self.total)
            )
            self.optimizer.step()
            self.clock = Clock(self.clock.step + 1, self.clock.epoch, self._progress())
            self.step.after(self.clock.step)
            if self.average is not None:
                self.average.update(self.network)
        return rate

    def _gradients(self, batch: Batch) -> None:
        """Between backward and the optimiser's step: balance, then clipping."""
        modulating = {n: b for n, b in self.parts.balance.items() if type(b).gradients is not Balance.gradients}
        if modulating:
            self.accelerator.unscale_gradients()
            branches = self.network.branches()
            for name, part in modulating.items():
                part.gradients(branches, self.step.seen_by(name))
            if self.settings.clip is not None:
                nn.utils.clip_grad_norm_(self.learning, self.settings.clip)
        elif self.settings.clip is not None:
            self.accelerator.clip_grad_norm_(self.learning, self.settings.clip)

    @torch.no_grad()
    def _validate(self) -> dict[str, float]:
        """The averaged weights if there are some, else the present ones, on the validation rows."""
        rows = self.data.validation
        if rows is None or rows.size == 0:
            return {}
        now = {name: tensor.clone() for name, tensor in self.network.state_dict().items()} if self.average else None
        if self.average is not None:
            self.network.load_state_dict(self.average.tensors)
        self.step.eval()
        found: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {name: [] for name in self.network.spec.targets}
        sums: dict[str, tuple[float, int]] = {}
        quiet = Clock(-1, self.clock.epoch, self.clock.progress)
        self.step.processes = Processes(alone=True)  # every process judges all rows
        for part in torch.arange(rows.size).split(max(self.settings.batch, 256)):  # type: ignore[no-untyped-call]
            batch = rows.batch(part).to(self.device)
            _, _, report = self.step(batch, quiet, self.meter)
            for name, (total, count) in report.terms.items():
                old, seen = sums.get(name, (0.0, 0))
                sums[name] = (old + float(total), seen + count)
            for target, (predicted, truth) in _decisions(self.network, batch).items():
                found[target].append((predicted, truth))
        self.step.processes = self.processes
        if now is not None:
            self.network.load_state_dict(now)
        terms = {name: total / count for name, (total, count) in sums.items()}
        line = {**terms, "loss": sum(self.step.factor(name) * value for name, value in terms.items())}
        for target, parts in found.items():
            if parts:
                predicted, truth = (np.concatenate(side) for side in zip(*parts, strict=True))
                scores = self.judge.score(self.network.spec.targets[target].kind, predicted, truth)
                line |= {f"{target}/{name}": value for name, value in scores.items()}
        return line

    def _observe(self, line: dict[str, Any]) -> None:
        """End of an epoch: the trace, the parts' look at it, and whether it is the best yet."""
        self.meter.log({f"{side}/{name}": v for side in ("train", "validation") for name, v in line[side].items()})
        for part in (*(p for _, p in self.network.parts()), *(p for _, p in self.step.parts())):
            if type(part).observe is not Part.observe:
                part.observe(self.meter)
        value = line["validation"].get(self.monitor)
        if value is None or not np.isfinite(value):
            return
        # Equal scores are common on few rows: the loss then decides.
        key = [value if self.higher else -value, -line["validation"]["loss"]]
        if not self.best or key > self.best["key"]:
            self.waiting = 0
            self.best = {"epoch": line["epoch"], "monitor": self.monitor, "value": value, "key": key}
            tensors = self.average.tensors if self.average is not None else self.network.state_dict()
            self.best_tensors = {name: tensor.detach().clone() for name, tensor in tensors.items()}
        else:
            self.waiting += 1

    def state(self, history: list[dict[str, Any]]) -> dict[str, Any]:
        """All that the rest of the training depends on; randomness needs nothing, it is keyed."""
        return {
            "stage": self.number,
            "clock": [self.clock.step, self.clock.epoch, self.clock.progress],
            "first_step": self.first_step,
            "begun": self.begun,
            "sums": self.sums,
            "step": dict(self.step.state_dict()),
            "extra": self.step.extra_state(),
            "optimizer": None if self.optimizer is None else self.optimizer.state_dict(),
            "probes": None if self.probes is None else self.probes.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "meter": self.meter.state_dict(),
            "best": self.best,
            "best_tensors": self.best_tensors,
            "waiting": self.waiting,
            "history": history,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`."""
        load_tensors(self.step, state["step"])
        self.step.load_extra_state(checkpoint.to_device(state["extra"], self.device))
        if self.optimizer is not None:
            self.optimizer.load_state_dict(state["optimizer"])
        if self.probes is not None:
            self.probes.load_state_dict(state["probes"])
        if self.average is not None:
            self.average.load_state_dict(checkpoint.to_device(state["average"], self.device))
        self.meter.load_state_dict(state["meter"])
        step, epoch, progress = state["clock"]
        self.clock = Clock(step, epoch, progress)
        self.first_step, self.begun, self.waiting = state["first_step"], state["begun"], state["waiting"]
        self.sums = {name: (total, count) for name, (total, count) in state["sums"].items()}
        self.best, self.best_tensors = state["best"], state["best_tensors"]


def _precision(asked: str) -> str:
    if asked != "auto":
        return asked
    if not torch.cuda.is_available():
        return "no"
    return "bf16" if torch.cuda.is_bf16_supported() else "fp16"


def _decisions(network: Network, batch: Batch) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """{target: (what its head predicts, truth)} on the labelled rows of a batch."""
    out = {}
    for target, prediction in network(batch).predictions.items():
        if target not in batch.targets:
            continue
        (params, truth), rows = together(prediction, batch.targets[target])
        if len(rows):
            head = network.heads[target]
            assert isinstance(head, Head)
            out[target] = (head.predict(params.values).float().cpu().numpy(), truth.values.cpu().numpy())
    return out


def _write_history(folder: Path, history: list[dict[str, Any]]) -> None:
    text = "".join(json.dumps(line) + "\n" for line in history)
    checkpoint.write_bytes(folder / HISTORY, text.encode())

"""The one training loop.  It knows slots and stages, and mentions no method by name."""

from __future__ import annotations

import fnmatch
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from plait.core.assemble import assemble, encoder_for
from plait.core.errors import RecipeError, nearest
from plait.core.meter import Meter
from plait.core.network import Network, load_tensors
from plait.core.outputs import Outputs
from plait.core.packed import Batch, Packed, Prediction, together
from plait.core.part import Balance, Clock, Draw, Encoder, Head, Index, Part, Place, Spec, Teacher
from plait.core.random import generator, seeded
from plait.core.recipe import Recipe, Stage

from . import checkpoint, optim
from .processes import Processes
from .stages import Parts, check, check_globs, stages_of, watchers
from .step import Step

CHECKPOINT = "checkpoint.safetensors"
HISTORY = "metrics.jsonl"


class Rows(Index, Protocol):
    """Rows that can be drawn as batches."""

    def batch(self, rows: Tensor, keep: Tensor | None = None) -> Batch:
        """rows: [b] of these rows.  keep: [b, M] cells to use."""


def _untaught(teacher: Teacher) -> None:
    """Nothing is at hand that a teacher could learn from."""


@dataclass(frozen=True)
class Data:
    """What a stage learns from, and what picks its best epoch.  teach: has a teacher learn from the stage's rows."""

    train: Rows
    validation: Rows | None = None
    teach: Callable[[Teacher], None] = _untaught


@dataclass(frozen=True)
class Judge:
    """How validation is judged, without the loop knowing any measure.

    score: (kind of target, predicted, truth) -> {measure: value}.  main: kind -> its main measure.
    higher: (kind, measure) -> whether more of it is better.
    """

    score: Callable[[str, np.ndarray, np.ndarray], dict[str, float]]
    main: Callable[[str], str]
    higher: Callable[[str, str], bool]


@dataclass(frozen=True)
class Choices:
    """What validation rows chose.  epochs: of each stage.  tensors: of the network, that `Part.settle` changed."""

    epochs: tuple[int, ...]
    tensors: dict[str, Tensor]


@dataclass
class Trained:
    """The fitted network with its best weights, and how it came to them.  figures: of each part, `Part.figures`."""

    network: Network
    best: dict[str, Any]
    choices: Choices
    steps: int
    seconds: float
    history: list[dict[str, Any]] = field(default_factory=list)
    figures: dict[str, dict[str, float]] = field(default_factory=dict)


Watch = Callable[[dict[str, Any]], None]
"""Called after each epoch with its line of the history."""


class _PlainRows:
    """Rows without views, for `Part.prepare` and `Part.settle`."""

    def __init__(self, rows: Rows, network: Network, device: torch.device, batch: int = 256) -> None:
        self.rows, self.network, self.device, self.size, self.batch = rows, network, device, rows.size, batch

    def batches(self, limit: int | None = None) -> Iterator[Batch]:
        rows = torch.arange(self.size)
        if limit is not None and limit < self.size:
            # Not every n-th row: tables have rhythms, such as one row of each class in turn.
            rows = torch.randperm(self.size, generator=generator("prepare", self.size))[:limit].sort().values
        for part in rows.split(self.batch):  # type: ignore[no-untyped-call]
            yield self.rows.batch(part).to(self.device)

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
    choices: Choices | None = None,
    watched: bool = True,
) -> Trained:
    """Train a recipe.

    data: the rows of a stage, its edits applied.  folder: where checkpoints and `metrics.jsonl` go; a checkpoint found
    there is gone on from, to the bit-identical weights of an uninterrupted run on the same machine and thread count.
    choices: of an earlier training, which this one keeps to instead of choosing by validation rows.
    watched: whether each epoch is judged on validation rows also where nothing is picked by it and no part asks.
    RecipeError if the recipe does not fit the data; RunError if the disk refuses or the checkpoint is damaged.
    """
    began = time.perf_counter()
    saved = checkpoint.read(folder / CHECKPOINT) if folder and (folder / CHECKPOINT).exists() else None
    history: list[dict[str, Any]] = list(saved["history"]) if saved else []
    stages = stages_of(recipe)
    asking = watchers(recipe)
    network = assemble(recipe, spec, encoders, seed, asking)
    check([stage for stage, _ in stages], network)
    first = saved["stage"] if saved else 0
    epochs: list[int] = saved["epochs"] if saved else []
    steps = 0
    best: dict[str, Any] = {}
    figures: dict[str, dict[str, float]] = {}
    for number, (stage, parts) in enumerate(stages):
        if number < first:
            continue
        if stage.start == "fresh" and number > 0:
            encoders = {name: encoder_for(recipe, name, spec.modalities[name].kind) for name in spec.names}
            network = assemble(recipe, spec, encoders, seed, asking)
        loop = _Loop(network, parts, stage, data(stage), judge, seed, steps, epochs, saved, watched)
        saved = None
        loop.run(history, folder, watch, None if choices is None else choices.epochs[number])
        steps, best, figures = loop.clock.step, loop.best, loop.figures()
        epochs = [*epochs, best["epoch"] + 1 if best else loop.clock.epoch]
    if choices is None:
        choices = Choices(tuple(epochs), loop.settle())
    else:
        network.load_tensors(network.state_dict() | choices.tensors)
    return Trained(network, best, choices, steps, time.perf_counter() - began, history, figures)


def planned(recipe: Recipe) -> tuple[int, ...] | None:
    """Epochs of each stage, if the recipe says how many and not the validation rows."""
    settings = [parts.settings for _, parts in stages_of(recipe)]
    return tuple(each.epochs for each in settings) if all(each.monitor == "last" for each in settings) else None


class _Loop:
    """One stage's training."""

    def __init__(
        self,
        network: Network,
        parts: Parts,
        stage: Stage,
        data: Data,
        judge: Judge,
        seed: int,
        steps: int,
        earlier: list[int],
        saved: Mapping[str, Any] | None,
        watched: bool,
    ) -> None:
        """earlier: epochs of the stages before this one."""
        self.network, self.parts, self.data, self.judge = network, parts, data, judge
        self.settings, self.seed, self.earlier = parts.settings, seed, earlier
        self.number = number = len(earlier)
        self.accelerator = _accelerator(parts.settings.precision)
        self.device = self.accelerator.device
        self.processes = Processes()
        assert self.processes.world == self.accelerator.num_processes
        network.to(self.device)
        train = _PlainRows(data.train, network, self.device)
        if saved is None and (number == 0 or stage.start == "fresh"):
            network.prepare(train)
        if saved is None and stage.start not in ("previous", "fresh"):
            network.load_tensors(checkpoint.weights(Path(stage.start)))
        for teacher in parts.teachers.values():
            data.teach(teacher)
        # Teachers begin as the network is now.
        self.step = Step(
            network,
            parts.objectives,
            parts.balance,
            views=parts.views,
            teachers=parts.teachers,
            weights=parts.weights,
            seed=seed,
            processes=self.processes,
        )
        parts.sampler.place = Place("sampler", "")
        parts.sampler.build(network.spec, parts.sampler.place)
        self.outside = parts.outside()
        if saved is None:
            for place, part in (*self.step.parts(), *self.outside):
                with seeded(seed, "prepare", str(place)):
                    part.prepare(train)
        for module in (self.step, *(part for _, part in self.outside)):
            module.to(self.device)
        self._select(stage.train)
        self.modes = self._training_modes()
        probes = list(network.singles.parameters()) if network.singles_mode == "probe" else []
        probes = [p for p in probes if p.requires_grad]
        apart = {id(p) for p in probes}
        self.learning = [p for p in self.step.parameters() if p.requires_grad and id(p) not in apart]
        self.wrapped, self.optimizer, self.probes = self.accelerator.prepare(
            self.step,
            optim.make(self.learning, self.settings) if self.learning else None,
            torch.optim.AdamW(probes, lr=1e-2, fused=True) if probes else None,
        )
        everyone = (*(part for _, part in parts.all()), *(part for _, part in network.parts()))
        self.meter = Meter(network.names, any(part.needs.history for part in everyone))
        self.per_epoch = parts.sampler.length(data.train, self.settings.batch)
        self.total = self.per_epoch * self.settings.epochs
        self.average = optim.Average(network, self.settings.ema) if self.settings.ema is not None else None
        self.first_step = steps
        self.clock = Clock(steps, 0, 0.0)
        self.begun = 0
        self.rate = 0.0
        self.sums: dict[str, tuple[Tensor, int]] = {}
        self.best: dict[str, Any] = {}
        self.best_tensors: dict[str, Tensor] = {}
        self.waiting = 0
        self.monitor, self.higher = self._monitor()
        self.watched = watched or self.monitor != "last" or any(map(_observes, everyone))
        if saved is not None:
            self._load(saved)

    def _select(self, train: list[str] | None) -> None:
        """Which parameters learn; what is frozen is in eval mode too."""
        named = {name.removeprefix("network."): p for name, p in self.step.named_parameters()}
        check_globs(train or (), named, self.number)
        for name, parameter in named.items():
            if train is None:
                parameter.requires_grad_(getattr(parameter, "learns", True))
            else:
                parameter.requires_grad_(any(fnmatch.fnmatchcase(name, pattern) for pattern in train))

    def _training_modes(self) -> list[tuple[nn.Module, bool]]:
        """Every module, and whether it is in training mode; of one stage, whose frozen parameters stay the same."""
        found: list[tuple[nn.Module, bool]] = []

        def visit(module: nn.Module) -> None:
            own = list(module.parameters())
            if own and not any(p.requires_grad for p in own):
                found.extend((part, False) for part in module.modules())
                return
            found.append((module, True))
            for child in module.children():
                visit(child)

        visit(self.step)
        return found

    def _monitor(self) -> tuple[str, bool]:
        """-> what the best epoch is picked by, and whether higher is better."""
        asked, targets = self.settings.monitor, self.network.spec.targets
        target, _, measure = asked.rpartition("/")
        if asked == "auto":
            target = next((name for name in targets if self._labelled(name)), "")
            measure = self.judge.main(targets[target].kind) if target else "loss"
        if not target and measure in ("loss", "last"):
            return measure, False
        target = target or next(iter(targets), "")
        if target not in targets:
            raise RecipeError(f"training.monitor: there is no target {target!r}.{nearest(target, targets)}")
        if self.data.validation is not None and self.data.validation.size and not self._labelled(target):
            raise RecipeError(f"training.monitor: {asked} was asked for, but no validation row has {target!r}.")
        return f"{target}/{measure}", self.judge.higher(targets[target].kind, measure)

    def _labelled(self, target: str) -> bool:
        return self.data.validation is not None and len(self.data.validation.target(target)) > 0

    def run(self, history: list[dict[str, Any]], folder: Path | None, watch: Watch, epochs: int | None = None) -> None:
        """epochs: to stop after, where they are known beforehand."""
        epochs = self.settings.epochs if epochs is None else epochs
        if self.processes.rank:
            folder = None  # the first process writes for all
        if folder is not None:
            folder.mkdir(exist_ok=True)
            checkpoint.sweep(folder)
            _write_history(folder, history)
        while self.clock.epoch < epochs and not self._stalled():
            began = time.perf_counter()
            line = self._epoch(folder, history)
            self._observe(line)
            line["seconds"] = time.perf_counter() - began
            history.append(line)
            self.clock = Clock(self.clock.step, self.clock.epoch + 1, self._progress())
            if folder is not None:
                # The checkpoint first: what it has not, resuming writes again.
                checkpoint.write(folder / CHECKPOINT, self.state(history))
                _write_history(folder, history)
            watch(line)
        if self.best_tensors:
            self.network.load_tensors(self.best_tensors)
        elif self.average is not None:
            self.average.swap()
        self.step.eval()

    def settle(self) -> dict[str, Tensor]:
        """After the last stage: every part looks at the validation rows once.  -> the network's tensors it changed."""
        if self.data.validation is None or self.data.validation.size == 0:
            return {}
        before = {name: tensor.clone() for name, tensor in self.network.state_dict().items()}
        held_out = _PlainRows(self.data.validation, self.network, self.device)
        for place, part in (*self.network.parts(), *self.step.parts()):
            with seeded(self.seed, "settle", str(place)):
                part.settle(held_out)
        after = self.network.state_dict()
        return {
            name: tensor.clone()
            for name, tensor in after.items()
            if name not in before or not torch.equal(tensor, before[name])
        }

    def figures(self) -> dict[str, dict[str, float]]:
        """Of the parts that the network is saved without."""
        return {str(place): found for place, part in self.step.parts() if (found := part.figures())}

    def _stalled(self) -> bool:
        patience = self.settings.early_stopping
        return patience is not None and self.waiting >= patience

    def _progress(self) -> float:
        return (self.clock.step - self.first_step) / self.total if self.total else 1.0

    def _epoch(self, folder: Path | None, history: list[dict[str, Any]]) -> dict[str, Any]:
        for module, training in self.modes:
            module.training = training
        sampler, every = self.parts.sampler, self.settings.checkpoint
        g = generator(self.seed, "sampler", self.number, self.clock.epoch)
        draws = sampler.epoch(self.data.train, self.settings.batch, self.meter, g)
        for i, draw in enumerate(draws):
            if i < self.begun:
                continue
            self._train(draw)
            if folder and every and not sampler.adaptive and (i + 1) % every == 0:
                self.begun = i + 1
                checkpoint.write(folder / CHECKPOINT, self.state(history))
        line = {
            "stage": self.number,
            "epoch": self.clock.epoch,
            "step": self.clock.step,
            "rate": self.rate,
            "train": {name: float(total) / count for name, (total, count) in self.sums.items()},
        }
        self.begun, self.sums, self.rate = 0, {}, 0.0
        if self.average is not None:
            self.average.swap()
        line["validation"] = self.processes.from_first(self._validate) if self.watched else {}
        self._keep_best(line)
        if self.average is not None:
            self.average.swap()
        return line

    def _train(self, draw: Draw) -> None:
        """One optimiser step, if anything learns."""
        rows = self.processes.mine(draw.rows)
        keep = None if draw.keep is None else self.processes.mine(draw.keep)
        batch = self.data.train.batch(rows, keep).to(self.device)
        batch = self.step.choose(self.parts.sampler, batch, self.clock, self.meter)
        for optimizer in (self.optimizer, self.probes):
            if optimizer is not None:
                optimizer.zero_grad()
        loss, probe, report = self.wrapped(batch, self.clock, self.meter)
        for name, (total, count) in report.terms.items():
            old, seen = self.sums.get(name, (0.0, 0))
            self.sums[name] = (old + total, seen + count)
        if report.active or report.probing:
            self.accelerator.backward(loss + probe)
        if report.probing and self.probes is not None:
            self.probes.step()
        if report.active and self.optimizer is not None:
            self._gradients()
            share = optim.factor(self.settings, self.clock.step - self.first_step, self.total)
            self.rate = optim.set_rate(self.optimizer, share)
            self.optimizer.step()
            self.clock = Clock(self.clock.step + 1, self.clock.epoch, self._progress())
            self.step.after(self.clock.step)
            if self.average is not None:
                self.average.update()

    def _gradients(self) -> None:
        """Between backward and the optimiser's step: balance, then clipping."""
        self.accelerator.unscale_gradients(self.optimizer)
        heard = {name: part for name, part in self.parts.balance.items() if self.step.heard(name)}
        modulating = {name: part for name, part in heard.items() if type(part).gradients is not Balance.gradients}
        if modulating:
            branches = self.network.branches()
            for name, part in modulating.items():
                # Equal on all processes, as the gradients are.
                with seeded(self.seed, self.clock.step, "gradients", name):
                    part.gradients(branches, self.step.seen_by(name))
        if self.settings.clip is not None:
            nn.utils.clip_grad_norm_(self.learning, self.settings.clip)

    @torch.no_grad()
    def _validate(self) -> dict[str, float]:
        """The network as it is now on all validation rows; nothing of the training changes."""
        rows = self.data.validation
        if rows is None or rows.size == 0:
            return {}
        self.step.eval()
        self.step.processes = Processes(alone=True)
        found: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {name: [] for name in self.network.spec.targets}
        sums: dict[str, tuple[float, int]] = {}
        quiet = Clock(-1, self.clock.epoch, self.clock.progress)
        for part in torch.arange(rows.size).split(max(self.settings.batch, 256)):  # type: ignore[no-untyped-call]
            batch = rows.batch(part).to(self.device)
            with self.accelerator.autocast():
                _, _, report = self.step(batch, quiet, self.meter)
                predictions = self.step.plain().predictions
            for name, (total, count) in report.terms.items():
                old, seen = sums.get(name, (0.0, 0))
                sums[name] = (old + float(total), seen + count)
            for target, pair in _decisions(self.network, predictions, batch).items():
                found[target].append(pair)
        self.step.processes = self.processes
        terms = {name: total / count for name, (total, count) in sums.items()}
        line = {**terms, "loss": sum(self.step.factor(name) * value for name, value in terms.items())}
        for target, parts in found.items():
            if parts:
                predicted, truth = (np.concatenate(side) for side in zip(*parts, strict=True))
                scores = self.judge.score(self.network.spec.targets[target].kind, predicted, truth)
                line |= {f"{target}/{name}": value for name, value in scores.items()}
        return line

    def _keep_best(self, line: Mapping[str, Any]) -> None:
        """Whether the epoch is the best yet, by validation.  RecipeError if validation does not have the measure."""
        validation = line["validation"]
        if not validation:
            return
        if self.monitor == "last":
            return
        if self.monitor not in validation:
            raise RecipeError(
                f"training.monitor: validation has no {self.monitor!r}.{nearest(self.monitor, validation)}"
            )
        value = validation[self.monitor]
        if not math.isfinite(value):
            return
        # Equal scores are common on few rows: the loss then decides.
        key = [value if self.higher else -value, -validation["loss"]]
        if not self.best or key > self.best["key"]:
            self.waiting = 0
            self.best = {"epoch": line["epoch"], "monitor": self.monitor, "value": value, "key": key}
            self.best_tensors = {name: tensor.clone() for name, tensor in self.network.state_dict().items()}
        else:
            self.waiting += 1

    def _observe(self, line: Mapping[str, Any]) -> None:
        """End of an epoch: the trace, and the parts' look at it."""
        self.meter.log({f"{side}/{name}": v for side in ("train", "validation") for name, v in line[side].items()})
        for place, part in (*self.network.parts(), *self.step.parts(), *self.outside):
            if _observes(part):
                with seeded(self.seed, "observe", self.clock.epoch, str(place)):
                    part.observe(self.meter)

    def state(self, history: list[dict[str, Any]]) -> dict[str, Any]:
        """All that the rest of the training depends on; randomness needs nothing, it is keyed."""
        scaler = self.accelerator.scaler
        return {
            "stage": self.number,
            "epochs": self.earlier,
            "clock": [self.clock.step, self.clock.epoch, self.clock.progress],
            "first_step": self.first_step,
            "begun": self.begun,
            "rate": self.rate,
            "sums": self.sums,
            "step": dict(self.step.state_dict()),
            "extra": self.step.extra_state(),
            "outside": [dict(part.state_dict()) for _, part in self.outside],
            "optimizer": None if self.optimizer is None else self.optimizer.state_dict(),
            "probes": None if self.probes is None else self.probes.state_dict(),
            "scaler": None if scaler is None else scaler.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "meter": self.meter.state_dict(),
            "best": self.best,
            "best_tensors": self.best_tensors,
            "waiting": self.waiting,
            "history": history,
        }

    def _load(self, saved: Mapping[str, Any]) -> None:
        for optimizer, name in ((self.optimizer, "optimizer"), (self.probes, "probes")):
            if optimizer is not None:
                optimizer.load_state_dict(saved[name])
        state = checkpoint.to_device(saved, self.device)
        load_tensors(self.step, state["step"])
        self.step.load_extra_state(state["extra"])
        for (_, part), tensors in zip(self.outside, state["outside"], strict=True):
            load_tensors(part, tensors)
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(saved["scaler"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.meter.load_state_dict(state["meter"])
        self.clock = Clock(*state["clock"])
        self.first_step, self.begun, self.rate = state["first_step"], state["begun"], state["rate"]
        self.sums = {name: (total, count) for name, (total, count) in state["sums"].items()}
        self.best, self.best_tensors, self.waiting = state["best"], state["best_tensors"], state["waiting"]


def _observes(part: Part) -> bool:
    """Whether a part looks at the end of each epoch."""
    return type(part).observe is not Part.observe


def _accelerator(precision: str) -> Any:
    from accelerate import Accelerator, DistributedDataParallelKwargs
    from accelerate.state import AcceleratorState

    if precision == "auto":
        cuda = torch.cuda.is_available()
        precision = "no" if not cuda else "bf16" if torch.cuda.is_bf16_supported() else "fp16"
    if precision == "fp16" and not torch.cuda.is_available():
        raise RecipeError("training.precision: fp16 needs a GPU, and there is none. Use bf16, no or auto.")
    # It is one for the whole process and would refuse another precision than that of an earlier fit.
    AcceleratorState._reset_state()
    # A modality that nobody has in a batch leaves its encoder unused.
    kwargs = DistributedDataParallelKwargs(find_unused_parameters=True)
    # Without the word, processes without a GPU would start a group and then not average their gradients.
    cpu = not (torch.cuda.is_available() or torch.xpu.is_available() or torch.backends.mps.is_available())
    return Accelerator(cpu=cpu, mixed_precision=precision, kwargs_handlers=[kwargs])


def _decisions(
    network: Network, predictions: Mapping[str, Prediction], batch: Batch
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """{target: (what its head predicts, truth)} on the labelled rows of a batch."""
    out = {}
    for target, prediction in predictions.items():
        if target not in batch.targets:
            continue
        (params, truth), rows = together(prediction, batch.targets[target])
        if len(rows):
            head = network.heads[target]
            assert isinstance(head, Head)
            out[target] = (head.predict(params.values.float()).cpu().numpy(), truth.values.cpu().numpy())
    return out


def _write_history(folder: Path, history: list[dict[str, Any]]) -> None:
    text = "".join(json.dumps(_plain(line), allow_nan=False) + "\n" for line in history)
    checkpoint.write_bytes(folder / HISTORY, text.encode())


def _plain(value: Any) -> Any:
    """JSON has no NaN and no infinity: null."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value

"""One training step's loss: passes, objectives, terms, weights.  The only module that is wrapped for many processes."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from plait.core.errors import RecipeError
from plait.core.meter import Meter
from plait.core.named import Named
from plait.core.network import Network
from plait.core.outputs import Gather, Outputs, Pass, State
from plait.core.packed import Batch, Packed, together
from plait.core.part import Balance, Clock, Head, Hiding, Missing, Objective, Part, Place, Sampler, Teacher, Terms, View
from plait.core.random import generator, seeded

from .processes import Processes


@dataclass
class Report:
    """What a step said, the same on every process.

    terms: {name: (sum, count)} over all of them, before weights.  active: whether anything learns from the loss.
    probing: whether a probe learns.
    """

    terms: dict[str, tuple[Tensor, int]] = field(default_factory=dict)
    active: bool = False
    probing: bool = False


class Step(nn.Module):
    """network + objectives -> loss.

    weights: factors of terms by glob.  Terms are named objective/term, or place/term for a part's own.
    Teachers and memories belong to the step but are not sub-modules: nothing trains them.
    """

    teachers: dict[str, Network]
    memory: dict[str, dict[str, Tensor]]

    def __init__(
        self,
        network: Network,
        objectives: Mapping[str, Objective],
        balance: Mapping[str, Balance] | None = None,
        *,
        views: Mapping[str, Sequence[View]] | None = None,
        teachers: Mapping[str, Teacher] | None = None,
        weights: Mapping[str, float] | None = None,
        seed: int = 0,
        processes: Processes | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.objectives = Named(objectives)
        self.balance = Named(balance or {})
        self.views = Named({name: nn.ModuleList(chain) for name, chain in (views or {}).items()})
        self.weights = dict(weights or {})
        self._factors: dict[str, float] = {}
        for name in self.balance:
            if name in self.objectives:
                raise RecipeError(
                    f"balance.{name}: an objective has the same name, and terms go by it. Give one of them another "
                    "name, and say with `use` which component it is."
                )
        self.seed = seed
        self.processes = processes or Processes()
        rules = [(Place("teachers", name), rule) for name, rule in (teachers or {}).items()]
        for place, part in (*self.parts(), *rules):
            part.place = place
            with seeded(seed, str(place)):
                part.build(network.spec, place)
        self._teacher_rules = dict(teachers or {})
        # Not registered: the optimiser, state_dict and DDP must not see them.
        device = next(network.parameters()).device
        self.__dict__["teachers"] = {
            name: rule.start(network).requires_grad_(False).eval().to(device)
            for name, rule in self._teacher_rules.items()
        }
        self.__dict__["memory"] = {name: {} for name, _ in self._asking()}
        self.__dict__["_last"] = None
        self._passes = {name: part.passes(network.spec) for name, part in self._asking()}
        for name, passes in self._passes.items():
            for asked in passes.values():
                self._check_pass(name, asked)

    def parts(self) -> list[tuple[Place, Part]]:
        """Parts of the step that are not the network's."""
        out: list[tuple[Place, Part]] = []
        for slot in ("objectives", "balance"):
            out += [(Place(slot, name), part) for name, part in getattr(self, slot).items()]
        for name in self.views:
            out += [(Place("views", f"{name}.{i}"), view) for i, view in enumerate(self._chain(name))]
        return out

    def _chain(self, view: str | None) -> list[View]:
        return [] if view is None else list(self.views[view].children())  # type: ignore[arg-type]

    def _asking(self) -> list[tuple[str, Objective]]:
        return [*self.objectives.items(), *self.balance.items()]

    def _check_pass(self, name: str, asked: Pass) -> None:
        if asked.view is not None and asked.view not in self.views:
            raise RecipeError(
                f"objectives.{name}: it reads the view {asked.view!r}, which the recipe does not have. "
                f"Add views: {{{asked.view}: [...]}}."
            )
        if asked.by != "model" and asked.by not in self._teacher_rules:
            raise RecipeError(
                f"objectives.{name}: it asks the teacher {asked.by!r}, which the recipe does not have. "
                f"Add teachers: {{{asked.by}: {{use: ema}}}}."
            )

    def factor(self, term: str) -> float:
        """The recipe's factor for a term: the product over all globs that match."""
        if term not in self._factors:
            self._factors[term] = math.prod(w for glob, w in self.weights.items() if fnmatch.fnmatchcase(term, glob))
        return self._factors[term]

    def _speaking(self) -> list[tuple[str, Objective]]:
        """The objectives whose weight is not 0: the rest are as if absent."""
        return [(name, part) for name, part in self._asking() if self.heard(name)]

    def heard(self, name: str) -> bool:
        """Whether an objective or balance component has a weight above 0: with 0 it neither hides nor modulates."""
        return bool(self.factor(name) and self.factor(f"{name}/*"))

    def _draws(self, name: str, whole: bool, clock: Clock) -> AbstractContextManager[None]:
        """Randomness of a part's own, such as dropout in a predictor; equal on all processes where they share rows."""
        return seeded(self.seed, clock.step, 0 if whole else self.processes.rank, name)

    def run(self, batch: Batch, asked: Pass, clock: Clock, meter: Meter) -> Outputs:
        """One pass: view, hiding, cutting; everything after is computed when it is read."""
        network = self.network if asked.by == "model" else self.teachers[asked.by]
        # Equal for a teacher and the model, so that both see the same view.
        seed = (self.seed, clock.step, self.processes.rank, asked.view, asked.draw)
        views = self._chain(asked.view)
        for i, view in enumerate(views):
            changed = view.cells(batch, generator(*seed, i, "cells"))
            self._check_frozen(asked, batch, changed)
            batch = changed
        keep = None
        if self.training and asked.by == "model":
            # Columns as in the meter: a batch may lack a modality that the network knows.
            names = network.names
            hidden = self._hide("cells", batch.having(names), meter, seed)
            if hidden is not None:
                everyone = torch.ones(batch.size, dtype=torch.bool, device=hidden.device)
                own = [hidden[:, names.index(name)] if name in names else everyone for name in batch.modalities]
                batch = batch.keep(torch.stack(own, 1)) if own else batch
            keep = self._hide("tokens", batch.having(names), meter, seed)
        pieces = network.cut(batch)
        for i, view in enumerate(views):
            pieces = view.pieces(pieces, generator(*seed, i, "pieces"))
        return Outputs.of(network, batch, pieces, seed=(*seed, asked.by), keep=keep, layers=asked.layers)

    def _check_frozen(self, asked: Pass, before: Batch, after: Batch) -> None:
        if after is before:
            return
        for name, cells in after.modalities.items():
            old = before.modalities[name]
            if name not in self.network.encoders or not self.network.encoders[name].frozen or cells is old:
                continue
            if not torch.equal(cells.values, old.at(cells.rows).values):
                raise RecipeError(
                    f"views.{asked.view}: it changes cells of {name!r}, whose frozen encoder's outputs are cached. "
                    "Set cache: false on that encoder, or leave the modality out of the view."
                )

    def _hiders(self) -> list[tuple[str, Hiding]]:
        parts = [
            *((f"missing.{n}", p) for n, p in self.network.missing.items()),
            *((f"balance.{n}", p) for n, p in self.balance.items() if self.heard(n)),
        ]
        return [
            (name, part)
            for name, part in parts
            if isinstance(part, (Missing, Balance)) and type(part).hide is not Hiding.hide
        ]

    def _hide(self, at: str, present: Tensor, meter: Meter, seed: tuple[object, ...]) -> Tensor | None:
        """-> [B, M] cells to keep, at least one of a sample's own; None if nothing is hidden here."""
        hiders = [(name, part) for name, part in self._hiders() if part.at == at]
        if not hiders:
            return None
        keep = present.clone()
        for name, part in hiders:
            keep &= ~part.hide(present, meter, generator(*seed, "hide", name))
        if torch.equal(keep, present):
            # A mask that hides nothing would still change the order in which gradients are added up.
            return None
        lost = present.any(1) & ~keep.any(1)
        if bool(lost.any()):
            # Which one stays is drawn among those present, or the first modality would be favoured.
            draw = torch.rand(present.shape, generator=generator(*seed, "keep")).to(present.device)
            stays = (draw * present).argmax(1)
            keep[lost, stays[lost]] = True
        return keep

    def state(
        self,
        name: str,
        part: Objective,
        batch: Batch,
        clock: Clock,
        meter: Meter,
        memo: dict[Pass, Outputs],
        gather: Gather | None,
    ) -> State:
        """What one objective sees; passes are shared between all that ask for the same."""
        passes = {}
        gather = gather if part.whole else None
        for own, asked in self._passes[name].items():
            if asked not in memo:
                memo[asked] = self.run(batch, asked, clock, meter)
            passes[own] = memo[asked].gathered(gather)
        return State(batch, clock, meter, self.memory[name], passes, gather)

    def forward(self, batch: Batch, clock: Clock, meter: Meter) -> tuple[Tensor, Tensor, Report]:
        """-> loss, the probes' loss, report.

        A Packed term is divided by its count over all processes.  The gradient of the loss, averaged over processes,
        is that of one process with the whole batch.
        """
        self.__dict__["_last"] = None  # or the last graph would live beside the new one
        gather = self.processes.gatherer(batch.size, batch.ids.device)
        memo: dict[Pass, Outputs] = {}
        found: dict[str, tuple[Packed | Tensor, bool]] = {}
        for name, part in self._speaking():
            state = self.state(name, part, batch, clock, meter, memo, gather)
            with self._draws(name, part.whole, clock):
                found.update({f"{name}/{term}": (value, part.whole) for term, value in part(state).items()})
        found.update({name: (value, False) for name, value in self._own(batch, clock, meter, memo).items()})
        probes = self._measure(batch, clock, meter, memo, gather) if self.training else {}
        factors = {name: self.factor(name) for name in found}
        # Only in training: a component may learn from being asked.
        for own, balance in self.balance.items() if self.training else ():
            if not self.heard(own):
                continue
            with self._draws(f"{own}/weigh", True, clock):
                weighed = balance.weigh(tuple(found), meter)
            for name, factor in weighed.items():
                factors[name] *= factor
        self.__dict__["_last"] = (batch, clock, meter, memo, gather)
        return self._total(found, factors, probes, batch.ids.device)

    def _main(self, batch: Batch, clock: Clock, meter: Meter, memo: dict[Pass, Outputs]) -> Outputs:
        """The plain pass, run if nobody has asked for it yet."""
        if Pass() not in memo:
            memo[Pass()] = self.run(batch, Pass(), clock, meter)
        return memo[Pass()]

    def _own(self, batch: Batch, clock: Clock, meter: Meter, memo: dict[Pass, Outputs]) -> Terms:
        """Losses of the network's own parts."""
        out: Terms = {}
        for place, part in self.network.parts():
            if type(part).terms is Part.terms or self.factor(f"{place}/*") == 0:
                continue
            if place.slot == "singles":
                # A copy of a head for one modality: what asked for it says what it learns from.
                continue
            g = generator(self.seed, clock.step, self.processes.rank, str(place), "terms")
            main = self._main(batch, clock, meter, memo)
            with self._draws(str(place), False, clock):
                terms = part.terms(main, g)
            out.update({f"{place}/{name}": value for name, value in terms.items()})
        return out

    def _measure(
        self, batch: Batch, clock: Clock, meter: Meter, memo: dict[Pass, Outputs], gather: Gather | None
    ) -> dict[str, Packed]:
        """Each modality's own score, of all processes, into the meter; -> the probes' losses."""
        network = self.network
        probes: dict[str, Packed] = {}
        if network.singles_mode is None:
            return probes
        nobody = Packed(torch.zeros(0, device=batch.ids.device), batch.ids[:0])
        scores: dict[str, Packed] = {}
        for i, (target, decisions) in enumerate(self._main(batch, clock, meter, memo).singles.items()):
            head = network.heads[target]
            assert isinstance(head, Head)
            for name in network.names:
                loss = score = nobody
                if name in decisions and target in batch.targets:
                    (params, truth), rows = together(decisions[name], batch.targets[target])
                    if len(rows):
                        with torch.no_grad():
                            score = Packed(head.score(params.values, truth.values), rows)
                        if network.singles_mode == "probe":
                            loss = Packed(head.loss(params.values, truth.values), rows)
                probes[f"{target}/{name}"] = loss
                if i == 0:
                    scores[name] = score
        ids = Packed(batch.ids, torch.arange(batch.size, device=batch.ids.device))
        # Every process must decide by the same scores.
        everywhere = {name: score if gather is None else gather(score) for name, score in scores.items()}
        whole = ids if gather is None else gather(ids)
        assert whole is not None
        meter.update(
            {name: score for name, score in everywhere.items() if score is not None and len(score)}, whole.values
        )
        return probes

    def _total(
        self,
        found: Mapping[str, tuple[Packed | Tensor, bool]],
        factors: Mapping[str, float],
        probes: Mapping[str, Packed],
        device: torch.device,
    ) -> tuple[Tensor, Tensor, Report]:
        report = Report()
        loss, probe = torch.zeros((), device=device), torch.zeros((), device=device)
        values = [*(value for value, _ in found.values()), *probes.values()]
        if not values:
            return loss, probe, report
        sums = [(v.values if isinstance(v, Packed) else v).float().sum() for v in values]
        own = [v.values.numel() if isinstance(v, Packed) else 1 for v in values]
        learn: list[float] = [s.requires_grad for s in sums]
        totals, counts = torch.stack(sums).detach(), own
        everywhere = totals
        if self.processes.world > 1:
            more = torch.tensor([own, learn], dtype=totals.dtype, device=device)
            everywhere, *rest = self.processes.sum(torch.cat([totals.unsqueeze(0), more]))
            counts, learn = [int(n) for n in rest[0].tolist()], rest[1].tolist()
        for i, (name, (_, whole)) in enumerate(found.items()):
            # A whole term was computed on all rows by every process; a local one only on its own.
            size, share = (own[i], 1) if whole else (counts[i], self.processes.world)
            if size == 0:
                continue
            report.terms[name] = ((totals if whole else everywhere)[i], size)
            if factors[name] != 0:
                report.active |= bool(learn[i])
                loss = loss + factors[name] * share * sums[i] / size
        for i, _ in enumerate(probes, len(found)):
            if counts[i]:
                report.probing |= bool(learn[i])
                probe = probe + self.processes.world * sums[i] / counts[i]
        if (report.active or report.probing) and not (loss.requires_grad or probe.requires_grad):
            # Another process has rows to learn from, and all must take part in backward.
            loss = loss + next(p for p in self.parameters() if p.requires_grad).flatten()[:0].sum()
        return loss, probe, report

    @torch.no_grad()
    def after(self, step: int) -> None:
        """After the optimiser's step: memories and teachers."""
        batch, clock, meter, memo, gather = self.__dict__["_last"]
        for name, part in self._speaking():
            if not part.memory:
                continue
            # A memory holds the whole batch on every process, whatever the loss reads.
            passes = {own: memo[asked].gathered(gather) for own, asked in self._passes[name].items()}
            state = State(batch, clock, meter, self.memory[name], passes, gather)
            own = self.memory[name]
            with self._draws(name, True, clock):
                kept = part.remember(state)
            for key, value in kept.items():
                limit, old = part.memory[key], own.get(key)
                own[key] = value.detach() if limit == 0 or old is None else torch.cat([old, value.detach()])[-limit:]
        for place, own_part in self.network.parts():
            if type(own_part).keep is not Part.keep:
                with self._draws(f"{place}/keep", True, clock):
                    own_part.keep(self._main(batch, clock, meter, memo).gathered(gather))
        for name, rule in self._teacher_rules.items():
            with seeded(self.seed, step, "teachers", name):
                rule.update(self.teachers[name], self.network, step)

    def seen_by(self, name: str) -> State:
        """What an objective saw in the last pass."""
        batch, clock, meter, memo, gather = self.__dict__["_last"]
        part = dict(self._asking())[name]
        return self.state(name, part, batch, clock, meter, memo, gather)

    def plain(self) -> Outputs:
        """The plain pass of the last batch."""
        batch, clock, meter, memo, _ = self.__dict__["_last"]
        return self._main(batch, clock, meter, memo)

    def choose(self, sampler: Sampler, batch: Batch, clock: Clock, meter: Meter) -> Batch:
        """What a sampler keeps of a super-batch."""
        asked = sampler.passes(self.network.spec)
        if not asked:
            return batch
        with torch.no_grad():
            passes = {own: self.run(batch, p, clock, meter) for own, p in asked.items()}
            state = State(batch, clock, meter, {}, passes)
            rows = sampler.choose(state, generator(self.seed, clock.step, self.processes.rank, "choose"))
        return batch.take(rows)

    def extra_state(self) -> dict[str, object]:
        """What a checkpoint needs beside the parameters."""
        return {
            "teachers": {name: dict(teacher.state_dict()) for name, teacher in self.teachers.items()},
            "memory": self.memory,
        }

    def load_extra_state(self, state: Mapping[str, Mapping[str, Mapping[str, Tensor]]]) -> None:
        for name, tensors in state["teachers"].items():
            self.teachers[name].load_tensors(tensors)
        for name, memory in state["memory"].items():
            self.memory[name] = dict(memory)

"""Cases for two processes with uneven shares of a batch; run by torch.distributed.run, or called in one process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import foreign
import tiny
import torch
import torch.distributed as dist
from torch import nn

from plait.cli import leave
from plait.core.meter import Meter
from plait.core.outputs import Pass, State
from plait.core.packed import Batch, Packed, Tokens
from plait.core.part import Clock, Missing, Objective, Spec, Terms, View
from plait.training.processes import Processes

SIZE, CUT = 40, 14


class Double(View):
    """Without randomness, which differs from process to process on purpose; hides the last piece of long cells."""

    def pieces(self, pieces: dict[str, Tokens], g: torch.Generator) -> dict[str, Tokens]:
        out = {}
        for name, part in pieces.items():
            hidden = torch.zeros_like(part.mask)
            hidden[:, -1] = part.mask.sum(1) > 3
            out[name] = part.with_(values=2 * part.values, hidden=hidden if hidden.any() else None)
        return out


class Reader(Objective):
    """Everything that can be read, also what some process has nothing of."""

    whole = True
    memory = {"tokens": 30, "centre": 0}

    def passes(self, spec: Spec) -> dict[str, Pass]:
        return {"main": Pass(), "double": Pass(view="double"), "teacher": Pass(by="slow")}

    def build(self, spec: Spec, place: Any) -> None:
        self.scale = nn.Parameter(torch.ones(spec.width))

    def forward(self, state: State) -> Terms:
        out, double, teacher = state.of(), state.of("double"), state.of("teacher")
        terms: Terms = {}
        for name in sorted(double.tokens):
            part = double.tokens[name]
            terms[f"tokens/{name}"] = Packed(_spread(part.pooled().values * self.scale), part.rows)
        for name, part in sorted(double.pieces.items()):
            terms[f"pieces/{name}"] = Packed(_spread(part.pooled().values), part.rows)
        for target, decisions in out.singles.items():
            for name, decision in sorted(decisions.items()):
                terms[f"singles/{target}/{name}"] = Packed(_spread(decision.values), decision.rows)
        for name, part in sorted(out.guesses.items()):
            terms[f"guesses/{name}"] = Packed(_spread(part.pooled().values), part.rows)
        for name, part in sorted(out.filled.items()):
            terms[f"filled/{name}"] = Packed(_spread(part.real().pooled().values), part.real().rows)
        joint, old = out.joint(), teacher.joint()
        terms["joint"] = Packed(_spread(joint.values @ old.values.T), joint.rows)
        without = out.without("b").fused
        terms["without"] = Packed(_spread(without.values), without.rows)
        terms["fused"] = _spread(out.fused.values).mean() * out.size
        for name, truth in sorted(out.targets.items()):
            terms[f"labelled/{name}"] = out.fused.values.sum() * len(truth)
        return terms

    def remember(self, state: State) -> dict[str, torch.Tensor]:
        tokens = state.of("double").tokens
        pooled = torch.cat([tokens[name].pooled().values for name in sorted(tokens)])
        return {"tokens": pooled, "centre": state.of().fused.values.mean(0)}


def _spread(values: torch.Tensor) -> torch.Tensor:
    """[N, D] -> [N]: needs all rows at once."""
    return (values - values.mean(0)).square().sum(1)


class Guess(Missing):
    """Guesses b from a, where both or only a are there."""

    def build(self, spec: Spec, place: Any) -> None:
        if not hasattr(self, "linear"):
            self.linear = nn.Linear(spec.width, spec.width)

    def forward(self, tokens: dict[str, Tokens], size: int, g: torch.Generator) -> Any:
        from plait.core.packed import merge, tokens_of
        from plait.core.part import Filled

        if "a" not in tokens:
            return Filled(tokens)
        guess = tokens_of(self.linear(tokens["a"].pooled().values).unsqueeze(1), tokens["a"].rows)
        have = tokens["b"].rows if "b" in tokens else guess.rows[:0]
        made = guess.take(~torch.isin(guess.rows, have))
        made = made.with_(made=torch.ones_like(made.rows, dtype=torch.bool))
        both = merge(tokens["b"], made) if "b" in tokens else made
        filled = {**tokens, "b": both} if len(both) else tokens
        return Filled(filled, {"b": guess})


def share(batch: Batch, processes: Processes, cut: int) -> Batch:
    if processes.world == 1:
        return batch
    rows = torch.arange(batch.size)
    return batch.take(rows[:cut] if processes.rank == 0 else rows[cut:])


def case(
    objectives: dict[str, Any],
    *,
    cut: int = CUT,
    lonely: str = "",
    unlabelled: bool = False,
    bf16: bool = False,
    **network: Any,
) -> Callable[[Processes], dict[str, Any]]:
    """lonely: modalities that only the first rows have.  unlabelled: only the first rows have labels."""

    def run(processes: Processes) -> dict[str, Any]:
        net = tiny.network(**network)
        net.prepare(tiny.Rows(net, tiny.batch(48, net.spec.names, net.spec.targets, seed=77)))
        teacher = {"slow": tiny.part("teachers", "ema", {"momentum": 0.5})}
        balance = {"slow": foreign.Watching()} if net.singles_mode == "probe" else {}
        step = tiny.step(
            net, objectives, balance=balance, views={"double": [Double()]}, teachers=teacher, processes=processes
        )
        wrapped: Any = step
        if processes.world > 1:
            wrapped = nn.parallel.DistributedDataParallel(step, find_unused_parameters=True)
        step.train()
        # Dropout differs from process to process on purpose.
        for part in (net, step.objectives):
            part.eval()
        meter = Meter(net.names, history=True)
        optimizer = torch.optim.SGD(step.parameters(), lr=1e-4)
        for i in range(3):
            rows = tiny.batch(SIZE, net.spec.names, net.spec.targets, seed=i)
            keep = rows.present
            for name in lonely:
                keep[CUT:, net.names.index(name)] = False
            rows = rows.keep(keep)
            if unlabelled:
                rows.targets.update({n: t.take(t.rows < CUT) for n, t in rows.targets.items()})
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                loss, probe, report = wrapped(share(rows, processes, cut), Clock(step=i), meter)
            if report.active or report.probing:
                (loss + probe).backward()
                optimizer.step()
            step.after(i)
        return {
            "gradients": {
                name: torch.zeros_like(p) if p.grad is None else p.grad for name, p in step.named_parameters()
            },
            "memory": {f"{own}/{key}": t for own, kept in step.memory.items() for key, t in kept.items()},
            "terms": {name: total.detach() / count for name, (total, count) in report.terms.items()},
            "ratios": {name: torch.tensor(value) for name, value in meter.ratios().items()},
            "read": {name: torch.stack(meter.history(name, torch.arange(SIZE))).float() for name in net.names},
        }

    return run


LABELS = {"supervised": "supervised", "singles": "singles"}
CASES: dict[str, Callable[[Processes], dict[str, Any]]] = {
    "local": case({"supervised": "supervised"}, targets=("class", "multi_label", "number"), fusion="self_attention"),
    "ranked": case(LABELS, singles="trained"),
    "contrast": case({"pairs": "info_nce", "queue": foreign.Queue(), **LABELS}, lonely="b", singles="trained"),
    "reader": case({"reader": Reader()}, lonely="cd", singles="trained", missing={"guess": Guess()}),
    "probes": case({"supervised": "supervised"}, lonely="a", targets=("class", "number"), singles="probe"),
    "labels on one side": case(LABELS, unlabelled=True, targets=("class",), singles="trained"),
    "nothing on one side": case({"pairs": "siglip", **LABELS, "reader": Reader()}, cut=SIZE, singles="trained"),
    "half": case({"pairs": "info_nce", **LABELS}, lonely="bc", singles="trained", bf16=True, fusion="self_attention"),
    "few on one side": case({"reader": Reader()}, cut=2, singles="trained", missing={"guess": Guess()}),
    "no graph on one side": case({"singles": "singles"}, cut=SIZE, targets=("class",), singles="trained"),
    "decisions by history": case(
        {**LABELS, "ranking": "history_ranking"}, lonely="b", targets=("class",), fusion="uncertainty_weighted_late"
    ),
    "decisions on one side": case(LABELS, cut=SIZE, targets=("class",), fusion="collaborative_belief"),
    "retrieved": case({"supervised": "supervised"}, lonely="c", missing={"it": "retrieval_imputation"}),
    "only labels on one side": case({"supervised": "supervised"}, cut=0, unlabelled=True, targets=("class",)),
}


def main() -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    processes = Processes()
    for name, run in CASES.items():
        torch.save(run(processes), f"{name}.{processes.rank}.pt")
    dist.destroy_process_group()
    leave(0)


if __name__ == "__main__":
    main()

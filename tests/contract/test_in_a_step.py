"""What every component of the network and of the step keeps to, found by itself in its slot."""

from __future__ import annotations

import fnmatch

import pytest
import tiny
import torch
from torch import Tensor, nn

from plait.core.errors import PlaitError
from plait.core.meter import Meter
from plait.core.outputs import Outputs, Pass
from plait.core.packed import Batch, Packed
from plait.core.part import Clock, Objective


def only(*slots: str):
    """For a contract that is about some slots."""

    def mark(test):
        test.slots = slots
        return test

    return mark


def leaves(loss: Tensor) -> set[int]:
    """Ids of the tensors that a backward pass would reach."""
    found, seen, stack = set(), set(), [loss.grad_fn]
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found.add(id(node.variable))
        stack += [following for following, _ in node.next_functions]
    return found


def test_every_leaf_is_a_registered_parameter_and_every_parameter_learns(case) -> None:
    step = case.make().train()
    known = {id(p) for p in step.parameters()}
    reached: dict[str, bool] = {name: False for name, p in step.named_parameters() if p.requires_grad}
    # What begins at zero lets nothing through before its first step.
    optimizer = torch.optim.SGD([p for p in step.parameters() if p.requires_grad], lr=0.01)
    for i in range(4):
        optimizer.zero_grad()
        loss = tiny.loss(step, tiny.batch(24, targets=case.targets, seed=i), i)
        assert leaves(loss) <= known
        loss.backward()
        for name, gradient in tiny.gradients(step).items():
            reached[name] |= bool((gradient != 0).any())
        optimizer.step()
    excused = excuses(step)
    assert [
        name for name, hit in reached.items() if not hit and not any(fnmatch.fnmatch(name, e) for e in excused)
    ] == []


def test_what_is_learned_begins_small(case) -> None:
    """A start that is large beside the tokens, or has a few huge entries, drowns them."""
    learned = [(name, p) for name, p in case.make().named_parameters() if p.dim()]
    assert [name for name, p in learned if p.detach().abs().max() > 1] == []


def excuses(step: nn.Module) -> list[str]:
    """Globs of parameters that a part says do not learn in every recipe, each with a reason."""
    out = []
    for path, module in step.named_modules():
        for pattern, reason in getattr(module, "idle", {}).items():
            assert reason
            out.append(f"{path}.{pattern}")
    return out


def garbage(rows: Batch, value: float) -> Batch:
    """Other content beyond each ragged cell's end."""
    out = {}
    for name, part in rows.modalities.items():
        if "length" in part.notes:
            beyond = torch.arange(part.values.shape[1]) >= part.notes["length"].unsqueeze(1)
            part = part.with_(values=part.values.masked_fill(beyond.unsqueeze(-1), value))
        out[name] = part
    return Batch(rows.size, out, rows.targets, rows.ids)


@pytest.mark.parametrize("value", [1e4, float("nan")])
def test_what_stands_in_absent_places_changes_nothing(case, value: float) -> None:
    step, rows = case.make().train(), tiny.batch(24, targets=case.targets)
    found = []
    for content in (rows, garbage(rows, value)):
        step.zero_grad()
        loss = tiny.loss(step, content)
        loss.backward()
        found.append({"loss": loss.detach(), **tiny.gradients(step)})
    assert tiny.equal(*found)
    step.eval()
    first, second = (step.network(content).predictions for content in (rows, garbage(rows, value)))
    assert all(torch.equal(first[name].values, second[name].values) for name in first)


def twins(rows: Batch) -> Batch:
    """Every second cell of a modality is the one before it."""
    out = {
        name: part.take((torch.arange(len(part)) // 2) * 2).with_(rows=part.rows)
        for name, part in rows.modalities.items()
    }
    return Batch(rows.size, out, rows.targets, rows.ids)


def test_equal_cells_leave_every_gradient_finite(case) -> None:
    """What is left out because it equals another may not come back as 0 times infinity."""
    step = case.make().train()
    loss = tiny.loss(step, twins(tiny.batch(24, targets=case.targets)))
    loss.backward()
    assert bool(loss.isfinite())
    assert [name for name, found in tiny.gradients(step).items() if not found.isfinite().all()] == []


def test_what_is_hidden_from_the_encoders_changes_nothing(case) -> None:
    """Also for what reads the tokens: fusion, projection, missing, heads."""
    step, rows = case.make().eval(), tiny.batch(24, targets=case.targets)
    pieces = step.network.cut(rows)
    g = torch.Generator().manual_seed(0)
    found = []
    hidden = {name: part.visible & (torch.rand(part.visible.shape, generator=g) < 0.4) for name, part in pieces.items()}
    for value in (0.0, 1e4):
        changed = {
            name: part.with_(values=part.values.masked_fill(hidden[name].unsqueeze(-1), value), hidden=hidden[name])
            for name, part in pieces.items()
        }
        out = Outputs.of(step.network, rows, changed)
        found.append(
            {**{n: p.values for n, p in out.predictions.items()}, **{n: out.embedding(n).values for n in pieces}}
        )
    assert tiny.equal(*found)


def test_tokens_that_are_not_visible_may_hold_anything(case) -> None:
    step, rows = case.make().eval(), tiny.batch(24, targets=case.targets)
    tokens = step.network(rows).tokens
    found = []
    for value in (0.0, float("nan")):
        changed = {
            name: part.with_(values=part.values.masked_fill(~part.visible.unsqueeze(-1), value))
            for name, part in tokens.items()
        }
        out = step.network(rows).given(changed)
        found.append(
            {**{n: p.values for n, p in out.predictions.items()}, **{n: out.embedding(n).values for n in tokens}}
        )
    assert tiny.equal(*found)


def test_a_hidden_modality_is_the_same_as_an_absent_one(case) -> None:
    step, rows = case.make().eval(), tiny.batch(24, targets=case.targets, missing=0.1)
    keep = torch.rand(24, 4, generator=torch.Generator().manual_seed(0)) < 0.6
    hidden = Outputs.of(step.network, rows, step.network.cut(rows), keep=keep)
    absent = step.network(rows.keep(keep))
    for name, prediction in hidden.predictions.items():
        assert torch.equal(prediction.rows, absent.predictions[name].rows)
        assert torch.allclose(prediction.values, absent.predictions[name].values, atol=1e-6)


def test_eval_is_deterministic_and_the_order_of_samples_does_not_matter(case) -> None:
    step, rows = case.make().eval(), tiny.batch(24, targets=case.targets)
    first = step.network(rows, ("one",)).predictions
    second = step.network(rows, ("two",)).predictions
    order = torch.randperm(24, generator=torch.Generator().manual_seed(0))
    permuted = step.network(rows.take(order)).predictions
    for name, prediction in first.items():
        assert torch.equal(prediction.values, second[name].values)
        values, present = prediction.dense(24)
        again, there = permuted[name].dense(24)
        assert torch.equal(present[order], there)
        assert torch.allclose(values[order], again, atol=1e-5)


def test_training_with_the_same_seed_repeats_bit_for_bit(case) -> None:
    first, second = (tiny.train(case.make(), steps=2, targets=case.targets) for _ in range(2))
    assert tiny.equal(first.state_dict(), second.state_dict())


@pytest.mark.parametrize("names", ["a", "ab", "abc", "abcd"])
def test_any_number_of_modalities(case, names: str) -> None:
    try:
        step = case.make(names)
    except PlaitError as error:
        pytest.skip(f"it says why not: {error}")
    works(step, tiny.batch(12, names, case.targets))


@pytest.mark.parametrize(
    "kind", ["one absent for all", "one sample", "no sample", "nothing at all", "no label", "lonely"]
)
def test_any_batch(case, kind: str) -> None:
    step = case.make()
    rows = {
        "one absent for all": lambda: tiny.batch(12, "abd", case.targets),
        "one sample": lambda: tiny.batch(1, "abcd", case.targets, missing=0.0, unlabelled=0.0),
        "no sample": lambda: tiny.batch(0, "abcd", case.targets),
        "nothing at all": lambda: tiny.batch(6, "", case.targets),
        "no label": lambda: tiny.batch(12, "abcd", case.targets, unlabelled=1.0),
        "lonely": lambda: tiny.batch(12, "abcd", case.targets, missing=1.0),
    }[kind]()
    works(step, rows)


def works(step, rows: Batch) -> None:
    step.train()
    loss = tiny.loss(step, rows)
    assert torch.isfinite(loss)
    if loss.requires_grad:
        loss.backward()
    assert all(torch.isfinite(gradient).all() for gradient in tiny.gradients(step).values())
    step.after(0)
    step.eval()
    for prediction in step.network(rows).predictions.values():
        assert torch.isfinite(prediction.values).all()
        assert len(prediction) <= rows.size


def test_a_sample_without_anything_gets_no_prediction(case) -> None:
    step = case.make().eval()
    rows = tiny.batch(12, targets=case.targets).keep(torch.arange(12).unsqueeze(1).expand(-1, 4) != 5)
    for prediction in step.network(rows).predictions.values():
        assert 5 not in prediction.rows.tolist()


def test_saved_and_loaded_it_says_the_same(case) -> None:
    step = tiny.train(case.make(), steps=2, targets=case.targets)
    other = case.make(seed=1, prepared=False)
    rows = tiny.batch(12, targets=case.targets)
    other.network.load_tensors(step.network.state_dict())
    first, second = step.network.eval()(rows), other.network.eval()(rows)
    assert tiny.equal(step.network.state_dict(), other.network.state_dict())
    for name, prediction in first.predictions.items():
        assert torch.equal(prediction.values, second.predictions[name].values)
    assert all(torch.equal(first.embedding(n).values, second.embedding(n).values) for n in "abcd")


def test_a_modality_that_comes_later_keeps_every_bit(case) -> None:
    step = case.make("abc")
    net, rows = step.network.eval(), tiny.batch(12, "abc", case.targets)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    first = {name: p.values for name, p in net(rows).predictions.items()}
    net.encoders["d"] = tiny.Flat()
    net.build(tiny.spec("abcd", case.targets))
    net.eval()
    assert all(torch.equal(net.state_dict()[name], value) for name, value in before.items())
    if case.slot != "missing":  # a stand-in for the newcomer is something new to read
        second = {name: p.values for name, p in net(rows).predictions.items()}
        assert tiny.equal(first, second)


@only("objectives", "balance")
def test_weight_zero_is_the_same_as_absent(case) -> None:
    """The weights that both have end up equal, bit for bit."""
    targets = case.targets
    silent = tiny.train(
        case.make(targets=targets, weights={"it/*": 0.0}), steps=3, targets=targets
    ).network.state_dict()
    absent = tiny.train(case.make(targets=targets, without=True), steps=3, targets=targets).network.state_dict()
    assert absent
    assert all(torch.equal(value, silent[name]) for name, value in absent.items())


def halves_add_up(objective: Objective, singles) -> bool:
    targets = ("class", "multi_label", "number")
    decoders = dict.fromkeys("bd", "piece_decoder") if objective.needs.decoders else None
    net = tiny.network(targets=targets, singles=singles, heads=decoders)
    net.prepare(tiny.Rows(net, tiny.batch(48, targets=targets)))
    step = tiny.step(net, {"it": objective}, **tiny.asked(objective, net.spec)).eval()
    assert not objective.whole
    rows = tiny.batch(24, targets=targets)

    def sums(of: Batch) -> dict[str, float]:
        state = step.state("it", objective, of, Clock(), Meter(net.names), {}, None)
        return {name: term.values.sum().item() for name, term in objective(state).items()}

    whole = sums(rows)
    parts = [sums(rows.take(half)) for half in torch.arange(24).split(12)]
    assert whole
    assert all(part.keys() == whole.keys() for part in parts)
    return all(abs(total - sum(part[name] for part in parts)) < 1e-3 for name, total in whole.items())


@only("objectives")
def test_an_objective_that_is_not_whole_sees_samples_one_by_one(case) -> None:
    part = case.part
    part.build(tiny.spec(targets=("class", "multi_label", "number")), None)
    if part.whole or part.local:
        pytest.skip("it says that it compares samples")
    assert halves_add_up(case.configured(), part.needs.singles)


def test_a_wrong_whole_is_found_out() -> None:
    class BatchNormed(Objective):
        def forward(self, state):
            fused = state.of().fused
            return {"it": Packed((fused.values - fused.values.mean(0)).square().sum(1), fused.rows)}

    assert not halves_add_up(BatchNormed(), None)


def test_a_loose_parameter_is_found_out() -> None:
    class Loose(Objective):
        def __init__(self) -> None:
            super().__init__()
            self.hoard = [nn.Parameter(torch.ones(()))]

        def forward(self, state):
            fused = state.of().fused
            return {"it": Packed(fused.values.sum(1) * self.hoard[0], fused.rows)}

    step = tiny.step(tiny.network("ab", ("class",)), {"it": Loose()})
    assert not leaves(tiny.loss(step, tiny.batch(8, "ab", ("class",)))) <= {id(p) for p in step.parameters()}


@only("teachers")
def test_teachers_are_not_trained(case) -> None:
    step = case.make().train()
    meter = Meter(step.network.names)
    out = step.run(tiny.batch(12, targets=case.targets), Pass(by="it"), Clock(), meter)
    total = sum(p.values.sum() for p in out.predictions.values())
    assert not total.requires_grad
    own, theirs = ({p.data_ptr() for p in n.parameters()} for n in (step.network, step.teachers["it"]))
    assert not own & theirs

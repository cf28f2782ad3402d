"""Weights, probes, balance and randomness of a single step."""

from dataclasses import replace

import foreign
import pytest
import tiny
import torch
from torch import nn
from torch.nn import functional as F

from plait.core.errors import RecipeError
from plait.core.meter import Meter
from plait.core.outputs import Pass
from plait.core.packed import Batch, Packed
from plait.core.part import Balance, Clock, Objective, Teacher, View


class Predictor(Objective):
    """A head with dropout of its own."""

    def build(self, spec, place) -> None:
        self.net = nn.Sequential(nn.Dropout(0.5), nn.Linear(spec.width, 1))

    def forward(self, state):
        fused = state.of().fused
        return {"it": Packed(F.dropout(self.net(fused.values), 0.5).square().sum(1), fused.rows)}


class Zero(Balance):
    def weigh(self, names, meter):
        return {name: 0.0 for name in names if name.startswith("predict/")}


class Asked(Balance):
    def __init__(self) -> None:
        super().__init__()
        self.times = 0

    def weigh(self, names, meter):
        self.times += 1
        return {}


def run(step, at: int = 0, **data):
    rows = tiny.batch(24, step.network.spec.names, step.network.spec.targets, **data)
    return step(rows, Clock(step=at), Meter(step.network.names))


def test_the_loss_is_the_weighted_sum_of_terms_over_their_counts() -> None:
    step = tiny.step(
        tiny.network(), {"supervised": "supervised", "pairs": "info_nce"}, weights={"supervised/*": 0.5, "*/class": 3}
    ).eval()
    loss, _, report = run(step)
    expected = sum(
        float(total) / count * (1.5 if name == "supervised/class" else 0.5 if name.startswith("supervised") else 1)
        for name, (total, count) in report.terms.items()
    )
    assert loss.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    "silence", [{"weights": {"predict/*": 0.0}}, {"weights": {"predict": 0}}, {"balance": {"it": Zero()}}]
)
def test_weight_zero_is_absence_bit_for_bit(silence) -> None:
    with_it = tiny.train(tiny.step(tiny.network(), {"s": "supervised", "predict": Predictor()}, **silence))
    without = tiny.train(tiny.step(tiny.network(), {"s": "supervised"}))
    assert tiny.equal(with_it.network.state_dict(), without.network.state_dict())


def test_without_an_active_term_nothing_is_to_be_done() -> None:
    loss, probe, report = run(tiny.step(tiny.network(), weights={"*": 0.0}))
    assert not report.active
    assert not report.probing
    assert not loss.requires_grad
    assert not probe.requires_grad


def test_terms_of_frozen_parameters_are_not_active() -> None:
    step = tiny.step(tiny.network()).requires_grad_(False)
    loss, _, report = run(step)
    assert float(loss) > 0
    assert not report.active


def test_no_label_no_loss() -> None:
    loss, _, report = run(tiny.step(tiny.network()), unlabelled=1.0)
    assert report.terms == {}
    assert not report.active
    assert float(loss) == 0


def test_probes_change_no_other_gradient() -> None:
    plain = tiny.step(tiny.network())
    probed = tiny.step(tiny.network(singles="probe"))
    for step in (plain, probed):
        step.train()
        loss, probe, report = run(step)
        (loss + probe).backward()
    assert report.probing
    own = {n: g for n, g in tiny.gradients(probed).items() if not n.startswith("network.singles")}
    assert tiny.equal(own, tiny.gradients(plain))
    assert any(n.startswith("network.singles") for n in tiny.gradients(probed))


def test_probes_measure_in_training_only() -> None:
    step, meter = tiny.step(tiny.network(singles="probe")), Meter(tuple("abcd"))
    rows = tiny.batch(24)
    step.eval()(rows, Clock(), meter)
    assert meter.ratios() == {}
    step.train()(rows, Clock(), meter)
    assert set(meter.ratios()) == set("abcd")


def test_the_meter_compares_on_common_rows() -> None:
    step, meter = tiny.step(tiny.network("ab", ("class",), singles="probe")).train(), Meter(("a", "b"))
    rows = tiny.batch(40, "ab", ("class",), missing=0.4, unlabelled=0.0)
    step(rows, Clock(), meter)
    singles = step.plain().singles["class"]
    truth = rows.targets["class"].values
    both = rows.present.all(1)
    mean = {
        name: singles[name].values.softmax(1)[both[singles[name].rows]].gather(1, truth[both].unsqueeze(1)).mean()
        for name in "ab"
    }
    assert meter.ratios()["a"] == pytest.approx((mean["a"] / mean["b"]).item(), rel=1e-5)


def test_history_adds_up_by_the_rows_own_ids() -> None:
    step = tiny.step(tiny.network("ab", ("class",), singles="probe"), balance={"slow": foreign.Slow()}).train()
    meter = Meter(("a", "b"), history=True)
    rows = replace(tiny.batch(10, "ab", ("class",), missing=0.0, unlabelled=0.0), ids=torch.arange(100, 110))
    for i in range(3):
        step(rows, Clock(step=i), meter)
    _, counts = meter.history("a", torch.tensor([100, 109, 5]))
    assert counts.tolist() == [3, 3, 0]


def test_hiding_keeps_one_modality_of_each_row() -> None:
    class All(Balance):
        at = "tokens"

        def hide(self, present, meter, g):
            return torch.ones_like(present)

    step = tiny.step(tiny.network(), balance={"all": All()}, views={}).train()
    rows = tiny.batch(200, missing=0.3)
    kept = torch.zeros(200, dtype=torch.long)
    out = step.run(rows, Pass(), Clock(), Meter(tuple("abcd")))
    for part in out.seen.values():
        kept[part.rows] += 1
    assert kept.tolist() == [1] * 200
    assert set(out.seen) == set("abcd")  # chosen at random, not the first


@pytest.mark.parametrize("at", ["cells", "tokens"])
def test_hiding_nothing_is_the_same_bits_as_nobody_who_hides(at: str) -> None:
    class Idle(Balance):
        def hide(self, present, meter, g):
            return torch.zeros_like(present)

    Idle.at = at
    objectives, found = {"supervised": "supervised", "alone": "singles", "pairs": "info_nce"}, []
    for balance in ({}, {"idle": Idle()}):
        step = tiny.step(tiny.network(singles="trained"), objectives, balance=balance).train()
        run(step)[0].backward()
        found.append([p.grad for p in step.parameters() if p.grad is not None])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_tokens_are_hidden_by_name_whatever_columns_the_batch_has() -> None:
    class Second(Balance):
        at = "tokens"

        def hide(self, present, meter, g):
            return present & torch.tensor([False, True, False, False])

    step = tiny.step(tiny.network(), balance={"second": Second()}).train()
    rows = tiny.batch(20, "dba", missing=0.0)
    out = step.run(rows, Pass(), Clock(), Meter(tuple("abcd")))
    assert set(out.seen) == {"a", "d"}
    assert set(out.tokens) == {"a", "b", "d"}


def test_validation_does_not_ask_balance_for_weights() -> None:
    asked = Asked()
    step = tiny.step(tiny.network(), balance={"it": asked})
    run(step.eval())
    assert asked.times == 0
    run(step.train())
    assert asked.times == 1


def test_dropout_of_an_objectives_own_is_keyed_and_leaves_the_global_stream_alone() -> None:
    step = tiny.step(tiny.network(), {"predict": Predictor()}).train()
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first = run(step, at=3)[0]
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(7)
    assert torch.equal(run(step, at=3)[0], first)
    assert not torch.equal(run(step, at=4)[0], first)


def test_a_memory_keeps_its_last_rows() -> None:
    queue = foreign.Queue()
    step = tiny.step(tiny.network(), {"queue": queue}).train()
    seen = []
    for i in range(3):
        run(step, at=i)
        step.after(i)
        seen.append(step.plain().joint().values.detach())
    assert torch.equal(step.memory["queue"]["rows"], torch.cat(seen)[-40:])
    assert not step.memory["queue"]["rows"].requires_grad


def test_the_last_graph_does_not_outlive_its_step() -> None:
    import weakref

    step = tiny.step(tiny.network(fusion="concatenation")).train()
    run(step)
    first = weakref.ref(step.plain())
    alive = []
    step.network.fusion.register_forward_pre_hook(lambda *_: alive.append(first() is not None))
    run(step, at=1)
    assert alive == [False]


def test_what_a_pass_needs_must_be_there() -> None:
    with pytest.raises(RecipeError, match="teacher 'slow'"):
        tiny.step(tiny.network(), {"imitate": foreign.Imitate()}, views={"noisy": [View()]})
    with pytest.raises(RecipeError, match="view 'noisy'"):
        tiny.step(tiny.network(), {"imitate": foreign.Imitate()}, teachers={"slow": tiny.part("teachers", "ema")})


def test_an_objective_and_a_balance_component_cannot_have_one_name() -> None:
    with pytest.raises(RecipeError, match=r"balance\.same: an objective has the same name"):
        tiny.step(tiny.network(), {"same": "supervised"}, balance={"same": foreign.Slow()})


def test_a_teacher_may_know_fewer_modalities_than_the_batch_has() -> None:
    known = tiny.network("ca", ("class",), seed=3, fusion="self_attention").eval()

    class Given(Teacher):
        def start(self, online):
            return known

    step = tiny.step(tiny.network("abc"), teachers={"it": Given()})
    rows = tiny.batch(20, "abc", missing=0.9)
    out = step.run(rows, Pass(by="it"), Clock(), Meter(("a", "b", "c")))
    alone = known(Batch(20, {n: rows.modalities[n] for n in "ca"}, rows.targets, rows.ids))
    assert torch.equal(out.predictions["class"].values, alone.predictions["class"].values)
    assert torch.equal(out._run.present, rows.present[:, [2, 0]])
    assert len(out.predictions["class"]) < 20

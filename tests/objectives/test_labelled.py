"""The objectives on labels: supervised and singles."""

import tiny
import torch

from plait.core.component import find
from plait.core.meter import Meter
from plait.core.packed import Fused, Packed, Tokens, together
from plait.core.part import Clock, Fusion, Needs

Supervised, Singles = find("objectives", "supervised"), find("objectives", "singles")
PLAIN = ("class", "multi_label", "number")


class TwoSteps(Fusion):
    """A fusion with an intermediate readout that only some samples have."""

    def forward(self, tokens: dict[str, Tokens], size: int, g: torch.Generator) -> Fused:
        first, last = tokens["a"].pooled(), tokens["c"].pooled()
        return Fused(last.values, last.rows, steps={"early": Packed(first.values, first.rows)})


def terms_of(objective, net, rows):
    step = tiny.step(net, {"it": objective}).eval()
    return objective(step.state("it", objective, rows, Clock(), Meter(net.names), {}, None))


def test_supervised_is_each_heads_loss_on_labelled_rows() -> None:
    net, rows = tiny.network(), tiny.batch(30, unlabelled=0.5)
    terms = terms_of(Supervised(), net, rows)
    out = net.eval()(rows)
    assert set(terms) == set(tiny.TARGETS)
    for name, term in terms.items():
        (params, truth), labelled = together(out.predictions[name], rows.targets[name])
        assert torch.equal(term.rows, labelled)
        assert torch.equal(term.values, net.heads[name].loss(params.values, truth.values))


def test_supervised_reads_intermediate_readouts_too() -> None:
    net, rows = tiny.network("ac", ("class",), fusion=TwoSteps()), tiny.batch(30, "ac", ("class",), missing=0.5)
    terms = terms_of(Supervised(), net, rows)
    assert set(terms) == {"class", "class/early"}
    (labels, _), common = together(rows.targets["class"], rows.modalities["a"])
    assert torch.equal(terms["class/early"].rows, common)
    logits = net.heads["class"].decide(net.eval()(rows).fused.steps["early"].on(common).values)
    assert torch.allclose(terms["class/early"].values, net.heads["class"].loss(logits, labels.values), atol=1e-6)


def test_singles_judges_every_modality_by_its_own_head_on_its_own_rows() -> None:
    net, rows = tiny.network("abc", PLAIN, singles="trained"), tiny.batch(40, "abc", PLAIN, missing=0.5)
    terms = terms_of(Singles(), net, rows)
    assert set(terms) == {f"{t}/{m}" for t in PLAIN for m in "abc"}
    (_, labels), both = together(rows.modalities["c"], rows.targets["class"])
    assert torch.equal(terms["class/c"].rows, both)
    alone = net.eval()(rows).only("c").tokens["c"].on(both).pooled().values
    head = net.singles["class"]["c"]
    assert torch.allclose(terms["class/c"].values, head.loss(head.decide(alone), labels.values), atol=1e-6)
    assert Singles.needs == Needs(singles="trained")


def test_terms_are_named_alike_whatever_the_batch_holds() -> None:
    net = tiny.network("abc", PLAIN, singles="trained")
    full, poor = tiny.batch(10, "abc", PLAIN), tiny.batch(10, "a", ("number",))
    for cls in (Supervised, Singles):
        first, second = terms_of(cls(), net, full), terms_of(cls(), net, poor)
        assert list(first) == list(second)
        assert sum(len(term) for name, term in second.items() if "class" in name) == 0


def test_compares_samples_only_where_survival_times_are_ranked() -> None:
    for cls in (Supervised, Singles):
        plain, ranked = cls(), cls()
        plain.build(tiny.spec(targets=PLAIN), None)
        ranked.build(tiny.spec(targets=("class", "survival")), None)
        assert not plain.whole
        assert ranked.whole

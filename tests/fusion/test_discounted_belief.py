"""Discounting by conflict: what subjective logic asks of it, and a computation pair by pair."""

import itertools

import pytest
import tiny
import torch

from plait.core.packed import Prediction
from plait.core.part import Clock
from plait.fusion.discounted_belief import DiscountedBelief, conflict, discount, discounted, opinion
from plait.fusion.late_average import LateAverage

ROWS = {"a": [0, 2, 3, 4], "b": [2, 4, 5], "c": [0, 2, 4]}


def built(**arguments) -> DiscountedBelief:
    fusion = DiscountedBelief(**arguments)
    fusion.build(tiny.spec("abc", ("class",)), None)
    return fusion


def decisions(rows=ROWS):
    g = torch.Generator().manual_seed(1)
    return {n: Prediction(20 * torch.rand(len(r), 4, generator=g) ** 4, torch.tensor(r)) for n, r in rows.items()}


def one(*evidence: list[float]):
    return {n: Prediction(torch.tensor([e]), torch.tensor([0])) for n, e in zip("abc", evidence, strict=False)}


@pytest.mark.parametrize("power", [0.5, 1.0, 3.0])
def test_it_agrees_with_a_computation_pair_by_pair(power: float) -> None:
    said = decisions()
    fused = built(power=power)(said, {}, 7)
    assert fused.rows.tolist() == [0, 2, 3, 4, 5]
    for place, row in enumerate(fused.rows.tolist()):
        e = {n: said[n].values[ROWS[n].index(row)].tolist() for n in "abc" if row in ROWS[n]}
        size = {n: sum(e[n]) + 4 for n in e}
        parts = []
        for n in e:
            d = 1.0
            for j in e:
                apart = sum(abs((x + 1) / size[n] - (y + 1) / size[j]) for x, y in zip(e[n], e[j], strict=True)) / 2
                c = apart * (1 - 4 / size[n]) * (1 - 4 / size[j])
                d *= (1 - c**power) ** (1 / power)
            unsure = d * 4 / size[n] + 1 - d
            parts.append([4 * d * x / size[n] / unsure for x in e[n]])
            assert abs(fused.notes["discount"][place, "abc".index(n)].item() - d) < 1e-4
        mean = torch.tensor(parts).mean(0)
        assert torch.allclose(fused.values[place], mean, atol=1e-3)
        assert abs(fused.notes["uncertainty"][place].item() - 4 / (mean.sum().item() + 4)) < 1e-4
        assert all(fused.notes["discount"][place, "abc".index(n)] == 0 for n in "abc" if n not in e)


def test_the_order_of_modalities_does_not_matter() -> None:
    said = decisions()
    first = built()(said, {}, 7)
    for order in itertools.permutations("abc"):
        again = built()({n: said[n] for n in order}, {}, 7)
        assert torch.allclose(again.values, first.values, atol=1e-5)
        assert torch.allclose(again.notes["discount"], first.notes["discount"], atol=1e-6)


def test_what_remains_is_the_evidence_of_the_discounted_opinion() -> None:
    evidence = torch.stack([part.values[:3] for part in decisions().values()], 1)
    d = discount(conflict(evidence), 2.0)
    assert (d < 0.9).any()
    before, unsure_before, _ = opinion(evidence)
    belief, unsure, _ = opinion(discounted(evidence, d))
    assert torch.allclose(belief, d.unsqueeze(2) * before, atol=1e-6)
    assert torch.allclose(unsure, d.unsqueeze(2) * unsure_before + 1 - d.unsqueeze(2), atol=1e-6)


def test_a_power_without_end_is_the_mean_of_the_evidence_bit_for_bit() -> None:
    said = decisions()
    assert torch.equal(built(power=1e9)(said, {}, 7).values, LateAverage()(said, {}, 7).values)


def test_equal_opinions_and_ignorance_change_nothing() -> None:
    mind = [7.0, 1.0, 0.0]
    assert built()(one(mind, mind, mind), {}, 1).values[0].tolist() == pytest.approx(mind, rel=1e-5)
    beside = built()(one(mind, [0.0, 0.0, 0.0]), {}, 1)
    assert beside.values[0].tolist() == pytest.approx([3.5, 0.5, 0], rel=1e-5)


def test_two_certain_opposite_opinions_leave_almost_only_uncertainty() -> None:
    said = one([1e6, 0.0, 0.0], [0.0, 1e6, 0.0])
    assert built()(said, {}, 1).notes["uncertainty"].item() > 0.99
    # The mean of the evidence would be as sure as either: what a power without end gives.
    assert built(power=500.0)(one([50.0, 0, 0], [0, 50.0, 0]), {}, 1).values[0].tolist() == pytest.approx(
        [25, 25, 0], rel=1e-2
    )


def test_the_dissenter_and_those_it_contradicts_are_discounted_and_it_most() -> None:
    found = built()(one([30.0, 0, 0], [30.0, 0, 0], [0, 30.0, 0]), {}, 1).notes["discount"][0].tolist()
    assert found[0] == pytest.approx(found[1])
    assert found[2] == pytest.approx(found[0] ** 2)


def test_gradients_are_finite_where_opinions_are_equal_or_opposite() -> None:
    for power in (0.5, 1.0, 4.0):
        for other in ([9.0, 0, 0], [0, 9e8, 0]):
            evidence = torch.tensor([[[9e8 if other[1] else 9.0, 0, 0], other]], requires_grad=True)
            discount(conflict(evidence), power).sum().backward()
            assert torch.isfinite(evidence.grad).all()


def step_of(fusion):
    net = tiny.network("abc", ("class",), fusion=fusion, heads={"class": "evidential"})
    return net, tiny.step(net).train()


def test_the_consistency_term_is_the_conflict_of_samples_that_have_company() -> None:
    rows = tiny.batch(20, "abc", ("class",), missing=0.5)
    net, step = step_of(DiscountedBelief(consistency=0.5))
    _, _, report = step(rows, Clock(), tiny.meter(step))
    singles, expected, count = net(rows).singles["class"], 0.0, 0
    for row in range(20):
        found = [part.at(torch.tensor([row])).values[0] for part in singles.values() if row in part.rows.tolist()]
        if len(found) < 2:
            continue
        count += 1
        for first, second in itertools.permutations(found, 2):
            p, q = ((e + 1) / (e.sum() + 3) for e in (first, second))
            sure = (1 - 3 / (first.sum() + 3)) * (1 - 3 / (second.sum() + 3))
            expected += 0.5 * ((p - q).abs().sum() / 2 * sure).item() / (len(found) - 1)
    total, rated = report.terms["fusion/class"]
    assert rated == count
    assert total.item() == pytest.approx(expected, rel=1e-4)
    assert "fusion/class" not in step_of(DiscountedBelief(consistency=0.0))[1](rows, Clock(), tiny.meter(step))[2].terms

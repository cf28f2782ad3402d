"""Cells of every modality as training points of one linear classifier."""

import copy

import loops
import pytest
import tiny
import torch
from torch.nn import functional as F

from plait.core.component import find
from plait.core.errors import RecipeError
from plait.core.packed import Batch, Packed
from plait.core.part import Place
from plait.heads.shared_linear_probe import probe

Probe = find("heads", "shared_linear_probe")


def made(names: str = "abcd", **arguments):
    """A network with the head; its embeddings are as the identity of tokens would make them."""
    return tiny.network(names, ("class",), heads={"class": Probe(**arguments)})


def points(net, rows: Batch) -> Packed:
    return net.heads["class"].terms(net(rows), torch.Generator())["points"]


def slow(net, rows: Batch, weights: dict[str, float]) -> dict[int, float]:
    """{sample: summed loss of its points}, one point at a time."""
    head, out = net.heads["class"], net(rows)
    labels = dict(zip(rows.targets["class"].rows.tolist(), rows.targets["class"].values.tolist(), strict=True))
    found: dict[int, float] = {}
    for name, factor in weights.items():
        for row, z in zip(out.embedding(name).rows.tolist(), out.embedding(name).values, strict=True):
            if row in labels:
                logits = head.linear.weight @ (head.scale * z / z.norm()) + head.linear.bias
                found[row] = found.get(row, 0.0) + factor * float(-logits.log_softmax(0)[labels[row]].detach())
    return found


@pytest.mark.parametrize("weights", [{}, {"b": 0.5}, {"a": 0.0, "c": 2.0}])
def test_every_labelled_cell_is_a_point(weights: dict[str, float]) -> None:
    net, rows = made(weights=weights, scale=7.0), tiny.batch(20, targets=("class",))
    found = points(net, rows)
    factors = {name: weights.get(name, 1.0) for name in "abcd" if weights.get(name, 1.0)}
    expected = slow(net, rows, factors)
    assert found.rows.tolist() == sorted(expected)
    assert found.values.tolist() == pytest.approx([expected[row] for row in sorted(expected)], abs=1e-5)


def test_others_are_all_that_are_neither_named_nor_predicted_from() -> None:
    net, rows = made(modality="a", others=0.25, weights={"b": 2.0}), tiny.batch(20, targets=("class",))
    expected = slow(net, rows, {"a": 1.0, "b": 2.0, "c": 0.25, "d": 0.25})
    assert points(net, rows).values.tolist() == pytest.approx([expected[row] for row in sorted(expected)], abs=1e-5)
    alone = points(made(modality="a", others=0.0), rows)
    assert alone.rows.tolist() == sorted(slow(net, rows, {"a": 1.0}))


def test_of_one_modality_it_is_the_ordinary_probe() -> None:
    net, rows = made("a"), tiny.batch(20, "a", ("class",), missing=0.0, unlabelled=0.0)
    head = net.heads["class"]
    units = F.normalize(net(rows).embedding("a").values, dim=1)
    ordinary = F.cross_entropy(10 * units @ head.linear.weight.T + head.linear.bias, rows.targets["class"].values)
    assert torch.allclose(points(net, rows).values.mean(), ordinary, atol=1e-6)


def fitted(z: torch.Tensor, y: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The classifier that a weighted, ridge-regularised probe ends at; the problem is convex."""
    w, b = torch.zeros(3, z.shape[1], dtype=torch.double, requires_grad=True), torch.zeros(3, dtype=torch.double)
    optimizer = torch.optim.LBFGS([w], max_iter=100, line_search_fn="strong_wolfe", tolerance_grad=1e-10)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = (weight * F.cross_entropy(probe(z, w, b, 3.0), y, reduction="none")).sum() + 0.1 * w.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return w.detach()


def test_the_solution_knows_no_order_and_copies_are_weights() -> None:
    g = torch.Generator().manual_seed(0)
    z, y = torch.randn(12, 4, generator=g).double(), torch.randint(3, (12,), generator=g)
    times = torch.randint(1, 4, (12,), generator=g)
    order = torch.randperm(12, generator=g)
    weighted = fitted(z, y, times.double())
    assert torch.allclose(weighted, fitted(z[order], y[order], times[order].double()), atol=1e-5)
    copies = fitted(z.repeat_interleave(times, 0), y.repeat_interleave(times), torch.ones(int(times.sum())).double())
    assert torch.allclose(weighted, copies, atol=1e-5)
    assert not torch.allclose(weighted, fitted(z, y, torch.ones(12).double()), atol=1e-2)
    assert torch.allclose(weighted, fitted(5 * z, y, times.double()), atol=1e-5)  # length says nothing


def test_the_tag_of_a_point_says_nothing() -> None:
    """The same cells under the other's name: the sum over a sample's points is what it was."""
    net, rows = made("ac"), tiny.batch(20, "ac", ("class",))
    out = net(rows)
    swapped = copy.copy(out)
    swapped.embedding = lambda name: out.embedding({"a": "c", "c": "a"}[name])
    first, second = (net.heads["class"].terms(o, torch.Generator())["points"] for o in (out, swapped))
    assert torch.allclose(first.values, second.values, atol=1e-6)


def test_another_modality_helps_in_a_common_space_and_not_in_one_of_its_own() -> None:
    """One noisy shot of a class and its name; the name is turned away by a random rotation in the end."""
    found = {"alone": 0.0, "together": 0.0, "elsewhere": 0.0}
    truth = torch.arange(3)
    for seed in range(8):
        g = torch.Generator().manual_seed(seed)
        centres = torch.randn(3, 8, generator=g)
        shots, names = (centres + std * torch.randn(3, 8, generator=g) for std in (1.5, 0.5))
        turned = names @ torch.linalg.qr(torch.randn(8, 8, generator=g)).Q
        test = centres.repeat(30, 1) + 0.7 * torch.randn(90, 8, generator=g)
        sets = {"alone": [shots], "together": [shots, names], "elsewhere": [shots, turned]}
        for name, parts in sets.items():
            z = torch.cat(parts).double()
            w = fitted(z, truth.repeat(len(parts)), torch.ones(len(z)).double())
            right = probe(test.double(), w, w.new_zeros(3), 3.0).argmax(1) == truth.repeat(30)
            found[name] += float(right.double().mean()) / 8
    assert found["together"] > found["alone"] + 0.1
    assert found["elsewhere"] < found["alone"] + 0.02


def test_factor_zero_leaves_a_modality_out_bit_for_bit() -> None:
    """Its cells may be anything, and its encoder gets no gradient."""
    found = []
    for shift in (0.0, 5.0):
        net, rows = made("ac", weights={"c": 0.0}, modality="a"), tiny.batch(20, "ac", ("class",))
        rows.modalities["c"].values.add_(shift)
        points(net, rows).values.mean().backward()
        found.append(tiny.gradients(net))
    assert tiny.equal(*found)
    assert any(name.startswith("encoders.a") for name in found[0])
    assert not any(name.startswith("encoders.c") for name in found[0])


def test_a_sample_is_predicted_from_one_modality_or_from_the_mean_direction() -> None:
    rows = tiny.batch(20, targets=("class",))
    net = made().eval()
    (all_of, only) = net(rows).predictions["class"], made(modality="b").eval()(rows).predictions["class"]
    assert len(all_of) == 20
    assert only.rows.tolist() == rows.modalities["b"].rows.tolist()
    direction = net(rows).joint().values
    head = net.heads["class"]
    assert torch.allclose(all_of.values, 10 * direction @ head.linear.weight.T + head.linear.bias, atol=1e-5)


def test_no_label_is_no_point() -> None:
    net = made()
    rows = tiny.batch(12, targets=("class",), unlabelled=1.0)
    assert len(points(net, rows)) == 0
    assert len(points(net, Batch(rows.size, rows.modalities, {}, rows.ids))) == 0


def test_what_it_cannot_do_it_says() -> None:
    for wrong in ({"modality": "e"}, {"weights": {"e": 1.0}}):
        with pytest.raises(RecipeError, match=r"^heads\.class: there is no modality 'e'"):
            made(**wrong)
    net = tiny.network("ab", ("class",), heads={"class": Probe()}, singles="probe")
    with pytest.raises(RecipeError, match=r"^heads\.class: it reads embeddings of 8 values"):
        net.alone(net(tiny.batch(8, "ab", ("class",))).tokens)


def test_in_a_whole_training_the_points_are_all_there_is() -> None:
    over = {"heads": {"y": {"shared_linear_probe": {}}}, "objectives": {}, "fusion": "mean"}
    spec = copy.copy(loops.SPEC)
    object.__setattr__(spec, "targets", {"y": loops.TARGETS["y"]})
    found = loops.run(spec=spec, **over)
    assert set(found.history[-1]["train"]) == {"heads.y/points"}
    assert found.history[-1]["train"]["heads.y/points"] < found.history[0]["train"]["heads.y/points"]
    Probe().build(found.network.spec, Place("heads", "y"))

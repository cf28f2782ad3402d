import copy

import pytest
import tiny
import torch
from torch import nn

from plait.core.assemble import assemble, encoder_for, head_for
from plait.core.errors import RecipeError, RunError
from plait.core.network import Network
from plait.core.part import Adapter, Modality, Place, Spec, Target
from plait.core.recipe import Recipe


def test_a_part_left_out_changes_no_others_initial_weights() -> None:
    few, many = (
        tiny.network("ac", ("class",)).state_dict(),
        tiny.network(fusion="self_attention", singles="trained").state_dict(),
    )
    shared = set(few) & set(many)
    assert {"encoders.a.linear.weight", "heads.class.linear.weight", "projection.maps.c.weight"} <= shared
    assert all(torch.equal(few[name], many[name]) for name in shared)


def test_another_seed_gives_other_weights() -> None:
    first, second = tiny.network(seed=0).state_dict(), tiny.network(seed=1).state_dict()
    assert not any(torch.equal(first[name], second[name]) for name in first if first[name].dim() > 1)


def test_building_does_not_touch_the_global_stream() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    tiny.network()
    assert torch.equal(torch.rand(3), expected)


def test_without_a_target_there_is_nothing_to_decide() -> None:
    with pytest.raises(RecipeError, match=r"LateAverage combines what modalities decide about a target.*--target"):
        tiny.network("ab", (), fusion="late_average")


def test_awkward_column_names() -> None:
    names = ["type", "a.b", "", "forward", "keys"]
    spec = Spec(16, 8, {n: Modality("vector", (5,)) for n in names}, {"values": Target("class", ("x", "y", "z"))})
    parts = {"fusion": "self_attention", "projection": "mlp"}
    net = Network(
        {n: tiny.Flat() for n in names},
        tiny.part("fusion", parts["fusion"]),
        {"values": tiny.part("heads", "class")},
        projection=tiny.part("projection", parts["projection"]),
        missing={"learned_tokens": tiny.part("missing", "learned_tokens")},
        singles="trained",
    ).build(spec)
    rows = tiny.batch(12, "a", ("class",), missing=0.0)
    rows = type(rows)(12, dict.fromkeys(names, rows.modalities["a"]), {"values": rows.targets["class"]}, rows.ids)
    step = tiny.step(net, {"supervised": "supervised", "pairs": "info_nce"})
    tiny.loss(step, rows).backward()
    assert all(p.grad is not None for n, p in step.named_parameters() if "missing" not in n and "singles" not in n)
    other = copy.deepcopy(net)
    other.load_tensors(net.state_dict())


def test_heads_go_by_the_targets_name_and_else_by_its_kind() -> None:
    heads = {"class": {"evidential": {}}, "own": {"class": {}}}
    recipe = Recipe.parse({"heads": heads, "encoders": {"vector": {"vector": {}}}})
    classes = Target("class", ("x", "y"))
    spec = Spec(16, 8, {"a": Modality("vector", (5,))}, {"own": classes, "other": classes, "n": Target("number")})
    net = assemble(recipe, spec, {"a": encoder_for(recipe, "a", "vector")}, 0)
    assert {name: type(head).__name__ for name, head in net.heads.items()} == {
        "own": "Class",
        "other": "Evidential",
        "n": "Number",
    }
    wrong = Recipe.parse({"heads": {"class": {"number": {}}}})
    with pytest.raises(RecipeError, match=r"heads\.class\.number: it predicts number, but 'own' is class"):
        head_for(wrong, "own", classes)


def test_an_encoder_of_another_kind_is_refused() -> None:
    recipe = Recipe.parse({"encoders": {"m": {"vector": {}}}})
    with pytest.raises(RecipeError, match=r"^encoders.m.vector: it takes vector, but 'm' is image"):
        encoder_for(recipe, "m", "image")


def test_probes_do_not_reach_the_encoders_and_trained_singles_do() -> None:
    for mode, reaches in (("probe", False), ("trained", True)):
        net = tiny.network("ab", ("class",), singles=mode)
        out = net(tiny.batch(10, "ab", ("class",)))
        out.singles["class"]["a"].values.sum().backward()
        assert (net.encoders["a"].linear.weight.grad is not None) == reaches
        assert net.singles["class"]["a"].linear.weight.grad is not None
        assert net.singles["class"]["b"].linear.weight.grad is None


def test_loading_says_what_does_not_fit() -> None:
    net = tiny.network("ab", ("class",))
    good = net.state_dict()
    with pytest.raises(RunError, match="which this recipe has not"):
        net.load_tensors({**good, "encoders.a.linear.weigth": torch.zeros(1)})
    with pytest.raises(RunError, match=r"lack 'encoders\.a\.linear\.bias'"):
        net.load_tensors({name: t for name, t in good.items() if name != "encoders.a.linear.bias"})
    with pytest.raises(RunError, match=r"as \[3\], this recipe needs \[16\]"):
        net.load_tensors({**good, "encoders.a.linear.bias": torch.zeros(3)})


def test_branches_are_each_modalitys_own() -> None:
    net = tiny.network("ab", ("class",))
    (net(tiny.batch(10, "ab", ("class",), missing=0.0)).predictions["class"].values.sum()).backward()
    branches = net.branches()
    before = branches["a"].gradient()
    branches["a"].scale(0.5)
    branches["b"].change(torch.zeros_like)
    assert torch.allclose(branches["a"].gradient(), before / 2)
    assert (branches["b"].gradient() == 0).all()
    shared = tiny.Flat()
    both = {"a": shared, "c": shared}
    spec = Spec(16, 8, {"a": Modality("vector", (5,)), "c": Modality("vector", (5,))}, {})
    with pytest.raises(RecipeError, match=r"^encoders.c shares parameters with encoders.a"):
        Network(both, tiny.part("fusion", "mean"), {}).build(spec).branches()


class LowRank(Adapter):
    """y = W x + B A x, B from zero on."""

    class Wrapped(nn.Module):
        def __init__(self, linear: nn.Linear) -> None:
            super().__init__()
            self.linear, self.down = linear, nn.Linear(linear.in_features, 2, bias=False)
            self.up = nn.Parameter(torch.zeros(linear.out_features, 2))

        def forward(self, x):
            return self.linear(x) + self.down(x) @ self.up.T

    def wrap(self, path, linear):
        return self.Wrapped(linear)


class Shift(Adapter):
    def build(self, spec, place: Place) -> None:
        self.shift = nn.Parameter(torch.zeros(spec.width))
        self.sites = []

    def forward(self, tokens, site, present):
        self.sites.append(site)
        return tokens.with_(values=tokens.values + self.shift)


def test_adapters_stand_at_their_seams_and_begin_as_the_identity() -> None:
    rows = tiny.batch(10, "ab", ("class",))
    plain = tiny.network("ab", ("class",), fusion="self_attention").eval()(rows).predictions["class"].values
    for adapter in (LowRank(), Shift()):
        net = tiny.network("ab", ("class",), fusion="self_attention", adapters={"it": adapter}).eval()
        assert torch.equal(net(rows).predictions["class"].values, plain)
        net.build(net.spec)
        assert torch.equal(net(rows).predictions["class"].values, plain)
    assert set(adapter.sites) == {"encoders.a", "encoders.b", "fusion.a", "fusion.b"}


def test_an_adapter_that_finds_nothing_to_wrap_says_so() -> None:
    class Nowhere(LowRank):
        def wrap(self, path, linear):
            return linear

    with pytest.raises(RecipeError, match=r"^adapters.it: it found no layer to wrap"):
        tiny.network("ab", adapters={"it": Nowhere()})


def test_prepare_reads_the_training_rows_once_for_each_part() -> None:
    net = tiny.network("ab", ("number",), singles="trained")
    net.prepare(tiny.Rows(net, tiny.batch(50, "ab", ("number",))))
    means = {float(head.mean) for head in (net.heads["number"], *net.singles["number"].values())}
    assert len(means) == 1
    assert means.pop() == pytest.approx(100, abs=15)


def test_with_decisions_fused_late_the_targets_own_heads_do_not_learn() -> None:
    net = tiny.network("ab", ("class", "number"), fusion="late_average")
    assert all(not p.requires_grad and p.learns is False for p in net.heads.parameters())
    assert all(p.requires_grad for p in net.singles.parameters())
    net = tiny.network("ab", ("class",))
    assert all(p.requires_grad for p in net.heads.parameters())


def test_a_late_fusion_refuses_parameters_that_it_cannot_combine() -> None:
    with pytest.raises(RecipeError, match=r"^fusion: UncertaintyWeightedLate combines logits, .* 'number' gives mean"):
        tiny.network("ab", ("class", "number"), fusion="uncertainty_weighted_late")


def test_a_late_fusion_without_any_decision_decides_for_nobody() -> None:
    net = tiny.network("ab", ("class", "multi_label"), fusion="late_average").eval()
    found = net(tiny.batch(4, "", ("class", "multi_label"))).predictions
    assert {name: tuple(part.values.shape) for name, part in found.items()} == {"class": (0, 3), "multi_label": (0, 2)}

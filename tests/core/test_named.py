import copy

import pytest
import torch
from torch import nn

from plait.core.named import Named, NamedParameters

AWKWARD = ["type", "items", "a.b", "", "forward", "100%", "a%2Eb", "%", "training", "Größe", "image", "values%"]


def test_any_name_is_a_key() -> None:
    modules = Named()
    for i, name in enumerate(AWKWARD):
        modules[name] = nn.Linear(1, i + 1)
    assert list(modules) == list(modules.keys()) == AWKWARD
    for i, (name, module) in enumerate(modules.items()):
        assert modules[name] is module
        assert module.out_features == i + 1
        assert name in modules
    assert "other" not in modules
    assert len(modules.state_dict()) == 2 * len(AWKWARD)
    for path, _ in modules.named_parameters():
        assert isinstance(modules.get_submodule(path.rpartition(".")[0]), nn.Linear)


def test_plain_names_stay_plain_in_paths() -> None:
    assert [name for name, _ in Named({"image": nn.Linear(1, 1)}).named_parameters()] == ["image.weight", "image.bias"]


def test_copies_and_deletions() -> None:
    modules = copy.deepcopy(Named({"type": nn.Linear(1, 1), "x": nn.Linear(1, 1)}))
    del modules["type"]
    assert list(modules) == ["x"]
    with pytest.raises(KeyError):
        modules["type"]


def test_parameters_by_any_name() -> None:
    held = NamedParameters()
    for i, name in enumerate(AWKWARD):
        held[name] = nn.Parameter(torch.full((1,), float(i)))
    assert list(held) == AWKWARD
    assert [float(held[name].detach()) for name in held] == list(range(len(AWKWARD)))
    assert "type" in held
    assert "other" not in held
    assert len(list(held.parameters())) == len(AWKWARD)

"""Other networks that objectives may ask: ema and saved."""

import copy
import dataclasses
import shutil
from pathlib import Path

import loops
import pytest
import tiny
import torch
import yaml

from plait.core.component import find
from plait.core.errors import RunError
from plait.training import checkpoint
from plait.training.runs import read_config

Ema, Saved = find("teachers", "ema"), find("teachers", "saved")


def moved(net):
    other = copy.deepcopy(net)
    with torch.no_grad():
        for p in other.parameters():
            p.add_(1.0)
    return other


def test_ema_moves_by_one_minus_momentum() -> None:
    net = tiny.network("ab")
    rule = Ema(momentum=0.75)
    teacher = rule.start(net)
    before = copy.deepcopy(teacher.state_dict())
    rule.update(teacher, moved(net), 0)
    for name, p in teacher.named_parameters():
        assert torch.allclose(p, before[name] + 0.25, atol=1e-6)


def test_ema_limits() -> None:
    net = tiny.network("ab")
    for momentum, expected in ((1.0, net), (0.0, moved(net))):
        rule = Ema(momentum=momentum)
        teacher = rule.start(net)
        rule.update(teacher, moved(net), 0)
        assert all(torch.allclose(p, q) for p, q in zip(teacher.parameters(), expected.parameters(), strict=True))


def test_ema_takes_statistics_that_came_later() -> None:
    net, rule = tiny.network("ab"), Ema()
    teacher = rule.start(net)
    net.prepare(tiny.Rows(net, tiny.batch(30, "ab")))
    rule.update(teacher, net, 0)
    assert torch.equal(teacher.heads["number"].mean, net.heads["number"].mean)
    net.heads["number"].mean.zero_()
    assert teacher.heads["number"].mean != 0


RUN = {"a": loops.MODALITIES["a"], "b": loops.MODALITIES["b"]}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of another recipe, and of two of the three modalities."""
    folder = tmp_path_factory.mktemp("run")
    recipe = loops.recipe(width=12, fusion={"mean": {}}, encoders={"vector": {"vector": {"tokens": 2}}})
    spec = dataclasses.replace(loops.SPEC, width=12, modalities=RUN)
    tiny.keep(folder, loops.run(recipe, loops.rows().only(RUN), spec=spec).network, recipe)
    return folder


def online(**over):
    return loops.run(training={"epochs": 0}, **over).network


def test_saved_says_what_the_run_said(run) -> None:
    network = online()
    teacher = Saved(run=str(run)).start(network).eval()
    assert tiny.equal(teacher.state_dict(), checkpoint.weights(run))
    rows = loops.rows(10)
    said = teacher(rows.batch(torch.arange(10))).predictions["y"]
    alone = teacher(rows.only(RUN).batch(torch.arange(10))).predictions["y"]
    assert torch.equal(said.values, alone.values)
    assert set(network.names) == set("abc")


def test_saved_teaches_and_stays_as_it_is(run) -> None:
    over = {
        "objectives": {"supervised": {}, "imitate": {"use": "foreign:Agree", "target": "y", "weight": 0.5}},
        "teachers": {"slow": {"use": "saved", "run": str(run)}},
    }
    before = checkpoint.weights(run)
    first = loops.run(**over)
    assert first.history[-1]["train"]["imitate/y"] > 0
    assert not tiny.equal(loops.weights(first), loops.weights(loops.run()))
    assert tiny.equal(before, checkpoint.weights(run))
    over["objectives"]["imitate"]["weight"] = 0.0
    assert tiny.equal(loops.weights(loops.run(**over)), loops.weights(loops.run()))


def changed(run, tmp_path, change) -> str:
    """A copy of the run whose configuration says otherwise."""
    shutil.copytree(run, tmp_path / "other")
    config = read_config(run)
    change(config)
    (tmp_path / "other" / "config.yaml").write_text(yaml.safe_dump(config))
    return str(tmp_path / "other")


def reverse(config) -> None:
    config["spec"]["targets"]["y"]["classes"].reverse()


def rename(config) -> None:
    config["spec"]["modalities"]["a"]["details"] = {"columns": [{"name": "else", "categories": None}]}


def test_saved_refuses_other_classes_and_other_cells(run, tmp_path) -> None:
    with pytest.raises(RunError, match=r"Its target 'y' is class \(r, q, p\), here it is class \(p, q, r\)"):
        Saved(run=changed(run, tmp_path / "classes", reverse)).start(online())
    with pytest.raises(RunError, match="encoder of 'a' reads cells that are decoded or precomputed otherwise"):
        Saved(run=changed(run, tmp_path / "cells", rename)).start(online())


def test_saved_refuses_an_encoder_that_wants_or_precomputes_otherwise(run, monkeypatch) -> None:
    network = online()
    for name, other in (("wants", {"size": 3}), ("fingerprint", "other")):
        with monkeypatch.context() as patch:
            patch.setattr(network.encoders["a"], name, lambda other=other: other)
            with pytest.raises(RunError, match="encoder of 'a' reads cells"):
                Saved(run=str(run)).start(network)


def test_saved_refuses_a_run_that_knows_nothing_here(run) -> None:
    spec = dataclasses.replace(loops.SPEC, modalities={"c": loops.MODALITIES["c"]})
    network = online(train=loops.rows().only("c"), spec=spec)
    with pytest.raises(RunError, match="It knows a, b, none of which is here: c"):
        Saved(run=str(run)).start(network)


def test_saved_refuses_what_is_no_finished_run(run, tmp_path) -> None:
    with pytest.raises(RunError, match=r"cannot teach this one.*has no config\.yaml"):
        Saved(run=str(tmp_path)).start(online())
    unfinished = changed(run, tmp_path / "unfinished", lambda config: config.pop("spec"))
    with pytest.raises(RunError, match="is not finished"):
        Saved(run=unfinished).start(online())
    damaged = changed(run, tmp_path / "damaged", lambda config: None)
    Path(damaged, "model.safetensors").write_bytes(b"nonsense")
    with pytest.raises(RunError, match="is damaged"):
        Saved(run=damaged).start(online())

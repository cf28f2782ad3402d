"""A run folder's own word on its network."""

import loops
import pytest
import tiny
import torch
import yaml

from plait.core.errors import RunError
from plait.training.runs import CONFIG, describe, load_network, read_config


def test_what_is_described_is_assembled_again(tmp_path) -> None:
    recipe = loops.recipe(**loops.RICH)
    trained = loops.run(recipe)
    tiny.keep(tmp_path, trained.network, recipe)
    network, said = load_network(tmp_path)
    assert said == recipe
    assert network.spec == trained.network.spec
    assert not network.training
    rows = loops.rows(12, seed=1).batch(torch.arange(12))
    for target, prediction in trained.network.eval()(rows).predictions.items():
        assert torch.equal(network(rows).predictions[target].values, prediction.values)


def test_a_description_is_plain_data(tmp_path) -> None:
    said = describe(loops.SPEC)
    assert yaml.safe_load(yaml.safe_dump(said)) == said


def test_what_is_no_run_is_said(tmp_path) -> None:
    with pytest.raises(RunError, match=f"has no {CONFIG}"):
        read_config(tmp_path)
    for text, message in (
        ("a: [", "not valid YAML"),
        ("- a", "is no configuration of a run"),
        ("recipe: {}", "not finished"),
    ):
        (tmp_path / CONFIG).write_text(text)
        with pytest.raises(RunError, match=message):
            load_network(tmp_path)

import importlib.util

import pytest
import yaml
from made import columns

from plait.core.errors import RecipeError
from plait.core.recipe import Recipe
from plait.data.read import read
from plait.workflow import defaults
from plait.workflow.defaults import default_recipe, names, resolve


def schema(target="label", **more):
    return read({**columns(30), **more}, target=target).schema


def test_the_default_fits_the_schema():
    data = default_recipe(schema())
    assert set(data["encoders"]) == {"sensor", "caption", "tabular"}
    assert {"supervised", "singles", "info_nce"} == set(data["objectives"])
    assert Recipe.parse(data)


def test_without_a_target_nothing_is_supervised():
    found = columns(30)
    del found["label"]
    assert set(default_recipe(read(found).schema)["objectives"]) == {"info_nce"}


def test_one_modality_has_nothing_to_align_with():
    one = read({"size": [float(i) for i in range(30)], "label": columns(30)["label"]}, target="label").schema
    assert "info_nce" not in default_recipe(one)["objectives"]


@pytest.mark.parametrize("installed", [True, False])
def test_pretrained_text_is_taken_where_its_package_is(monkeypatch, installed):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if installed else None)
    encoder = default_recipe(schema())["encoders"]["caption"]
    assert next(iter(encoder)) == ("frozen" if installed else "hashed_text")
    assert encoder.get("frozen", {}).get("model") == ("minilm-l6" if installed else None)


def test_an_encoder_by_kind_stands_for_all_of_that_kind_but_the_named():
    two = schema(other=[f"some words to read, number {i}" for i in range(30)])
    recipe = resolve(two, {"encoders": {"text": {"hashed_text": {"width": 8}}, "other": "hashed_text"}})
    assert recipe.encoders["caption"] == {"hashed_text": {"width": 8}}
    assert recipe.encoders["other"] == {"hashed_text": {}}
    assert "text" not in recipe.encoders


def test_a_setting_of_an_encoder_by_kind_is_for_all_of_that_kind():
    two = schema(other=[f"some words to read, number {i}" for i in range(30)])
    recipe = resolve(two, settings=["encoders.text=hashed_text", "encoders.other.hashed_text.depth=2"])
    assert recipe.encoders["caption"] == {"hashed_text": {}}
    assert recipe.encoders["other"] == {"hashed_text": {"depth": 2}}
    with pytest.raises(RecipeError, match="bogus"):
        resolve(two, settings=["encoders.text=bogus"])


def test_settings_come_last_and_a_file_a_name_or_data_are_the_same(tmp_path):
    data = {"width": 32, "training": {"epochs": 5}}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(data))
    one = resolve(schema(), data, ["training.epochs=2"])
    assert one == resolve(schema(), tmp_path / "mine.yaml", ["training.epochs=2"])
    assert (one.width, one.training.epochs, one.training.batch) == (32, 2, 128)
    assert resolve(schema(), "default") == resolve(schema())
    assert resolve(schema(), one) == one


@pytest.mark.parametrize(
    ("recipe", "settings", "said"),
    [
        ({"encoders": {"captoin": "hashed_text"}}, (), "Did you mean 'caption'"),
        ({"fusoin": "mean"}, (), "Did you mean 'fusion'"),
        ("defualt", (), "Did you mean 'default'"),
        ({"heads": {"number": "number"}}, (), r"needs a target of kind number, and the table's is label \(class\)"),
        (None, ["training.epochs"], "slot.key=value"),
        (None, ["fusion=maen"], "Did you mean 'mean'"),
    ],
)
def test_mistakes_name_the_nearest_right_one(recipe, settings, said):
    with pytest.raises(RecipeError, match=said):
        resolve(schema(), recipe, settings)


def test_every_recipe_that_comes_along_is_valid():
    assert "default" in names()
    for path in defaults.RECIPES.glob("*.yaml"):
        assert path.stem in names()
        assert resolve(schema(), path.stem)


def test_an_entry_of_the_catalogue_goes_by_name():
    assert resolve(schema(), "gated_multimodal_unit").fusion == {"gated_multimodal_unit": {}}

"""Recipes that call no modality by name."""

import pytest
from made import columns

from plait.core.errors import RecipeError
from plait.data.read import read
from plait.workflow.defaults import resolve
from plait.workflow.fit import fit
from plait.workflow.placeholders import fill


def schema(*left_out, **more):
    given = {name: column for name, column in columns(30).items() if name not in left_out}
    return read({**given, **more}, target="label").schema


THREE = ("sensor", "caption", "tabular")


def test_a_number_is_the_modality_at_that_place_wherever_it_stands():
    three = schema()
    assert tuple(three.modalities) == THREE
    said = {
        "hub": "$1",
        "pairs": [["$1", "$2"]],
        "train": ["encoders.$3.*"],
        "$2": {"$1": 0.5},
        "rate": 0.1,
        "of": None,
    }
    expected = {"hub": "sensor", "pairs": [["sensor", "caption"]], "train": ["encoders.tabular.*"]}
    assert fill(said, three) == {**expected, "caption": {"sensor": 0.5}, "rate": 0.1, "of": None}
    assert fill("objectives.info_nce.hub=$2", three) == "objectives.info_nce.hub=caption"
    assert fill("a price of $ 5, $0 and $05", three) == "a price of $ 5, $0 and $05"


def test_what_asks_for_a_modality_too_many_is_left_out_of_lists_and_keys():
    said = {
        "pairs": [["$1", "$2"], ["$1", "$4"]],
        "stages": [{"train": ["encoders.$3.*", "encoders.$4.*"]}, {"train": ["encoders.$4.*"], "epochs": 3}],
        "weights": {"$3": 1.0, "$4": 2.0},
    }
    expected = {"pairs": [["sensor", "caption"]], "stages": [{"train": ["encoders.tabular.*"]}]}
    assert fill(said, schema()) == {**expected, "weights": {"tabular": 1.0}}


@pytest.mark.parametrize("said", [{"hub": "$4"}, {"pairs": [["$1", "$4"]]}, "fusion.x.prime=$4"])
def test_elsewhere_the_table_is_too_small(said):
    with pytest.raises(RecipeError, match="needs 4 modalities, and the table has 3: sensor, caption, tabular"):
        fill(said, schema())


def test_a_kind_in_a_list_is_every_modality_of_that_kind():
    two = schema(other=[f"some words to read, number {i}" for i in range(30)])
    assert fill(["$text", "$image", "$1"], two) == ["caption", "other", "sensor"]
    with pytest.raises(RecipeError, match="needs 5 modalities, and the table has 4"):
        fill({"modalities": ["$5", "$6"]}, two)
    views = [{"noise": {"modalities": ["$image"]}}, {"hide": {"modalities": ["$image", "$text"]}}]
    assert fill({"views": views}, two) == {"views": [{"hide": {"modalities": ["caption", "other"]}}]}
    with pytest.raises(RecipeError, match=r"needs a modality for \['\$image'\], and the table has none"):
        fill({"views": views[:1]}, two)
    assert fill({"modalities": ["$imagery", "$sensor"]}, two) == {"modalities": ["$imagery", "$sensor"]}


def test_a_kind_elsewhere_is_the_first_of_that_kind_or_of_all():
    two = schema(other=[f"some words to read, number {i}" for i in range(30)])
    assert fill({"hub": "$text", "$tabular": 1}, two) == {"hub": "caption", "tabular": 1}
    assert fill({"hub": "$image"}, two) == {"hub": "sensor"}
    assert fill("info_nce.pairs=[[$tabular, $text]]", two) == "info_nce.pairs=[[tabular, caption]]"
    assert fill([["$tabular", "$text"]], two) == [["tabular", "caption"]]


def test_globs_of_parameters_find_columns_of_any_name():
    odd = {"type": "sensor", "a.b [1]": "caption"}
    given = columns(48)
    rows = read({**{name: given[own] for name, own in odd.items()}, "label": given["label"]}, target="label")
    assert list(rows.schema.modalities) == list(odd)
    train = [f"{part}.$1.*" for part in ("encoders", "projection.maps")] + ["encoders.$2.*"]
    recipe = {
        "encoders": {"text": "hashed_text"},
        "stages": [{"train": train, "objectives": {"info_nce": {"hub": "$2"}}}],
    }
    chosen = resolve(rows.schema, recipe, ("width=16", "embedding=8", "training.epochs=1"))
    assert chosen.stages[0].objectives == {"info_nce": {"hub": "a.b [1]"}}
    fitted = fit(rows, recipe=chosen)
    assert fitted.history[-1]["step"]


def test_a_recipe_and_its_settings_are_filled_before_they_are_checked():
    recipe = {"objectives": {"supervised": {}, "info_nce": {"pairs": [["$1", "$2"], ["$1", "$9"]]}}}
    found = resolve(schema(), recipe, ["objectives.info_nce.weight=0.25", "encoders.$2=hashed_text"])
    assert found.objectives["info_nce"] == {"pairs": [["sensor", "caption"]], "weight": 0.25}
    assert found.encoders["caption"] == {"hashed_text": {}}
    assert resolve(schema(), found) == found


def test_a_decoder_by_kind_stands_for_all_of_that_kind_and_for_none():
    heads = {"class": "class", "text": "latent_decoder", "image": "piece_decoder", "tabular": {"piece_decoder": {}}}
    found = resolve(schema(), {"heads": heads}, ["heads.tabular.piece_decoder.layers=2"])
    assert found.heads == {
        "class": {"class": {}},
        "caption": {"latent_decoder": {}},
        "tabular": {"piece_decoder": {"layers": 2}},
    }
    assert "caption" not in resolve(schema("caption"), {"heads": heads}).heads

"""What every entry of the catalogue keeps to: its arms differ where it says, and both of them learn."""

from functools import partial, reduce

import made as made_of
import numpy as np
import pytest
import torch

from plait.catalogue import entry as entries
from plait.catalogue import experiment
from plait.catalogue.tables import SCARCITY, maker, named, table
from plait.core.errors import MissingExtra
from plait.core.recipe import Recipe
from plait.data.read import read
from plait.data.splits import split
from plait.training.stages import stages_of
from plait.workflow.defaults import resolve
from plait.workflow.prepare import encode
from plait.workflow.train import train
from plait.workflow.tune import KNOBS

STAMPS = ("caption", "image", "spoken", "sound")
COLLECTED = {
    "stamps": {*STAMPS, "size"},
    "mfeat": {"fou", "fac", "kar", "pix", "zer", "mor"},
    "motions": set(),
    "genes": {"genes", "clinical"},
}
SMALL = ("width=16", "embedding=8", "training.epochs=1", "training.batch=32")
FEW = 4
"""Epochs of any stage."""
SOONER = {
    "gradient_blending": ["balance.gradient_blending.every=1"],
    "sustained_boosting": ["fusion.sustained_boosting.every=1", "fusion.sustained_boosting.margin=0"],
}
"""Settings by which what looks around from time to time does so within FEW epochs."""


def made(entry):
    """The made data of its claims, by which it can be run anywhere; [] where it has none."""
    asked = [data for claim in entry.claims for data in (claim.data, claim.without) if data is not None]
    return [data for data in asked if maker(named(data)[0]) is not None]


def like_stamps(rows):
    """Vectors in the place of its modalities, under their names."""
    rng = np.random.default_rng(0)
    label = np.arange(rows) % 3
    columns = {name: list(rng.normal(size=(rows, 6)) + label[:, None]) for name in STAMPS}
    return read({**columns, "category": [f"class {c}" for c in label]}, target="category")


MEASURES = [name for name in entries.names() if entries.load(name).measures]


@pytest.fixture(params=[name for name in entries.names() if name not in MEASURES])
def name(request):
    return request.param


@pytest.mark.parametrize("name", MEASURES)
def test_what_a_measure_is_asked_can_be_answered(name):
    """On small draws, with numbers; what it claims is for the check."""
    for claim in entries.load(name).claims:
        function = experiment._function(claim)
        if claim.kind == "exact":
            assert np.isfinite(function())
            continue
        for data in (claim.data, claim.without):
            rows = min(400, named(data)[1].get("rows", 400))
            assert np.isfinite(function(partial(table, data, seed=1, rows=rows), 1)).all()


@pytest.fixture
def entry(name):
    return entries.load(name)


def test_knobs_of_its_data_exist(entry):
    for data in made(entry):
        assert len(table(data, rows=40)) == 40
    for claim in entry.claims:
        name, knobs = named(claim.data)
        if maker(name) is None:
            assert set(knobs) <= {"modalities", *SCARCITY}
            assert set(knobs.get("modalities", ())) <= COLLECTED[name]


def small(entry):
    """Rows on which its arms can be trained in no time."""
    if any(claim.data == "genes" for claim in entry.claims):
        return table("genes")
    # Pictures go through a pretrained encoder here.
    size = 40 if "image" in str(made(entry)) else 120
    return table(made(entry)[0], rows=size) if made(entry) else like_stamps(size)


def test_both_arms_learn_and_differ_only_where_the_entry_says(entry):
    rows = small(entry)
    arms: dict[str, Recipe] = {}
    for arm in ("recipe", "baseline"):
        own = getattr(entry, arm)
        recipe = arms[arm] = shortened(resolve(rows.schema, own, SMALL))
        try:
            fitted = train(rows, encode(rows, recipe), recipe, split(rows, seed=0))
        except MissingExtra as error:
            pytest.skip(str(error))
        assert fitted.history
        tensors = fitted.model.network.state_dict().values()
        assert all(torch.isfinite(value).all() for value in tensors if value.is_floating_point())
        for value in fitted.metrics["test"].values():
            assert np.isfinite(value) or np.isnan(value)
    one, other = (arms[arm].dump() for arm in ("recipe", "baseline"))
    assert {slot for slot in one if one[slot] != other[slot]} <= set(entry.slots)


def foreign(without=(), missing=0.25, labels=1.0):
    """A table with names of its own."""
    columns = {column: cells for column, cells in made_of.columns(48, missing=missing).items() if column not in without}
    known = np.random.default_rng(1).random(48) < labels
    columns["label"] = [label if one else None for label, one in zip(columns["label"], known, strict=True)]
    return read(columns, target="label")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("how", [{}, {"without": ("sensor",)}, {"missing": 0.8, "labels": 0.5}])
def test_it_learns_by_name_from_a_table_that_it_knows_nothing_of(name, how):
    rows = foreign(**how)
    recipe = shortened(resolve(rows.schema, name, SMALL))
    try:
        fitted = train(rows, encode(rows, recipe), recipe, split(rows, seed=0))
    except MissingExtra as error:
        pytest.skip(str(error))
    assert fitted.history[-1]["step"]
    assert np.isfinite(fitted.metrics["test"]["accuracy"])


def shortened(recipe):
    """No stage has more than FEW epochs."""
    for stage in recipe.stages:
        if "epochs" in stage.training:
            stage.training["epochs"] = min(stage.training["epochs"], FEW)
    return recipe


def predicted(rows, recipe, settings):
    """What is predicted of test rows after FEW epochs."""
    brief = (f"training.epochs={FEW}", "training.refit=false")
    recipe = shortened(resolve(rows.schema, recipe, [*settings, *SMALL, *brief]))
    fitted = train(rows, encode(rows, recipe), recipe, split(rows, seed=0))
    return fitted.model.parameters(fitted.encoded.dataset.take(fitted.splits["test"]))


def test_turned_off_it_is_the_baseline_bit_for_bit_and_turned_on_it_is_not(name):
    entry = entries.load(name)
    if entry.disabled is None:
        pytest.skip("the arms are built differently")
    rows, sooner = small(entry), SOONER.get(name, [])
    try:
        off = predicted(rows, entry.recipe, [*sooner, *entry.disabled.recipe])
        baseline = predicted(rows, entry.baseline, entry.disabled.baseline)
        on = predicted(rows, entry.recipe, sooner)
    except MissingExtra as error:
        pytest.skip(str(error))
    assert all(np.array_equal(off[target], baseline[target]) for target in off)
    assert any(not np.array_equal(off[target], on[target]) for target in off)


def test_its_knobs_can_be_set_and_the_default_lies_inside(entry):
    shared = {knob.path for knob in KNOBS}
    rows = small(entry) if entry.knobs else None
    for path, searched in entry.knobs.items():
        ends = searched.log or searched.linear
        plain = resolve(rows.schema, entry.recipe)
        found = [resolve(rows.schema, entry.recipe, [f"{path}={value}"]) for value in ends or searched.choice]
        for i, recipe in enumerate(found):
            stages_of(recipe)
            assert recipe not in found[:i]
        default = reduce(lambda part, key: part.get(key, {}), path.split("."), plain.dump())
        if ends is None:
            assert found.count(plain) <= 1
        else:
            assert plain not in found
            # Another range for what all are tuned by is there because theirs, around the default, ends too early.
            assert path in shared or ends[0] < (default if isinstance(default, float | int) else 1) < ends[1]

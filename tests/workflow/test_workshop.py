"""Models that edits and teachers have fitted on the way."""

import made
import numpy as np
import pytest
import tiny
import torch

from plait.core.errors import RunError
from plait.data.read import read
from plait.workflow import train as training
from plait.workflow.fingerprint import modules_of
from plait.workflow.fit import fit
from plait.workflow.workshop import Workshop

LARGER = {
    "encoders": {"text": {"hashed_text": {}}},
    "width": 32,
    "fusion": "late_average",
    "missing": {},
    "objectives": {"singles": {}},
    "training": {"epochs": 4, "batch": 32},
}
TAUGHT = {
    **made.RECIPE,
    "fusion": {"mean": {}},
    "objectives": {"supervised": {}, "logit_distillation": {"teachers": ["one", "two"], "singles": True}},
    "teachers": {
        "one": {"use": "fitted", "recipe": LARGER, "seed": 1},
        "two": {"use": "fitted", "recipe": LARGER, "seed": 2},
    },
    "training": {"epochs": 3, "batch": 32, "refit": False},
}


@pytest.fixture
def trainings(monkeypatch):
    """The widths of the networks that were trained, and on which rows of the table."""
    seen = []
    plain = training.train

    def watched(table, encoded, recipe, rows, **how):
        seen.append((recipe.width, sorted(table.ids[row] for part in ("train", "validation") for row in rows[part])))
        return plain(table, encoded, recipe, rows, **how)

    monkeypatch.setattr(training, "train", watched)
    return seen


@pytest.fixture
def table():
    return read(made.columns(), target="label", id="name")


def student(table, cache, **over):
    return fit(table, "label", recipe={**TAUGHT, **over}, cache=cache)


def test_teachers_learn_from_the_training_rows_alone_and_are_kept(table, trainings, tmp_path):
    fitted = student(table, tmp_path)
    own = sorted(table.ids[row] for row in fitted.splits["train"])
    assert trainings == [(32, own)] * 2
    again = student(table, tmp_path)
    assert len(trainings) == 2
    assert tiny.equal(again.model.network.state_dict(), fitted.model.network.state_dict())


def test_an_ensemble_is_of_different_models_and_each_modality_is_on_its_own(table, tmp_path):
    tools = Workshop(0, tmp_path)
    one, two = (tools.fit(LARGER, table, seed=seed) for seed in (1, 2))
    dataset = one.encode(table).dataset
    chances = [model.parameters(dataset)["label"] for model in (one, two)]
    assert np.abs(chances[0] - chances[1]).max() > 0.01
    logits = dict(one.decisions(dataset, [("sensor",), ("caption",), ("sensor", "caption")]))
    have = dataset.have[:, [one.names.index(name) for name in ("sensor", "caption")]].all(1)
    alone = [np.log(logits[name,]["label"][have]) for name in ("sensor", "caption")]
    mean = np.exp(np.mean(alone, 0))
    assert logits["sensor", "caption"]["label"][have] == pytest.approx(mean / mean.sum(1, keepdims=True), abs=1e-4)


def test_another_table_recipe_or_seed_is_another_model(table, trainings, tmp_path):
    tools = Workshop(0, tmp_path)
    tools.fit(LARGER, table)
    tools.fit(LARGER, table, seed=0)
    assert len(trainings) == 1
    tools.fit(LARGER, table, seed=1)
    tools.fit({**LARGER, "width": 24}, table)
    tools.fit(LARGER, table.take(np.arange(100)))
    assert [width for width, _ in trainings] == [32, 32, 24, 32]


def test_a_stage_with_edits_has_teachers_of_the_edited_rows(table, trainings, tmp_path):
    """Teachers of a stage on some of the rows know nothing of the others."""
    only = {"where": {"column": "label", "values": ["cat", "dog"]}}
    stages = [{"data": [only], "train": ["*"]}]
    fitted = student(table, tmp_path, stages=stages)
    labels = dict(zip(table.ids, table.column("label").to_pylist(), strict=True))
    kept = sorted(i for i in (table.ids[row] for row in fitted.splits["train"]) if labels[i] != "cow")
    assert trainings == [(32, kept)] * 2


def test_a_weight_of_0_is_the_student_without_teachers(table, tmp_path):
    silent = {"supervised": {}, "logit_distillation": {**TAUGHT["objectives"]["logit_distillation"], "weight": 0.0}}
    one = student(table, tmp_path, objectives=silent).model.network.state_dict()
    plain = {"objectives": {"supervised": {}, "singles": {"weight": 0.0}}, "teachers": {}}
    two = student(table, tmp_path, **plain).model.network.state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one if not name.startswith("singles"))
    taught = student(table, tmp_path).model.network.state_dict()
    assert not tiny.equal(one, taught)


def test_a_teacher_that_reads_other_cells_is_refused(table, tmp_path):
    other = {**LARGER, "encoders": {"text": {"hashed_text": {"buckets": 64}}}}
    with pytest.raises(RunError, match=r"teachers\.one.*cannot teach this network.*decoded or precomputed otherwise"):
        student(table, tmp_path, teachers={**TAUGHT["teachers"], "one": {"use": "fitted", "recipe": other}})


def test_what_is_trained_on_the_way_belongs_to_the_code_that_a_trial_reaches(table):
    from plait.workflow.defaults import resolve

    reached = set(modules_of(resolve(table.schema, TAUGHT)))
    assert {"plait.fusion.late_average", "plait.training.teachers.fitted", "plait.objectives.singles"} <= reached
    assert "plait.fusion.late_average" not in set(
        modules_of(resolve(table.schema, {**TAUGHT, "teachers": {}, "objectives": {"supervised": {}}}))
    )

import math

import pytest
from made import QUICK, RECIPE, columns

from plait.core.errors import DataError
from plait.data.read import read
from plait.workflow import tune as tune_module
from plait.workflow.defaults import resolve
from plait.workflow.tune import KNOBS, Knob, knobs_of, points, tune


def quick(target="label", **more):
    how = {"recipe": RECIPE, "settings": (*QUICK, "training.epochs=2"), "k": 2, "trials": 3, **more}
    return tune(columns(60), target, **how)


def test_trial_0_is_the_recipe_as_it_stands_and_the_best_one_is_what_comes_out():
    found = quick()
    assert found.measure == "accuracy"
    assert found.trials[0].settings == ()
    assert [len(trial.score) for trial in found.trials] == [2, 2, 2]
    best = max(found.trials, key=lambda trial: trial.mean)
    told = dict(setting.split("=") for setting in best.settings)
    assert str(found.recipe.width) == told.get("width", "16")


def test_no_copies_cross_a_fold(monkeypatch):
    data, seen = columns(90, missing=0.0), []
    for row in range(1, 90, 3):
        data["sensor"][row] = data["sensor"][row - 1]
    inner = tune_module.train

    def watched(table, encoded, recipe, rows, **how):
        seen.append({part: {tuple(data["sensor"][row]) for row in at} for part, at in rows.items()})
        return inner(table, encoded, recipe, rows, **how)

    monkeypatch.setattr(tune_module, "train", watched)
    tune(data, "label", recipe=RECIPE, settings=(*QUICK, "training.epochs=1"), trials=1)
    assert len(seen) > 1
    for of in seen:
        assert not (of["train"] & of["test"] | of["train"] & of["validation"] | of["validation"] & of["test"])


def test_equal_seeds_try_the_same_and_find_the_same():
    assert quick().account() == quick().account()


def test_alignment_alone_is_judged_by_its_loss():
    found = quick(target=None, settings=(*QUICK, "training.epochs=2", "training.monitor=last"))
    assert found.measure == "minus loss"
    assert all(math.isfinite(score) for trial in found.trials for score in trial.score)
    assert len({trial.score for trial in found.trials}) == 3
    # It is not made small by its own weight.
    assert not any("objectives." in setting for trial in found.trials for setting in trial.settings)
    assert found.recipe.objectives["info_nce"].get("weight") != 0


def test_points_lie_within_the_knobs_that_the_recipe_has():
    recipe = resolve(read(columns(20), target="label").schema, RECIPE, ("fusion=mean",))
    (rest,) = points([knobs_of(recipe)], 7, 0)
    assert len(set(rest)) == 7
    for point in rest:
        named = {setting.partition("=")[0] for setting in point}
        assert not any("self_attention" in name for name in named)
        assert named <= {knob.path for knob in KNOBS}


def test_losses_that_a_balance_component_weighs_are_not_silenced():
    schema = read(columns(20), target="label").schema
    plain = resolve(schema, RECIPE, ("objectives={supervised: {}, singles: {}}",))
    blended = resolve(schema, plain, ("balance={gradient_blending: {}}",))
    values = [{knob.path: knob.values for knob in knobs_of(recipe)} for recipe in (plain, blended)]
    assert [found["objectives.singles.weight"] for found in values] == [(0.0, 0.3, 1.0), (0.3, 1.0)]
    assert values[0]["width"] == values[1]["width"]


def test_too_few_rows_or_trials_are_said():
    with pytest.raises(DataError, match="too small to tune on"):
        tune(columns(3), "label", recipe=RECIPE)
    with pytest.raises(ValueError, match="at least one trial"):
        quick(trials=0)


def test_two_arms_get_the_same_values_where_both_have_the_knob():
    shared, own = Knob("width", "choice", values=(8, 16, 32)), Knob("objectives.gram.weight", "log", 0.1, 10.0)
    one, two = points([[shared], [shared, own]], 15, 0)
    assert [point[0] for point in one] == [point[0] for point in two]
    weights = [float(point[1].partition("=")[2]) for point in two]
    assert 0.1 <= min(weights) < 0.3
    assert 3 < max(weights) <= 10


def test_a_range_that_ends_too_early_goes_on_half_as_many_decades():
    knob = Knob("training.optimizer.adamw.lr", "log", 1e-4, 1e-2)
    up, down = knob.beyond(upper=True), knob.beyond(upper=False)
    assert (up.low, up.high) == pytest.approx((1e-2, 1e-1))
    assert (down.low, down.high) == pytest.approx((1e-5, 1e-4))
    assert knob.place(1e-3) == pytest.approx(0.5)

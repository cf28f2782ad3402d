import json
from dataclasses import replace

import grounded
import numpy as np
import pytest

from plait.catalogue import compare as comparing
from plait.catalogue import contenders
from plait.catalogue.compare import compare
from plait.catalogue.contenders import ground, own_knobs
from plait.catalogue.entry import load
from plait.catalogue.verdict import Estimate
from plait.core.errors import DataError, RecipeError
from plait.workflow import costs, defaults, nested, trials
from plait.workflow.costs import Cost
from plait.workflow.trials import Trial


@pytest.fixture
def small(monkeypatch, tmp_path):
    """The default recipe, small; trainings in this process; costs made up."""
    grounded.alone(monkeypatch, tmp_path)
    inner = defaults.default_recipe
    keep = {key: grounded.SMALL[key] for key in ("width", "embedding", "training")}
    brief = {**keep, "training": {**keep["training"], "epochs": 4}, "fusion": {"mean": {}}}
    monkeypatch.setattr(defaults, "default_recipe", lambda schema: {**inner(schema), **brief})
    monkeypatch.setattr(contenders, "aside", grounded._here)
    monkeypatch.setattr(comparing, "cost", lambda trial: Cost(1.0, 2.0, 3, 4.0))


def quick(source, **more):
    return compare(source, **{"target": "label", "trials": 2, "folds": 3, **more})


@pytest.fixture
def trained(monkeypatch):
    """-> the trials that were trained, not found."""
    kept = []
    inner = trials._train
    monkeypatch.setattr(trials, "_train", lambda trial: kept.append(trial) or inner(trial))
    return kept


def test_all_baselines_are_there_and_every_other_one_is_tested_against_the_control(small):
    found = quick(grounded.columns(75, noise=2.0), recipes=["entropy_gate"])
    names = {"late fusion", "a alone", "b alone", "best single", "majority", "ensemble", "concatenation"}
    account = json.loads(json.dumps(found.account()))
    assert {row["recipe"] for row in account["rows"]} == {*names, "entropy_gate"}
    assert {test["a"] for test in account["tests"]} == {*names, "entropy_gate"} - {"late fusion"}
    assert {test["b"] for test in account["tests"]} == {"late fusion"}
    means = [row["mean"] for row in account["rows"]]
    assert means == sorted(means, reverse=True)
    by_name = {row["recipe"]: row["mean"] for row in account["rows"]}
    for test in account["tests"]:
        assert test["difference"] == pytest.approx(by_name[test["a"]] - by_name["late fusion"])
        assert test["p"] <= test["p_corrected"] <= 1
    assert account["words"].startswith("Fusion ")


def test_every_arm_has_as_many_trials_in_every_fold_and_judged_rows_pick_nothing(small, trained):
    quick(grounded.columns(75, noise=2.0), recipes=["entropy_gate"], trials=3)
    per_place = {}
    for trial in trained:
        place = trial.place
        assert not set(place.test) & {*place.train, *place.validation}
        if not trial.final:
            arm = (*trial.recipe.fusion, trial.modalities)
            per_place.setdefault(tuple(place.test), {}).setdefault(arm, []).append(trial)
    counts = {len(found) for arms in per_place.values() for found in arms.values()}
    assert len(next(iter(per_place.values()))) == 4
    assert counts <= {3, 2}, "a first search has all trials, another one the better half"
    judged = {tuple(trial.place.test): trial for trial in trained if trial.final}
    assert sorted(row for rows in judged for row in rows) == list(range(75))
    for rows in judged:
        assert any(set(rows).isdisjoint(place) for place in per_place)


def test_the_best_modality_is_chosen_where_settings_are_picked(small, monkeypatch):
    """A modality that wins on test rows alone is not the best one."""
    said = {("a",): (0.9, 0.2), ("b",): (0.4, 0.8)}

    def drawn(trial):
        inner, outer = said.get(trial.modalities, (0.5, 0.5))
        value = outer if trial.final else inner
        rows = np.where(np.arange(len(trial.place.test)) < value * len(trial.place.test), 1.0, 0.0)
        predicted = np.full((len(trial.place.test), 3), 1 / 3)
        return trials.Outcome(value, rows, predicted, None, True, 0.1)

    monkeypatch.setattr(trials, "_train", drawn)
    found = quick(grounded.columns(75))
    means = {row.recipe: row.level.difference for row in found.rows}
    assert found.single == "a"
    assert means["best single"] == pytest.approx(means["a alone"])
    assert means["b alone"] > means["a alone"]


def test_what_was_stopped_goes_on_and_finds_the_same(small, trained, monkeypatch):
    source = grounded.columns(75, noise=2.0)
    grounded.stopping(monkeypatch, 14)
    with pytest.raises(KeyboardInterrupt):
        quick(source)
    first = len(trained)
    found = quick(source)
    assert len({trial.key() for trial in trained}) == len(trained) - 1, "but the one that was stopped, none twice"
    assert len(trained) > first
    again = quick(source)
    assert again.account() == found.account()


def test_a_budget_drops_whole_repeats_of_everyone(small, monkeypatch):
    source = grounded.columns(75)
    assert quick(source, repeats=2).repeats == 2
    monkeypatch.setattr("plait.catalogue.compare._minutes", lambda where, who, trials: 10.0)
    short = quick(source, repeats=2, budget=15)
    assert short.repeats == 1
    assert "1 of 2 repeats done: more do not fit a budget of 15 minutes." in " ".join(short.notes)
    assert quick(source, repeats=2, budget=20).repeats == 2
    with pytest.raises(DataError, match=r"takes about 10 minutes, and the budget is 9\. Raise it"):
        quick(source, budget=9)
    with pytest.raises(DataError, match="more than 0"):
        quick(source, repeats=2, budget=0)
    with pytest.raises(DataError, match="leave --repeats out"):
        quick({**source, "t": list(range(75))}, repeats=2, time="t", ignore=["t"])


def test_picking_the_best_of_many_alike_is_worth_what_the_mean_of_them_is():
    """Of arms that differ by chance, the best one looks better than what picking it on other folds gives."""
    rng = np.random.default_rng(0)
    excess, fair = [], []
    for _ in range(300):
        values = rng.normal(0.7, 0.05, (8, 5))
        arms = {str(i): Fixed(v) for i, v in enumerate(values)}
        found = comparing._picked(Fixes(arms), list(arms), 1, True)
        excess.append(found.mean - 0.7)
        fair.append(found.corrected - 0.7)
    assert np.mean(excess) > 0.02
    assert abs(np.mean(fair)) < 3 * np.std(fair) / np.sqrt(300)


class Fixed:
    def __init__(self, values):
        self.v = values

    def values(self):
        return self.v


class Fixes:
    def __init__(self, judged):
        self.judged = judged

    def level(self, name):
        return type("Level", (), {"difference": float(self.judged[name].v.mean())})


def test_a_recipe_that_does_not_fit_is_said_or_left_out(small, monkeypatch):
    source = grounded.columns(75)
    with pytest.raises(RecipeError, match=r"no recipe 'entropy_gat'.*entropy_gate"):
        quick(source, recipes=["entropy_gat"])
    with pytest.raises(RecipeError, match="tip cannot be trained on this table"):
        quick(source, recipes=["tip"])
    with monkeypatch.context() as early:
        early.setattr(contenders, "single_ones", lambda *given: pytest.fail("the table was encoded first"))
        with pytest.raises(RecipeError, match=r"no 'late fusio' to be the control.*late fusion"):
            quick(source, control="late fusio")
    with pytest.raises(RecipeError, match="no measure"):
        quick(source, measure="acuracy")
    with pytest.raises(DataError, match="--target"):
        compare(source)


def test_a_family_brings_its_knobs_and_leaves_out_what_does_not_fit(small, monkeypatch):
    monkeypatch.setattr(contenders.entries, "names", lambda: ["entropy_gate", "tip", "gated_multimodal_unit"])
    where = ground(grounded.columns(75), {"schema": None, "target": "label"}, k=3)
    found = contenders.contenders(where, "test/accuracy", 0, recipes=[], family=None, quick=True, settings=[])
    assert "tip" in found.left
    assert set(found.asked) | set(found.left) == {"entropy_gate", "tip", "gated_multimodal_unit"}
    for arm in found.arms:
        if arm.name in found.asked:
            assert arm.knobs == own_knobs(load(arm.name))
    monkeypatch.setattr(contenders, "QUICK", 0.0)
    slow = contenders.contenders(where, "test/accuracy", 0, recipes=[], family=None, quick=True, settings=[])
    assert slow.asked == []
    assert all("times as long" in why for name, why in slow.left.items() if name != "tip")


@pytest.mark.parametrize("kind", ["number", "multi_label", "survival"])
def test_other_targets_have_their_own_baselines(small, kind):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(90, 4)).astype(np.float32)
    source = {"a": x.tolist(), "b": rng.normal(size=(90, 3)).astype(np.float32).tolist()}
    source["b"][::4] = [None] * len(source["b"][::4])
    target = "y"
    if kind == "number":
        source["y"] = (3 * x[:, 0] - x[:, 1] + 0.1 * rng.normal(size=90)).tolist()
    elif kind == "multi_label":
        source["y"] = [[name for name, on in (("p", r[0] > 0), ("q", r[1] > 0)) if on] for r in x]
    else:
        pytest.importorskip("sksurv")
        source["t"] = np.exp(-x[:, 0] + 0.1 * rng.normal(size=90)).tolist()
        source["e"] = (rng.random(90) < 0.8).astype(int).tolist()
        target = "t,e"
    found = compare(source, target, trials=2, folds=3)
    means = {row.recipe: row.level.difference for row in found.rows}
    assert all(np.isfinite(list(means.values())))
    assert means["concatenation"] > 0.8 > means["majority"]
    assert means["ensemble"] > means["majority"]


def test_costs_are_of_a_training_and_grow_with_the_network(monkeypatch, tmp_path):
    grounded.alone(monkeypatch, tmp_path)
    table = grounded.table()
    few = Trial(grounded.place(table), grounded.recipe(table), "test/accuracy", 0)
    wide = replace(few, recipe=grounded.recipe(table, "width=64"))
    one, other = costs.cost_here(few), costs.cost_here(wide)
    assert other.parameters > 4 * one.parameters
    assert other.multiply_adds > 4 * one.multiply_adds
    assert one.seconds > 0
    alone = costs.cost_here(replace(few, modalities=("a",)))
    assert alone.multiply_adds < one.multiply_adds


def test_a_cost_is_measured_once(monkeypatch, tmp_path):
    grounded.alone(monkeypatch, tmp_path)
    table, asked = grounded.table(), []
    trial = Trial(grounded.place(table), grounded.recipe(table), "test/accuracy", 0)
    inner = costs.cost_here
    monkeypatch.setattr(costs, "_measured", lambda given: asked.append(given) or inner(given))
    first = costs.cost(trial)
    assert (costs.cost(trial), asked) == (first, [trial])
    costs.cost(replace(trial, seed=1))
    assert len(asked) == 2
    # A damaged file is made again.
    for path in (tmp_path / "cache" / "costs").iterdir():
        path.write_text('{"seconds": 1')
    assert costs.cost(trial).parameters == first.parameters
    assert len(asked) == 3


def test_memory_is_what_the_training_took(monkeypatch, tmp_path):
    """And not what was there before, nor what an earlier one had at its peak."""
    grounded.alone(monkeypatch, tmp_path)
    if not costs.PROCESS.joinpath("clear_refs").exists():
        pytest.skip("only Linux says what a process uses")
    table = grounded.table()
    trial = Trial(grounded.place(table), grounded.recipe(table), "test/accuracy", 0)
    costs.cost_here(trial)
    inner = costs.outcome

    def heavy(given):
        held = np.ones(200 * 2**17)
        return inner(given), held.sum()

    np.ones(400 * 2**17).sum()
    light = costs.cost_here(trial).memory
    monkeypatch.setattr(costs, "outcome", heavy)
    assert 150 < costs.cost_here(trial).memory - light < 250


def test_trainings_in_other_processes_read_the_table_themselves(tmp_path, monkeypatch):
    """The whole of it once, as a user runs it: in processes, from a file by a relative path."""
    monkeypatch.setenv("PLAIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    said = grounded.columns(60)
    lines = ["u,v,w,label"]
    for a, label in zip(said["a"], said["label"], strict=True):
        lines.append(f"{a[0]:.4f},{a[1]:.4f},{a[2]:.4f},{label}")
    (tmp_path / "t.csv").write_text("\n".join(lines))
    small = ("training.epochs=2", "width=8", "embedding=4")
    found = compare("t.csv", "label", trials=1, folds=2, settings=small)
    assert found.folds == 2
    paid = next(row.cost for row in found.rows if row.recipe == "late fusion")
    assert paid.parameters > 0
    assert paid.seconds > 0
    assert nested.TRIALS == 16


def test_a_share_does_not_reach_beyond_all():
    row = comparing.Row("one", Estimate(0.98, 0.02, 4), None, 1.0)
    assert row.interval[1] == 1.0
    assert row.interval[0] == pytest.approx(Estimate(0.98, 0.02, 4).interval[0])
    assert comparing.Row("one", Estimate(0.98, 0.02, 4), None).interval == Estimate(0.98, 0.02, 4).interval


def test_it_is_said_how_many_rows_judged(small):
    source = grounded.columns(75)
    assert "Judged on 75 rows." in quick(source).notes
    pairs = {**source, "pair": [f"p{i // 2}" for i in range(75)]}
    assert "Judged on 75 rows, in 38 groups of rows that belong together." in quick(pairs, group="pair").notes

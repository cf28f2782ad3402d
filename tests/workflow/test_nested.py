from dataclasses import replace

import grounded
import numpy as np
import pytest

from plait.workflow import nested
from plait.workflow.nested import Arm, Grounds, Unit, judge
from plait.workflow.trials import Outcome, Place
from plait.workflow.tune import Knob

RATE = "training.optimizer.adamw.lr"
DECAY = "training.optimizer.adamw.weight_decay"


@pytest.fixture(autouse=True)
def _alone(monkeypatch, tmp_path):
    grounded.alone(monkeypatch, tmp_path)


@pytest.fixture(scope="module")
def table():
    return grounded.table(grounded.columns(120))


def grounds(table, searches=2, units=3, each=None):
    """Searches on the first half of the rows, units on the second; nothing is trained twice on the same rows."""
    at = np.arange(60)

    def place(number, where):
        rows = where + np.random.default_rng(number).permutation(at)
        return Place(lambda: table, "table", rows[:36], rows[36:44], rows[44:])

    where = tuple(range(searches))
    return Grounds(
        table.schema,
        tuple(place(s, 0) for s in range(searches)),
        tuple(Unit(place(9 + u, 60), where if each is None else each[u]) for u in range(units)),
    )


def arm(table, name, *knobs, slots=(), **more):
    """Its rate as it stands is in the middle of what is searched."""
    return Arm(name, grounded.recipe(table, f"{RATE}=0.0013", **dict(slots)), knobs, **more)


@pytest.fixture
def scored(monkeypatch):
    """Outcomes by a formula instead of a training; -> the trials that were asked for, in order, and the way to set it.

    formula: gets the recipe as plain data and the place's number of rows to judge.
    """
    asked = []

    class Scored:
        formula = staticmethod(lambda said, trial: 0.5)
        trials = asked

    def run_all(jobs):
        for job in jobs:
            asked.extend(job)
            yield [Outcome(Scored.formula(t.recipe.dump(), t), None, None, None, True, 0.0) for t in job]

    monkeypatch.setattr(nested, "run_all", run_all)
    return Scored


def rate(said):
    return said["training"]["optimizer"]["adamw"]["lr"]


def searching(asked):
    return [trial for trial in asked if not trial.final]


def test_a_bad_default_is_left_by_the_search(table):
    """No epoch at all, or eight of them."""
    epochs = Knob("training.epochs", "choice", values=(0, 8))
    bad = {**grounded.SMALL["training"], "epochs": 0}
    arms = [arm(table, "searched", epochs, slots={"training": bad}), arm(table, "as it is", slots={"training": bad})]
    arms = [replace(one, recipe=grounded.recipe(table, training=bad)) for one in arms]
    found = judge(grounds(table, 1, 1), arms, "test/accuracy", tag=("t",), trials=3)
    assert min(found["searched"].values()) > 0.8
    assert max(found["as it is"].values()) < 0.7
    for at in found["searched"].search.picked:
        assert "training.epochs=8" in found["searched"].search.settings[at]


def test_every_arm_is_tried_as_often_and_first_as_it_stands(table, scored):
    own = Knob("fusion.concatenation.dropout", "linear", 0.0, 0.5)
    arms = [arm(table, "more", own), arm(table, "less")]
    found = judge(grounds(table), arms, "test/accuracy", tag=("t",))
    counts = {one.name: sum(trial.recipe == one.recipe for trial in searching(scored.trials)) for one in arms}
    assert {name: len(judged.search.settings) for name, judged in found.items()} == {"more": 16, "less": 16}
    assert found["more"].search.settings[0] == found["less"].search.settings[0] == ()
    assert sum(counts.values()) >= 2
    shared = [[s for s in each if not s.startswith(own.path)] for each in found["more"].search.settings]
    assert shared == [list(each) for each in found["less"].search.settings]


def test_a_knob_of_its_own_takes_the_place_of_a_shared_one(table):
    one, other = arm(table, "usual"), arm(table, "own", Knob(RATE, "log", 0.02, 0.03))
    paths = [[knob.path for knob in each.searched] for each in (one, other)]
    assert paths[0] == paths[1]
    at = paths[0].index(RATE)
    assert (one.searched[at].high, other.searched[at].low) == (6e-3, 0.02)


def test_the_better_half_goes_on_to_the_other_searches(table, scored):
    scored.formula = lambda said, trial: rate(said)
    found = judge(grounds(table, searches=3), [arm(table, "one")], "test/accuracy", tag=("t",))["one"]
    first, *others = found.search.scores
    assert np.isfinite(first[:16]).all()
    better = first[:16] >= np.sort(first[:16])[-8]
    for scores in others:
        assert np.array_equal(np.isfinite(scores[:16]), better)
    for picked in found.search.picked:
        assert np.isfinite(found.search.scores[:, picked]).all()


def test_less_is_better_of_a_loss(table, scored):
    scored.formula = lambda said, trial: (np.log(rate(said)) - np.log(0.001)) ** 2
    found = judge(grounds(table), [arm(table, "one")], "test/log_loss", tag=("t",))["one"]
    tried = [rate(trial.recipe.dump()) for trial in searching(scored.trials)]
    best = min(tried, key=lambda value: abs(np.log(value / 0.001)))
    assert {rate(trial.recipe.dump()) for trial in scored.trials if trial.final} == {best}
    assert (found.search.scores[np.isfinite(found.search.scores)] <= 0).all()


def test_each_unit_goes_by_its_own_searches(table, scored):
    """Searches 0 and 1 like it fast, 2 and 3 slow; what a unit picks is best for those that are its own."""
    where = grounds(table, searches=4, units=2, each=[(0, 1), (2, 3)])
    contents = {id(place): s for s, place in enumerate(where.searches)}

    def formula(said, trial):
        s = contents.get(id(trial.place), 0)
        return -abs(np.log(rate(said) / (0.004 if s < 2 else 0.0006)))

    scored.formula = formula
    found = judge(where, [arm(table, "one")], "test/accuracy", tag=("t",))["one"]
    fast, slow = (rate(trial.recipe.dump()) for trial in scored.trials if trial.final)
    tried = sorted({rate(trial.recipe.dump()) for trial in searching(scored.trials)})
    assert fast == min(tried, key=lambda value: abs(np.log(value / 0.004)))
    assert slow == min(tried, key=lambda value: abs(np.log(value / 0.0006)))
    assert found.search.picked[0] != found.search.picked[1]


def test_a_trial_that_broke_down_is_never_picked(table, scored):
    scored.formula = lambda said, trial: float("nan") if rate(said) > 0.001 else rate(said)
    found = judge(grounds(table), [arm(table, "one")], "test/accuracy", tag=("t",))["one"]
    for picked in found.search.picked:
        assert np.isfinite(found.search.scores[:, picked]).all()
    assert max(rate(trial.recipe.dump()) for trial in scored.trials if trial.final) <= 0.001


def test_where_all_broke_down_the_recipe_stays_as_it_is(table, scored):
    scored.formula = lambda said, trial: float("nan")
    found = judge(grounds(table), [arm(table, "one")], "test/accuracy", tag=("t",))["one"]
    assert found.search.picked == [0, 0, 0]


def test_where_all_are_equal_the_recipe_stays_as_it_is(table, scored):
    found = judge(grounds(table), [arm(table, "one")], "test/accuracy", tag=("t",))["one"]
    assert found.search.picked == [0, 0, 0]


def settled(said):
    """What is lost by another width than 64 and by another decay than .1."""
    decay = said["training"]["optimizer"]["adamw"].get("weight_decay") or 1e-3
    return 0.3 * abs(np.log(decay / 0.1)) + abs(np.log(said["width"] / 64))


def ends(table, scored, formula, *arms):
    scored.formula = formula
    return judge(grounds(table), arms or [arm(table, "one"), arm(table, "two")], "test/accuracy", tag=("t",))


def test_a_range_that_ends_too_early_goes_on_once_for_every_arm(table, scored):
    def formula(said, trial):
        return -2 * abs(np.log(rate(said) / 0.009)) - settled(said)

    found = ends(table, scored, formula)
    for judged in found.values():
        assert len(judged.search.settings) == 16 + 8
        beyond = [s for each in judged.search.settings[16:] for s in each if s.startswith(RATE)]
        assert all(0.006 <= float(s.partition("=")[2]) <= 0.006 * np.sqrt(20) * 1.01 for s in beyond)
        assert all(at >= 16 for at in judged.search.picked)
        assert judged.search.edges == []


@pytest.mark.parametrize(("sign", "end"), [(1, "upper"), (-1, "lower")])
def test_what_is_best_at_the_end_even_then_is_an_edge(table, scored, sign, end):
    found = ends(table, scored, lambda said, trial: 9 * sign * np.log(rate(said)) - settled(said))
    for judged in found.values():
        assert RATE in judged.search.edges
        assert len(judged.search.settings) == 24


def test_a_best_value_in_the_middle_is_no_edge(table, scored):
    def formula(said, trial):
        return -abs(np.log(rate(said) / 0.0013)) - settled(said)

    for judged in ends(table, scored, formula).values():
        assert judged.search.edges == []
        assert len(judged.search.settings) == 16


def test_an_end_that_one_arm_alone_finds_is_gone_beyond_by_both(table, scored):
    def formula(said, trial):
        if "mean" in said["fusion"]:
            return -abs(np.log(rate(said) / 0.0013)) - settled(said)
        return 9 * np.log(rate(said)) - settled(said)

    arms = arm(table, "one"), arm(table, "two", slots={"fusion": "mean"})
    found = ends(table, scored, formula, *arms)
    assert [len(judged.search.settings) for judged in found.values()] == [24, 24]
    assert RATE in found["one"].search.edges
    assert RATE not in found["two"].search.edges
    assert all(at < 16 for at in found["two"].search.picked)


def test_arms_that_find_opposite_ends_are_both_at_an_edge(table, scored):
    def formula(said, trial):
        sign = -1 if "mean" in said["fusion"] else 1
        return 9 * sign * np.log(rate(said)) - settled(said)

    arms = arm(table, "up"), arm(table, "down", slots={"fusion": "mean"})
    found = ends(table, scored, formula, *arms)
    assert RATE in found["down"].search.edges
    assert RATE in found["up"].search.edges


def test_seeds_pair_the_arms_and_no_final_model_shares_one_with_another_unit(table, scored):
    arms = [arm(table, "one"), arm(table, "two", slots={"fusion": "mean"}, seeds=3)]
    found = judge(grounds(table), arms, "test/accuracy", tag=("t",))
    finals = [trial for trial in scored.trials if trial.final]
    assert [len(unit) for unit in found["two"].finals] == [3, 3, 3]
    one, two = finals[:3], [finals[3 + 3 * u : 6 + 3 * u] for u in range(3)]
    assert [t.seed for t in one] == [unit[0].seed for unit in two]
    assert len({t.seed for unit in two for t in unit}) == 9
    assert {t.seed for t in finals}.isdisjoint(t.seed for t in searching(scored.trials))
    assert not {id(t.place) for t in finals} & {id(t.place) for t in searching(scored.trials)}


def test_another_tag_is_other_seeds_and_other_points(table, scored):
    one = judge(grounds(table), [arm(table, "one")], "test/accuracy", tag=("t", 1))["one"]
    first = {trial.seed for trial in scored.trials}
    scored.trials.clear()
    two = judge(grounds(table), [arm(table, "one")], "test/accuracy", tag=("t", 2))["one"]
    assert first.isdisjoint(trial.seed for trial in scored.trials)
    assert one.search.settings[1:] != two.search.settings[1:]


def test_an_arm_that_sees_one_modality_sees_it_everywhere(table, scored):
    judge(grounds(table), [arm(table, "a", modalities=("a",))], "test/accuracy", tag=("t",))
    assert {trial.modalities for trial in scored.trials} == {("a",)}


def test_values_are_means_over_seeds(table, scored):
    scored.formula = lambda said, trial: float(trial.seed % 1000)
    found = judge(grounds(table), [arm(table, "one", seeds=2)], "test/accuracy", tag=("t",))["one"]
    finals = [trial.seed % 1000 for trial in scored.trials if trial.final]
    assert found.values() == pytest.approx([(finals[2 * u] + finals[2 * u + 1]) / 2 for u in range(3)])


def test_progress_ends_at_the_total(table, scored):
    said = []
    judge(
        grounds(table),
        [arm(table, "one"), arm(table, "two")],
        "test/accuracy",
        tag=("t",),
        progress=lambda what, done, total: said.append((done, total)),
    )
    assert said[-1] == (len(scored.trials), len(scored.trials))
    assert [done for done, _ in said] == sorted(done for done, _ in said)


def test_a_search_that_was_stopped_gives_the_same_as_one_that_was_not(table, monkeypatch, tmp_path):
    few = {"training": {**grounded.SMALL["training"], "epochs": 1}}
    where, arms = grounds(table, units=2), [Arm("one", grounded.recipe(table, **few))]
    trained = grounded.stopping(monkeypatch, 3, 7)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            judge(where, arms, "test/accuracy", tag=("t",), trials=4)
    resumed = judge(where, arms, "test/accuracy", tag=("t",), trials=4)["one"]
    total = len(trained) - 2
    monkeypatch.setenv("PLAIT_CACHE", str(tmp_path / "other"))
    straight = judge(where, arms, "test/accuracy", tag=("t",), trials=4)["one"]
    assert resumed.search.settings == straight.search.settings
    assert np.array_equal(resumed.search.scores, straight.search.scores)
    assert resumed.search.picked == straight.search.picked
    for one, other in zip(resumed.finals, straight.finals, strict=True):
        assert np.array_equal(one[0].predicted, other[0].predicted)
    asked = int(np.isfinite(straight.search.scores).sum()) + 2
    assert total <= asked

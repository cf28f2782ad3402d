import grounded
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made import quick, splits

from plait.data.read import read
from plait.workflow import trials
from plait.workflow.explain import task, worth
from plait.workflow.explain.subject import Subject
from plait.workflow.model import Model
from plait.workflow.run import own_rows

SIZE = 120


@pytest.fixture(autouse=True, scope="module")
def _alone(tmp_path_factory):
    """One cache for all, so that sets are trained once."""
    with pytest.MonkeyPatch.context() as patch:
        grounded.alone(patch, tmp_path_factory.mktemp("task"))
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """`sure` says the label, `half` says it of half of the rows, `hum` nothing; some rows have no label."""
    rng = np.random.default_rng(1)
    code = rng.integers(3, size=SIZE)
    half = np.where(rng.random(SIZE) < 0.5, code, rng.integers(3, size=SIZE))
    source = {
        "sure": (3 * np.eye(3, 4)[code] + 0.3 * rng.normal(size=(SIZE, 4))).tolist(),
        "half": (3 * np.eye(3, 4)[half] + 0.3 * rng.normal(size=(SIZE, 4))).tolist(),
        "hum": rng.normal(size=(SIZE, 4)).tolist(),
        "label": [f"class {c}" if i % 15 else None for i, c in enumerate(code)],
        "part": splits(SIZE),
        "group": [f"g{i // 2}" for i in range(SIZE)],
    }
    folder = tmp_path_factory.mktemp("runs")
    pq.write_table(pa.table(source), folder / "made.parquet")
    # A group that is no input as well.
    schema = (
        read(folder / "made.parquet", target="label", split="part").schema.without("group").with_roles(group="group")
    )
    return quick(folder / "made.parquet", out=folder / "run", schema=schema, recipe=grounded.SMALL).model.folder


def subject(folder, **how):
    model = Model.load(folder)
    table, begun = own_rows(model)
    learned = np.concatenate([begun.splits["train"], begun.splits["validation"]])
    return Subject(model, table, model.encode(table), begun.splits["test"], learned, {}, **how)


@pytest.fixture(scope="module")
def found(run):
    told = []
    asked = subject(run, deep=True, progress=lambda *said: told.append(said))
    return asked, task.task_worth(asked), told


def test_worth_to_the_task_is_that_of_models_trained_anew(found):
    asked, worth_, _ = found
    share = dict(zip(asked.names, worth_.value, strict=True))
    low = dict(zip(asked.names, worth_.interval[:, 0], strict=True))
    assert share["sure"] > share["half"] > share["hum"]
    assert low["sure"] > 0.2
    assert low["hum"] <= 0
    assert worth_.rows.shape == (len(asked.encoded.dataset.target("label")), 3)


def test_shares_add_up_to_all_that_is_gained_above_the_most_frequent_class(found):
    asked, worth_, _ = found
    right, guessed, count = 0.0, 0.0, 0
    labels = asked.encoded.dataset.target("label")
    code = dict(zip(labels.rows.tolist(), labels.values.tolist(), strict=True))
    for place in task._places(asked):
        right += trials.run(task._trial(asked, place, asked.names)).rows.sum()
        learned = [code[row] for row in (*place.train.tolist(), *place.validation.tolist())]
        most = np.bincount(learned, minlength=3).argmax()
        guessed += sum(code[row] == most for row in place.test.tolist())
        count += len(place.test)
    assert count == len(code)
    assert worth_.value.sum() == pytest.approx((right - guessed) / count)


def test_folds_judge_each_labelled_row_once_and_tear_no_group(found):
    asked, _, _ = found
    places = list(task._places(asked))
    tested = np.concatenate([place.test for place in places])
    assert sorted(tested) == asked.encoded.dataset.target("label").rows.tolist()
    assert len(places) == task.FOLDS
    group = asked.all_groups
    for place in places:
        parts = [set(group[rows]) for rows in (place.train, place.validation, place.test)]
        assert not parts[0] & parts[1]
        assert not parts[0] & parts[2]
        assert not parts[1] & parts[2]


def test_progress_is_told_and_a_second_time_nothing_is_trained(found, run, monkeypatch):
    _, worth_, told = found
    trained = [said for said in told if said[0] == "trainings on sets of modalities"]
    assert [done for _, done, _ in trained] == list(range(1, 7 * task.FOLDS + 1))
    assert {total for *_, total in trained} == {7 * task.FOLDS}
    monkeypatch.setattr(trials, "train", lambda *_, **__: pytest.fail("trained again"))
    again = task.task_worth(subject(run, deep=True))
    assert np.array_equal(again.value, worth_.value)


def test_both_answers_stand_side_by_side(run):
    section = worth.answer(subject(run, deep=True))
    account = section.account
    assert account["shapley"].keys() == account["task"].keys() == {"sure", "half", "hum"}
    grid = next(grid for grid in section.grids if "to the task" in grid.head)
    assert grid.lines[0][0] == "sure"
    for key, column in (("shapley", 1), ("task", 2)):
        assert grid.lines[0][column].startswith(f"{100 * account[key]['sure']['value']:.1f} ")
    said = next(one for one in section.words if one.startswith("To the task itself"))
    assert f"sure is worth most: {100 * account['task']['sure']['value']:.1f} points" in said
    assert any("hum" in one and "to the task was not shown" in one for one in section.words)
    assert len(section.drawings) == 1


def test_of_what_only_the_task_has_it_is_not_said_that_the_model_uses_it(run):
    """The same model without a modality: its worth here is nothing, while the task's stays."""
    asked = subject(run, deep=True)
    sure = asked.names.index("sure")
    asked.have[:, sure] = False
    hidden = tuple(n for n in asked.names if n != "sure")
    decided = asked.decided
    asked.decided = lambda companies: {
        c: decided([tuple(n for n in c if n in hidden)])[tuple(n for n in c if n in hidden)] for c in companies
    }
    words = worth.answer(asked).words
    assert any(one.startswith("sure is worth") and "makes use of it was not shown" in one for one in words)


def test_of_other_rows_nothing_is_trained(run, monkeypatch):
    asked = subject(run, deep=True)
    asked.learned = np.zeros(0, np.int64)
    monkeypatch.setattr(task, "run_all", lambda *_: pytest.fail("trained"))
    assert "task" not in worth.answer(asked).account


@pytest.mark.parametrize("error", [task.RecipeError("objectives.symile: no modality"), task.RunError("was killed")])
def test_what_stops_the_trainings_is_said_and_the_rest_stands(error, run, monkeypatch):
    def refused(*_):
        raise error

    monkeypatch.setattr(task, "run_all", refused)
    section = worth.answer(subject(run, deep=True))
    assert section.words[0].startswith("All modalities together")
    assert any(f"cannot be said: {error}" in one for one in section.words)
    assert "task" not in section.account
    assert len(section.drawings) == 1


@pytest.mark.parametrize(("modalities", "most"), [(2, 3), (4, 15), (5, 31), (6, 32), (7, 32), (8, 32), (12, 46)])
def test_sets_are_all_or_about_thirty(modalities, most):
    names = [f"m{i}" for i in range(modalities)]
    orders = task._orders(modalities, 3)
    asked = [s for s in task.wanted(names, orders=orders, seed=3) if s]
    assert (orders is None) == (modalities <= 5)
    assert 2**modalities - 1 == len(asked) if orders is None else 16 < len(asked) <= most


def test_without_looking_it_says_what_learned_labels_are_spread_like(found):
    asked, _, _ = found
    learned, judged = np.array([0, 1, 1, 2]), np.array([1, 0, 1])
    assert task._unseen(asked, learned, judged).tolist() == [1, 0, 1]


def test_of_many_modalities_orders_are_drawn_and_classes_are_left_out(tmp_path):
    rng = np.random.default_rng(0)
    code = np.arange(200) % 2
    source = {f"m{i}": (code[:, None] * (i == 0) + 0.3 * rng.normal(size=(200, 2))).tolist() for i in range(9)}
    pq.write_table(pa.table({**source, "label": [f"class {c}" for c in code]}), tmp_path / "made.parquet")
    fitted = quick(tmp_path / "made.parquet", out=tmp_path / "run", recipe=grounded.SMALL)
    section = worth.answer(subject(fitted.model.folder))
    assert section.account["shapley"]["m0"]["se"] > 0
    assert section.words[0].split("; ")[1].startswith("of that m0 ")
    assert not any("by class" in grid.title for grid in section.grids)


def test_of_fewer_groups_than_folds_it_cannot_be_said(run, monkeypatch):
    asked = subject(run, deep=True)
    asked.__dict__["all_groups"] = np.arange(len(asked.table)) % 2
    monkeypatch.setattr(task, "run_all", lambda *_: pytest.fail("trained"))
    assert any("too few groups of rows" in one for one in worth.answer(asked).words)

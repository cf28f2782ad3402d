import os
from dataclasses import replace
from functools import partial

import grounded
import numpy as np
import pytest
import torch

from plait.catalogue import tables
from plait.core.errors import RecipeError
from plait.data.splits import split
from plait.workflow import fingerprint, trials
from plait.workflow.defaults import resolve
from plait.workflow.trials import Place, Trial, count, run, run_all


@pytest.fixture(autouse=True)
def _alone(monkeypatch, tmp_path):
    grounded.alone(monkeypatch, tmp_path)


@pytest.fixture
def trial():
    table = grounded.table()
    return Trial(grounded.place(table), grounded.recipe(table), "test/accuracy", 0)


def forbidden(*_, **__):
    raise AssertionError("trained again")


def same(one, other):
    for name in ("value", "best", "finite", "seconds"):
        assert getattr(one, name) == getattr(other, name), name
    for name in ("rows", "predicted"):
        a, b = getattr(one, name), getattr(other, name)
        assert (a is None and b is None) or (a.dtype == b.dtype and np.array_equal(a, b, equal_nan=True)), name


def outcome(table, *, measure="test/accuracy", unlabelled=(), slots=(), **how):
    recipe = grounded.recipe(table, **dict(slots))
    return run(Trial(grounded.place(table, unlabelled), recipe, measure, how.pop("seed", 0), **how))


@pytest.mark.parametrize("measure", ["test/accuracy", "test/macro_f1", "retrieval/a->b/recall@1"])
def test_what_was_done_before_comes_from_the_cache(trial, measure, monkeypatch):
    trial = replace(trial, measure=measure)
    first = run(trial)
    monkeypatch.setattr(trials, "train", forbidden)
    same(run(trial), first)
    (listed,) = run_all([[trial]])
    same(listed[0], first)


def test_a_picked_epoch_comes_back_as_it_was(trial, monkeypatch):
    table = trial.place.load()
    trial = replace(trial, recipe=grounded.recipe(table, "training.monitor=auto", "training.early_stopping=2"))
    first = run(trial)
    assert first.best is not None
    assert 0 <= first.best[0] <= first.best[1] < 8
    monkeypatch.setattr(trials, "train", forbidden)
    same(run(trial), first)


def test_everything_that_an_outcome_depends_on_is_in_its_key(trial):
    table, place = trial.place.load(), trial.place
    changed = {
        "seed": replace(trial, seed=1),
        "train": replace(trial, place=replace(place, train=place.train[1:])),
        "validation": replace(trial, place=replace(place, validation=place.validation[1:])),
        "test": replace(trial, place=replace(place, test=place.test[1:])),
        "order of test": replace(trial, place=replace(place, test=place.test[::-1].copy())),
        "unlabelled": replace(trial, place=replace(place, unlabelled=place.train[:1])),
        "content": replace(trial, place=replace(place, content="other")),
        "setting": replace(trial, recipe=grounded.recipe(table, "training.epochs=9")),
        "component": replace(trial, recipe=grounded.recipe(table, fusion={"mean": {}})),
        "measure": replace(trial, measure="test/macro_f1"),
        "modalities": replace(trial, modalities=("a",)),
        "all modalities named": replace(trial, modalities=("b",)),
        "final": replace(trial, final=True),
        "shuffled": replace(trial, shuffled=True),
    }
    keys = {name: other.key() for name, other in changed.items()} | {"as it was": trial.key()}
    assert len(set(keys.values())) == len(keys), keys
    assert replace(trial, place=replace(place, load=lambda: table)).key() == trial.key()


def test_other_content_is_another_place():
    one, other = grounded.columns(), grounded.columns()
    other["a"][7] = [0.0, 0.0, 0.0, 0.0]
    assert grounded.place(grounded.table(one)).key() != grounded.place(grounded.table(other)).key()
    other = grounded.columns()
    other["label"][7] = "class 2"
    assert grounded.place(grounded.table(one)).key() != grounded.place(grounded.table(other)).key()


def test_code_that_does_something_else_is_another_key_and_a_comment_is_not(trial, tmp_path, monkeypatch):
    def written(text):
        (tmp_path / "somebody.py").write_text(text)
        for cached in ("_source", "_parsed", "_imports", "_tree"):
            getattr(fingerprint, cached).cache_clear()
        fingerprint._code_of.cache_clear()

    monkeypatch.syspath_prepend(str(tmp_path))
    code = "from plait.fusion.mean import Mean\n\n\nclass Mine(Mean):\n    half = 1 / 2\n"
    written(code)
    mine = replace(trial, recipe=grounded.recipe(trial.place.load(), fusion={"somebody:Mine": {}}))
    first = mine.key()
    written('"""Words."""\n' + code.replace("\n    half", "\n    # Why.\n    half"))
    assert mine.key() == first
    written(code.replace("/", "*"))
    assert mine.key() != first
    fingerprint._code_of.cache_clear()


@pytest.mark.parametrize("left", [0, 1, 30, 200, -3])
def test_a_file_that_was_cut_short_is_made_again(trial, left):
    first = run(trial)
    path = trials._path(trial)
    path.write_bytes(path.read_bytes()[:left])
    again = run(trial)
    same(replace(again, seconds=first.seconds), first)
    same(run(trial), again)


def test_a_byte_that_is_wrong_is_seen_wherever_it_is(trial):
    first = run(trial)
    path = trials._path(trial)
    whole = path.read_bytes()
    for at in range(0, len(whole), 5):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        found = trials._read(path)
        assert found is None or (found.value, found.best) == (first.value, first.best)
        assert path.exists() == (found is not None)


def test_hidden_labels_teach_nothing_and_count_where_they_are_judged():
    source = grounded.columns()
    hidden = [row for row in range(90) if row % 5 in (0, 3, 4) and row % 2]
    first = outcome(grounded.table(source), unlabelled=hidden)
    other = {**source, "label": list(source["label"])}
    for row in hidden:
        other["label"][row] = f"class {(int(source['label'][row][-1]) + 1) % 3}"
    second = outcome(grounded.table(other), unlabelled=hidden)
    assert np.array_equal(first.predicted, second.predicted)
    said = first.predicted.argmax(1)
    for labels, found in ((source["label"], first), (other["label"], second)):
        truth = np.array([int(label[-1]) for label in labels])[4::5]
        assert np.array_equal(found.rows, said == truth)
    assert not np.array_equal(first.predicted, outcome(grounded.table(source)).predicted)


def test_labels_of_another_kind_cannot_be_hidden():
    table = grounded.table({**grounded.columns(), "label": [float(i) + 0.5 for i in range(90)]})
    with pytest.raises(RecipeError, match="of kind number"):
        outcome(table, measure="test/r2", unlabelled=[0])


def test_permuted_labels_teach_nothing():
    table = grounded.table(grounded.columns(300, noise=0.3))
    assert outcome(table).value > 0.95
    found = [outcome(table, shuffled=True, seed=seed).value for seed in range(4)]
    assert abs(np.mean(found) - 1 / 3) < 0.2
    assert len(set(found)) > 1


def test_permuting_keeps_the_shares_and_leaves_test_rows_alone():
    table = grounded.table()
    place = grounded.place(table)
    seen = trials._as_learned(table, Trial(place, grounded.recipe(table), "test/accuracy", 3, shuffled=True))
    was, now = (t.column("label").to_pylist() for t in (table, seen))
    learned = np.union1d(place.train, place.validation)
    assert sorted(was[row] for row in learned) == sorted(now[row] for row in learned)
    assert [was[row] for row in place.test] == [now[row] for row in place.test]
    assert sum(was[row] != now[row] for row in learned) > len(learned) / 3


def test_modalities_that_are_not_named_have_no_say():
    source, other = grounded.columns(), grounded.columns()
    other["b"] = [[-3 * x for x in cell] for cell in other["b"]]
    one, two = (outcome(grounded.table(each), modalities=("a",)) for each in (source, other))
    assert np.array_equal(one.predicted, two.predicted)
    one, two = (outcome(grounded.table(each), modalities=("b",)) for each in (source, other))
    assert not np.array_equal(one.predicted, two.predicted)


ALIGN = {"objectives": {"info_nce": {}}, "projection": {"linear": {}}}


@pytest.mark.parametrize("k", [1, 3])
def test_retrieval_is_what_looking_at_each_pair_says(k, monkeypatch):
    """Slowly: sort the gallery by cosine, look at the first k; a row with an equal cell on either side is a hit."""
    source = grounded.columns(120, absent=0.2)
    for row in range(4, 120, 10):
        source["b"][row] = source["b"][4]
    for row in range(9, 60, 10):
        source["a"][row] = source["a"][9]
    table, kept = grounded.table(source), []
    inner = trials._measured
    monkeypatch.setattr(trials, "_measured", lambda *given: kept.append(given) or inner(*given))
    found = outcome(table, measure=f"retrieval/a->b/recall@{k}", slots=ALIGN)
    model, _, dataset, rows, _ = kept[0]
    embedded = {name: dict(zip(*model.embeddings(dataset)[name], strict=True)) for name in "ab"}
    both = sorted(embedded["a"].keys() & embedded["b"].keys())
    assert both == [i for i, row in enumerate(rows) if source["b"][row] is not None]
    expected = np.full(len(rows), np.nan)
    for i in both:
        cosine = {j: float(embedded["a"][i] @ embedded["b"][j]) for j in both}
        hits = [j for j in both if any(source[name][rows[j]] == source[name][rows[i]] for name in "ab")]
        best = max(cosine[j] for j in hits)
        expected[i] = sum(cosine[j] > best + 1e-6 for j in both) < k
    assert np.array_equal(found.rows, expected, equal_nan=True)
    assert found.value == pytest.approx(np.nanmean(expected))
    assert found.predicted is None


def test_what_has_no_embeddings_cannot_be_searched():
    with pytest.raises(RecipeError, match=r"no embeddings of 'bb'.*Did you mean"):
        outcome(grounded.table(), measure="retrieval/a->bb/recall@1", slots=ALIGN)


@pytest.mark.parametrize("measure", ["test/acuracy", "acuracy"])
def test_an_unknown_measure_is_said_with_the_nearest(measure):
    with pytest.raises(RecipeError, match=r"of kind class have no measure.*accuracy"):
        outcome(grounded.table(), measure=measure)


def test_measures_of_rows_and_others_are_those_of_what_is_predicted():
    from sklearn.metrics import f1_score, log_loss

    table = grounded.table(grounded.columns(noise=3.0))
    truth = np.arange(90)[4::5] % 3
    found = outcome(table, measure="test/macro_f1")
    assert found.value == pytest.approx(f1_score(truth, found.predicted.argmax(1), average="macro"))
    assert found.rows is None
    found = outcome(table, measure="test/log_loss")
    assert found.value == pytest.approx(log_loss(truth, found.predicted, labels=[0, 1, 2]), rel=1e-4)
    assert found.value == pytest.approx(np.mean(found.rows))
    assert not trials.higher("test/log_loss", "class")
    assert trials.higher("test/accuracy", "class")


def test_rows_without_a_label_are_judged_by_nothing():
    source = grounded.columns()
    source["label"][4] = None
    found = outcome(grounded.table(source))
    assert np.isnan(found.rows[0])
    assert not np.isnan(found.rows[1:]).any()
    assert found.value == pytest.approx(found.rows[1:].mean())
    assert np.isfinite(found.predicted).all()


def test_a_training_that_breaks_down_says_so(monkeypatch):
    inner = trials.train

    def broken(*given, **how):
        fitted = inner(*given, **how)
        fitted.history[2]["train"]["supervised/label"] = float("nan")
        return fitted

    assert outcome(grounded.table()).finite
    monkeypatch.setattr(trials, "train", broken)
    assert not outcome(grounded.table(), seed=1).finite


def test_only_the_final_training_is_done_again_with_the_validation_rows(monkeypatch):
    said, inner = [], trials.train

    def heard(table, encoded, recipe, rows, **how):
        fitted = inner(table, encoded, recipe, rows, **how)
        said.append((len(rows["test"]), fitted.model.info["refit"]))
        return fitted

    monkeypatch.setattr(trials, "train", heard)
    table = grounded.table()
    recipe = grounded.recipe(table, "training.refit=true")
    for final in (False, True):
        run(Trial(grounded.place(table), recipe, "test/accuracy", 0, final=final))
    assert said == [(0, False), (0, True)]


def test_parameters_and_multiply_adds_are_those_of_the_layers():
    """Linear maps 4 -> 8 and 3 -> 8, one 8 -> 8 with bias for each modality, and a head 8 -> 3."""
    table = grounded.table(grounded.columns(6))
    linear, concatenation, head = (4 + 3) * 8, 2 * 8 * 8, 8 * 3
    none = {"projection": None}
    with_maps, without = (grounded.recipe(table, fusion=fusion, **none) for fusion in ({"concatenation": {}}, "mean"))
    assert count(table, without, "cost/multiply_adds") == 6 * (linear + head)
    assert count(table, with_maps, "cost/multiply_adds") == 6 * (linear + concatenation + head)
    gap = count(table, with_maps, "cost/parameters") - count(table, without, "cost/parameters")
    assert gap == concatenation + 2 * 8
    width = count(table, grounded.recipe(table, "width=16", fusion="mean", **none), "cost/multiply_adds")
    assert width == 2 * count(table, without, "cost/multiply_adds")
    assert not trials.higher("cost/parameters", "class")


def test_absent_cells_cost_nothing():
    source = grounded.columns(10)
    source["b"] = [None] * 4 + source["b"][4:]
    table = grounded.table(source)
    recipe = grounded.recipe(table, fusion="mean", projection=None)
    assert count(table, recipe, "cost/multiply_adds") == 10 * (4 * 8 + 8 * 3) + 6 * 3 * 8


def numbered(trial, seeds):
    return [[replace(trial, seed=seed)] for seed in seeds]


def test_all_outcomes_come_in_order_whatever_is_there_already(trial):
    each = {seed: run(replace(trial, seed=seed)) for seed in (1, 3)}
    found = list(run_all([*numbered(trial, range(5)), [replace(trial, seed=3), replace(trial, seed=0)]]))
    assert [len(job) for job in found] == [1, 1, 1, 1, 1, 2]
    for seed, (one,) in enumerate(found[:5]):
        same(one, run(replace(trial, seed=seed)))
    for seed, one in each.items():
        same(found[seed][0], one)
    same(found[5][0], found[3][0])
    same(found[5][1], found[0][0])


def test_jobs_that_were_stopped_go_on_where_they_were(trial, monkeypatch):
    asked = grounded.stopping(monkeypatch, 3)
    with pytest.raises(KeyboardInterrupt):
        list(run_all(numbered(trial, range(5))))
    found = list(run_all(numbered(trial, range(5))))
    assert asked == [0, 1, 2, 2, 3, 4]
    monkeypatch.setattr(trials, "train", forbidden)
    for (one,), (again,) in zip(found, run_all(numbered(trial, range(5))), strict=True):
        same(one, again)


def test_nothing_to_do_is_nothing():
    assert list(run_all([])) == []
    assert list(run_all([[], []])) == [[], []]


def test_an_outcome_does_not_depend_on_the_threads_that_are_free(monkeypatch, tmp_path):
    """A job that is left over runs in this process with all threads, several run beside each other with one each."""
    table = tables.table({"factors": {"rows": 600, "modalities": 3}}, seed=1)
    recipe = resolve(table.schema, None, ("training.epochs=2", "training.refit=false"))
    trial, found, before = Trial(grounded.place(table), recipe, "test/accuracy", 0), [], torch.get_num_threads()
    try:
        for threads in (1, 2):
            monkeypatch.setenv("PLAIT_CACHE", str(tmp_path / str(threads)))
            torch.set_num_threads(threads)
            found.append(run(trial).predicted)
    finally:
        torch.set_num_threads(before)
    assert np.array_equal(*found)


@pytest.mark.slow
def test_processes_beside_each_other_find_the_same(monkeypatch, tmp_path):
    """The cache has what they found, and equals what is found here."""
    monkeypatch.undo()
    monkeypatch.setenv("PLAIT_CACHE", str(tmp_path / "beside"))
    load = partial(tables.table, {"factors": {"rows": 60, "modalities": 2, "unique": 0}}, seed=3)
    table = load()
    rows = split(table)
    place = Place(load, table.fingerprint(), rows["train"], rows["validation"], rows["test"])
    trial = Trial(place, grounded.recipe(table), "test/accuracy", 0)
    beside = [job[0] for job in run_all(numbered(trial, range(3)))]
    monkeypatch.setattr(trials, "train", forbidden)
    for one, (again,) in zip(beside, run_all(numbered(trial, range(3))), strict=True):
        same(one, again)
    monkeypatch.undo()
    monkeypatch.setenv("PLAIT_CACHE", str(tmp_path / "here"))
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for seed, one in enumerate(beside):
            same(replace(run(replace(trial, seed=seed)), seconds=one.seconds), one)
    finally:
        torch.set_num_threads(before)
    assert os.listdir(tmp_path / "here/trials")

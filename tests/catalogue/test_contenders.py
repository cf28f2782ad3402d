"""The folds of a user's own table."""

import grounded
import numpy as np
import pytest

from plait.catalogue.contenders import ground
from plait.core.errors import DataError

HOW = {"schema": None, "target": "label"}


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("PLAIT_CACHE", str(tmp_path / "cache"))


def places(where):
    return [*where.grounds.searches, *(unit.place for unit in where.grounds.units)]


def test_rows_without_a_label_are_learned_from_and_never_judged():
    source = grounded.columns(80)
    for row in range(0, 80, 10):
        source["label"][row] = None
    where = ground(source, HOW, k=4)
    unlabelled = set(range(0, 80, 10))
    for place in places(where):
        assert unlabelled <= set(place.train)
        assert not unlabelled & {*place.test, *place.validation}
    assert sorted(np.concatenate([u.place.test for u in where.grounds.units])) == sorted(set(range(80)) - unlabelled)


def test_rare_classes_are_left_out_and_said():
    source = grounded.columns(80)
    source["label"][3] = source["label"][4] = "rare"
    where = ground(source, HOW)
    assert len(where.table) == 78
    assert "rare" not in where.table.column("label").to_pylist()
    assert any("2 rows are of a class" in note for note in where.notes)


def test_copies_stay_together_and_few_values_do_not():
    source = grounded.columns(80)
    for row in range(0, 80, 8):
        source["a"][row + 1] = source["a"][row]
    source["word"] = [["red apple", "green pear"][i % 2] for i in range(80)]
    where = ground(source, {**HOW, "kinds": {"word": "text"}})
    assert any("word" in note for note in where.notes)
    for place in places(where):
        judged = set(place.test.tolist())
        for row in range(0, 80, 8):
            assert (row in judged) == (row + 1 in judged) or not judged & {row, row + 1}
    assert len(np.unique(where.groups)) == 70


def test_a_group_column_and_copies_hold_together():
    source = {**grounded.columns(60), "who": [f"p{i // 3}" for i in range(60)]}
    source["a"][3] = source["a"][0]
    where = ground(source, {**HOW, "group": "who"}, k=4)
    assert len(set(where.groups[:6].tolist())) == 1
    assert len(np.unique(where.groups)) == 19


def test_what_is_later_judges_what_was_learned_earlier():
    rng = np.random.default_rng(0)
    when = rng.permutation(np.repeat(np.arange(40), 2)).astype(float)
    source = {**grounded.columns(80), "t": when.tolist(), "who": [f"p{i // 2}" for i in range(80)]}
    where = ground(source, {**HOW, "ignore": ["t"], "group": "who"}, time="t", k=4)
    groups = where.groups
    assert len(where.grounds.units) == 4
    for place in places(where):
        assert len(place.train)
        assert len(place.validation)
        assert len(place.test)
        assert max(when[place.train].max(), when[place.validation].max()) < when[place.test].min()
        assert when[place.train].max() < when[place.validation].min()
        assert not set(groups[place.test]) & {*groups[place.train], *groups[place.validation]}
    for unit in where.grounds.units:
        for s in unit.searches:
            place = where.grounds.searches[s]
            assert when[place.test].max() < when[unit.place.test].min()


@pytest.mark.parametrize("form", ["2024-{:02d}-03", "2024-{:02d}-03 10:30:00", "{}"])
def test_times_are_read_as_dates_or_numbers(form):
    source = {**grounded.columns(60), "t": [form.format(1 + i % 12) for i in range(60)]}
    source["t"][7] = None
    where = ground(source, {**HOW, "ignore": ["t"]}, time="t", k=3)
    assert len(where.table) == 59
    assert any("1 rows say no t" in note for note in where.notes)
    said = where.table.column("t").to_pylist()
    moment = np.array([int(str(s).split(" ")[0].split("-")[1] if "-" in str(s) else s) for s in said])
    for unit in where.grounds.units:
        assert moment[unit.place.train].max() < moment[unit.place.test].min()


def test_what_is_no_time_or_too_little_is_said():
    source = {**grounded.columns(60), "t": [f"day {i}" for i in range(60)]}
    with pytest.raises(DataError, match="t is no time"):
        ground(source, {**HOW, "ignore": ["t"]}, time="t")
    with pytest.raises(DataError, match="too small"):
        ground({**grounded.columns(60), "t": [1.0] * 60}, {**HOW, "ignore": ["t"]}, time="t")
    with pytest.raises(DataError, match="too small"):
        ground(grounded.columns(12), HOW, k=5)


def test_rows_that_a_column_gives_judge():
    source = {**grounded.columns(60), "split": ["test" if i % 4 == 0 else "train" for i in range(60)]}
    where = ground(source, {**HOW, "split": "split"})
    (unit,) = where.grounds.units
    assert unit.place.test.tolist() == list(range(0, 60, 4))
    for place in where.grounds.searches:
        assert not {*place.train, *place.validation, *place.test} & set(unit.place.test)
    assert any("one fold" in note for note in where.notes)

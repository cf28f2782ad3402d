import grounded
import numpy as np
import pytest
from scipy.stats import binom

from plait.catalogue import grounds
from plait.catalogue.grounds import ground
from plait.core.errors import DataError

MADE = {"factors": {"rows": 60, "modalities": 2, "unique": 0, "corrupted": 0.3}}
OFF = {"factors": {"rows": 60, "modalities": 2, "unique": 0, "corrupted": 0.0}}


def source(size=200, copies=True):
    """Rows of which some repeat another one's cell of a; three rows without a label, and a class of three rows."""
    out = grounded.columns(size)
    if copies:
        for row in range(0, size, 8):
            out["a"][row] = out["a"][(row // 40) * 40]
        for row in range(5, size, 20):
            out["b"][row] = out["b"][row - 1]
    for row in (11, 12, 13):
        out["label"][row] = None
    for row in (21, 22, 23):
        out["label"][row] = "class rare"
    return out


@pytest.fixture
def toy(collected):
    return collected(grounded.table(source()))


def places(where):
    return [*where.grounds.searches, *(unit.place for unit in where.grounds.units)]


def labels(where):
    return np.array(where.table.column("label").to_pylist())


@pytest.mark.parametrize("data", ["toy", {"toy": {"labels": 40}}, {"toy": {"train": 90, "labels": 30}}])
@pytest.mark.parametrize("repeats", [1, 2])
def test_no_group_is_torn_anywhere(toy, data, repeats):
    where = ground(data, ("e", 0, 1), repeats)
    assert len(np.unique(where.groups)) < len(where.groups)
    for place in places(where):
        parts = [set(where.groups[rows]) for rows in (place.train, place.validation, place.test)]
        assert all(parts), "empty"
        for one in range(3):
            for other in range(one):
                assert not parts[one] & parts[other]


def test_groups_are_equal_cells_and_nothing_else(toy):
    where = ground("toy", ("e", 0, 1))
    cells = [toy_column.to_pylist() for toy_column in (where.table.column("a"), where.table.column("b"))]
    for values in cells:
        for i, value in enumerate(values):
            for j in range(i):
                if values[j] == value:
                    assert where.groups[i] == where.groups[j]
    alone = [i for i in range(len(where.groups)) if all(values.count(values[i]) == 1 for values in cells)]
    assert len(np.unique(where.groups[alone])) == len(alone)


@pytest.mark.parametrize("data", ["toy", {"toy": {"labels": 40}}])
def test_no_search_of_a_unit_has_a_row_that_it_is_judged_on(toy, data):
    where = ground(data, ("e", 0, 1), 2)
    for unit in where.grounds.units:
        judged = set(unit.place.test.tolist())
        assert unit.searches
        for s in unit.searches:
            search = where.grounds.searches[s]
            for rows in search.rows:
                assert not judged & set(rows.tolist())
            learned = set(np.concatenate([unit.place.train, unit.place.validation]).tolist())
            assert set(np.concatenate(search.rows).tolist()) <= learned


def test_no_search_on_made_data_shares_a_draw_with_a_unit(few):
    where = ground(MADE, ("e", 0, 1))
    searches = {place.content for place in where.grounds.searches}
    units = [unit.place.content for unit in where.grounds.units]
    assert len(searches) == 2
    assert len(set(units)) == len(units) == 3
    assert not searches & set(units)
    assert where.made
    assert where.rows == sum(len(unit.place.test) for unit in where.grounds.units)


def test_there_are_twenty_draws_and_two_that_pick():
    assert (grounds.DRAWS, grounds.SEARCHES, grounds.FOLDS) == (20, 2, 5)


@pytest.mark.parametrize("repeats", [1, 2, 4])
def test_every_row_is_judged_once_a_repeat(toy, repeats):
    where = ground("toy", ("e", 0, 1), repeats)
    judged = np.bincount(np.concatenate([u.place.test for u in where.grounds.units]), minlength=where.rows)
    assert len(where.grounds.units) == 5 * repeats
    assert (judged == repeats).all()
    firsts = {tuple(u.place.test) for u in where.grounds.units}
    assert len(firsts) == 5 * repeats


def test_a_final_model_learns_from_all_that_is_not_judged(toy):
    where = ground("toy", ("e", 0, 1))
    for unit in where.grounds.units:
        parts = np.concatenate([unit.place.train, unit.place.validation, unit.place.test])
        assert sorted(parts) == list(range(where.rows))


def test_rows_without_a_label_and_classes_of_few_groups_are_left_out_and_said(toy):
    where = ground("toy", ("e", 0, 1))
    assert where.rows == 200 - 6
    assert set(labels(where)) == {"class 0", "class 1", "class 2"}
    assert where.notes == ["6 rows have no label, or one of a class with fewer than 5 groups."]


def test_rows_that_repeat_each_other_do_not_make_a_class_large(collected):
    made = grounded.columns(100)
    for row in (21, 22, 23, 24, 25, 26):
        made["label"][row] = "class copied"
        made["a"][row] = made["a"][21]
    collected(grounded.table(made))
    where = ground("toy", ("e", 0, 1))
    assert where.rows == 94
    assert "class copied" not in set(labels(where))


def test_where_nothing_is_left_out_nothing_is_said(collected):
    collected(grounded.table())
    assert ground("toy", ("e", 0, 1)).notes == []


def test_every_class_is_in_every_part_and_folds_have_its_share(toy):
    where = ground("toy", ("e", 0, 1))
    said = labels(where)
    for place in places(where):
        for rows in (place.train, place.test):
            counts = np.array([(said[rows] == c).sum() for c in ("class 0", "class 1", "class 2")])
            assert (np.abs(counts / len(rows) - 1 / 3) < 0.12).all(), counts


@pytest.mark.parametrize(("train", "known"), [(60, None), (None, 30), (90, 30)])
def test_as_many_rows_and_labels_are_learned_from_as_the_knobs_say(collected, train, known):
    collected(grounded.table(source(copies=False)))
    knobs = {name: value for name, value in (("train", train), ("labels", known)) if value}
    where = ground({"toy": knobs}, ("e", 0, 1))
    said = labels(where)
    for unit in where.grounds.units:
        place = unit.place
        learned = np.concatenate([place.train, place.validation])
        assert len(np.unique(learned)) == len(learned)
        expected = train or where.rows - len(place.test)
        assert abs(len(learned) - expected) <= 1
        shown = np.setdiff1d(learned, place.unlabelled)
        assert abs(len(shown) - (known or expected)) <= 1
        counts = np.array([(said[shown] == c).sum() for c in ("class 0", "class 1", "class 2")])
        assert counts.max() - counts.min() <= 3
        assert set(place.unlabelled) <= set(place.train)


def test_hidden_labels_are_hidden_in_every_search_and_judge_none(toy):
    where = ground({"toy": {"labels": 40}}, ("e", 0, 1))
    for unit in where.grounds.units:
        hidden = set(unit.place.unlabelled.tolist())
        assert len(hidden) > 50
        for s in unit.searches:
            search = where.grounds.searches[s]
            assert set(search.unlabelled.tolist()) == hidden
            assert hidden <= set(search.train.tolist())
            assert not hidden & set(search.test.tolist())
            assert not hidden & set(search.validation.tolist())
        assert not hidden & set(unit.place.validation.tolist())


@pytest.mark.parametrize(("known", "enough"), [(40, 60), (100, 60)])
def test_few_labels_pick_by_several_quarters_and_many_by_one(toy, known, enough):
    """As many quarters as it takes to judge 60 rows, or all four."""
    where = ground({"toy": {"labels": known}}, ("e", 0, 1))
    for unit in where.grounds.units:
        judged = [where.grounds.searches[s].test for s in unit.searches]
        assert len(np.unique(np.concatenate(judged))) == sum(map(len, judged))
        total = sum(map(len, judged))
        assert total >= enough - 4 or len(judged) == 4
        assert total - max(map(len, judged)) < enough


def test_two_regimes_of_a_planted_claim_have_the_same_bits(few):
    on, off = (ground(data, ("e", 0, 1)) for data in (MADE, OFF))
    for one, other in zip(places(on), places(off), strict=True):
        assert one.content != other.content
        a, b = one.load(), other.load()
        assert a.column("shared_0").to_pylist() == b.column("shared_0").to_pylist()
        clean = ~np.array(a.column("corrupted_a").to_pylist())
        cells = [np.array(t.column("a").to_pylist(), float)[clean] for t in (a, b)]
        assert np.array_equal(*cells)
        for first, second in zip(one.rows, other.rows, strict=True):
            assert np.array_equal(first, second)


@pytest.mark.parametrize("other", [("e", 0, 2), ("e", 1, 1), ("f", 0, 1)])
def test_another_attempt_claim_or_entry_draws_anew(few, other):
    one, two = (ground(MADE, tag) for tag in (("e", 0, 1), other))
    assert {p.content for p in places(one)}.isdisjoint(p.content for p in places(two))


def test_the_same_attempt_draws_the_same(few):
    one, two = (ground(MADE, ("e", 0, 1)) for _ in range(2))
    assert [p.key() for p in places(one)] == [p.key() for p in places(two)]
    for place in places(one):
        assert place.load().fingerprint() == place.content


def test_entries_share_the_folds_of_a_collected_table_and_attempts_do_not(toy):
    one, two, again = (ground("toy", tag) for tag in (("e", 0, 1), ("f", 3, 1), ("e", 0, 2)))
    assert [p.key() for p in places(one)] == [p.key() for p in places(two)]
    same = [np.array_equal(a.test, b.test) for a, b in zip(places(one), places(again), strict=True)]
    assert not any(same)


def test_test_rows_of_another_attempt_are_independent_of_those_before(toy):
    """A row that was judged in the first fold is in the first one of the next attempt as often as chance has it."""
    one, two = (ground("toy", ("e", 0, k)) for k in (1, 2))
    first, second = (set(where.grounds.units[0].place.test.tolist()) for where in (one, two))
    shared, n = len(first & second), len(first)
    assert binom.cdf(shared, n, 0.2) > 1e-3
    assert binom.sf(shared - 1, n, 0.2) > 1e-3


def test_an_unknown_set_or_knob_is_said():
    with pytest.raises(DataError, match="no data set"):
        ground("toyy", ("e", 0, 1))

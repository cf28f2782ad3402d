import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.core.errors import SchemaError
from plait.data.read import read
from plait.data.splits import PARTS, folds, folds_among, split, strata


def names(n):
    return [f"row {i}" for i in range(n)]


@settings(max_examples=60, deadline=None)
@given(
    groups=st.lists(st.one_of(st.none(), st.integers(0, 12)), min_size=0, max_size=60),
    seed=st.integers(0, 5),
    data=st.data(),
)
def test_every_row_is_in_one_part_and_no_group_in_two(groups, seed, data):
    codes = data.draw(st.lists(st.integers(-1, 3), min_size=len(groups), max_size=len(groups)))
    parts = split(names(len(groups)), seed=seed, groups=groups, stratify=codes)
    assert list(parts) == list(PARTS)
    together = np.concatenate(list(parts.values()))
    assert sorted(together.tolist()) == list(range(len(groups)))
    for rows in parts.values():
        assert rows.dtype == np.int64
        assert (np.diff(rows) > 0).all()
    where = {row: part for part, rows in parts.items() for row in rows.tolist()}
    for group in set(groups) - {None}:
        assert len({where[row] for row, g in enumerate(groups) if g == group}) == 1
    if len({g for g in groups if g is not None}) + groups.count(None) >= 3:
        assert all(len(rows) for rows in parts.values())


def test_sizes_and_class_shares_follow_the_fractions():
    codes = np.random.default_rng(0).choice(4, 2000, p=[0.6, 0.3, 0.08, 0.02])
    parts = split(names(2000), stratify=codes, seed=1)
    for part, fraction in zip(PARTS, (0.7, 0.15, 0.15), strict=True):
        assert len(parts[part]) == pytest.approx(2000 * fraction, abs=3)
        for code in range(4):
            expected = (codes == code).sum() * fraction
            assert (codes[parts[part]] == code).sum() == pytest.approx(expected, abs=3)


def test_grouped_parts_have_their_share_of_large_groups():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(400), rng.choice([1, 2, 5, 10], 400))
    parts = split(names(len(groups)), groups=groups.tolist(), seed=0)
    for part, fraction in zip(PARTS, (0.7, 0.15, 0.15), strict=True):
        assert len(parts[part]) / len(groups) == pytest.approx(fraction, abs=0.01)
        sizes = np.bincount(groups)[np.unique(groups[parts[part]])]
        assert (sizes == 10).sum() == pytest.approx((np.bincount(groups) == 10).sum() * fraction, abs=4)


def test_many_small_classes_still_give_a_test_part():
    parts = split(names(600), stratify=np.repeat(np.arange(200), 3))
    assert len(parts["test"]) == pytest.approx(90, abs=20)


def test_a_class_with_one_row_is_trained_on():
    codes = [0] * 50 + [1] * 50 + [2]
    for seed in range(10):
        assert 100 in split(names(101), stratify=codes, seed=seed)["train"]


def test_it_depends_on_ids_and_seed_and_not_on_the_order_of_rows():
    ids = names(200)
    codes = np.arange(200) % 3
    parts = split(ids, stratify=codes, seed=3)
    order = np.random.default_rng(1).permutation(200)
    shuffled = split([ids[i] for i in order], stratify=codes[order], seed=3)
    for part in PARTS:
        assert {ids[i] for i in parts[part]} == {ids[order[i]] for i in shuffled[part]}
    other = split(ids, stratify=codes, seed=4)
    assert set(parts["test"].tolist()) != set(other["test"].tolist())


@pytest.mark.parametrize("n", range(8))
def test_tiny_tables(n):
    parts = split(names(n), stratify=list(range(n)))
    assert [bool(len(parts[part])) for part in PARTS] == [n >= 1, n >= 3, n >= 2]


def test_fractions_of_zero_give_an_empty_part_and_wrong_ones_an_error():
    assert len(split(names(50), fractions=(0.8, 0.0, 0.2))["validation"]) == 0
    with pytest.raises(ValueError, match="add up to 1"):
        split(names(5), fractions=(0.5, 0.1, 0.1))
    with pytest.raises(ValueError, match="3 groups for 5 rows"):
        split(names(5), groups=[1, 2, 3])


def test_folds_cover_all_rows_once_per_repeat_and_keep_groups_together():
    groups = np.arange(300) // 3
    codes = (np.arange(300) // 30) % 2
    for repeat in range(2):
        found = list(folds(300, k=5, repeats=2, groups=groups.tolist(), stratify=codes, seed=7))[repeat * 5 :][:5]
        assert sorted(np.concatenate([test for _, test in found]).tolist()) == list(range(300))
        for train, test in found:
            assert not set(groups[train]) & set(groups[test])
            assert len(test) == pytest.approx(60, abs=3)
            assert codes[test].mean() == pytest.approx(0.5, abs=0.06)
    first, second = (np.concatenate([test for _, test in list(folds(300, repeats=2))[at : at + 5]]) for at in (0, 5))
    assert first.tolist() != second.tolist()


def test_too_few_groups_for_folds():
    with pytest.raises(ValueError, match="5 folds of 2 groups"):
        list(folds(10, k=5, groups=[0, 1] * 5))


def table(**columns):
    n = len(next(iter(columns.values())))
    return read({"said": [f"some words {i} here" for i in range(n)], **columns}, kinds={"said": "text"}, target="y")


def test_a_given_column_is_obeyed_with_its_aliases():
    parts = ["Train", "dev", "TEST", "training", "val", "valid", "validation", None, "train"]
    found = split(read(table(y=["a", "b"] * 4 + ["a"], fold=parts), split="fold"))
    assert {part: rows.tolist() for part, rows in found.items()} == {
        "train": [0, 3, 8],
        "validation": [1, 4, 5, 6],
        "test": [2],
    }


def test_a_wrong_value_in_a_given_column_names_row_and_value():
    with pytest.raises(SchemaError, match=r"'fold' says 'tests' in row 1.*Did you mean 'test'"):
        split(read(table(y=["a", "b"], fold=["train", "tests"]), split="fold"))
    with pytest.raises(SchemaError, match="no row to train on"):
        split(read(table(y=["a", "b"], fold=["test", "test"]), split="fold"))


def test_test_labels_decide_nothing_where_the_split_is_given():
    fold = (["train"] * 8 + ["test"] * 2) * 10
    labels = [["a", "b", "c"][i % 3] for i in range(100)]
    group = [f"g{i // 3}" for i in range(100)]
    changed = [("zzz" if fold[i] == "test" else label) for i, label in enumerate(labels)]
    one = read(table(y=labels, fold=fold, group=group), split="fold", target="y", group="group")
    two = read(table(y=changed, fold=fold, group=group), split="fold", target="y", group="group")
    first, second = split(one), split(two)
    assert all((first[part] == second[part]).all() for part in PARTS)
    assert len(first["validation"]) > 0
    assert one.schema == two.schema
    where = {row: part for part, rows in first.items() if part != "test" for row in rows.tolist()}
    for g in set(group):
        assert len({where[i] for i in range(100) if group[i] == g and i in where}) <= 1


def test_the_schema_brings_groups_and_strata():
    t = read(table(y=["a", "b"] * 30, g=[i // 2 for i in range(60)]), group="g")
    parts = split(t)
    where = {row: part for part, rows in parts.items() for row in rows.tolist()}
    assert all(where[i] == where[i + 1] for i in range(0, 60, 2))


def test_strata_of_each_kind_of_target():
    assert strata(table(y=["a", None, "b"])).tolist() == [0, -1, 1]
    assert np.bincount(strata(table(y=np.linspace(0, 1, 50).tolist()))).tolist() == [10] * 5
    assert strata(table(y=[["a", "b"], ["a"], [], None])).tolist() == [1, 0, 2, -1]
    t = read({"said": ["a b c"] * 3, "t": [1.0, 2.0, None], "e": [1, 0, None]}, target="t,e", kinds={"said": "text"})
    assert strata(t).tolist() == [1, 0, -1]
    assert strata(read({"said": ["x y"]})) is None


def test_folds_among_some_rows_are_those_of_a_table_of_them():
    table = read({"x": [i + 0.5 for i in range(20)]})
    rows, groups = np.array([1, 3, 4, 8, 9, 12, 15, 19]), np.arange(20) // 2
    found = list(folds_among(table, rows, 3, groups=groups, seed=1))
    assert sorted(np.concatenate([part for _, part in found])) == rows.tolist()
    for rest, part in found:
        assert sorted([*rest, *part]) == rows.tolist()
        assert not set(groups[rest]) & set(groups[part])
    ids = [table.ids[row] for row in rows]
    expected = list(folds(ids, k=3, groups=groups[rows].tolist(), seed=1))
    assert [part.tolist() for _, part in found] == [rows[part].tolist() for _, part in expected]

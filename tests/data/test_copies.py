import numpy as np

from plait.data.copies import copies, left_out, together, witnesses
from plait.data.duplicates import equal_groups
from plait.data.read import read
from plait.data.splits import split

WORDS = ["What colour is it?", "Which shape is it?", "Is it red?", "How many are there?", "Is it big?", "Where is it?"]


def asked(pictures=30, questions=4, **more):
    """Rows ask `questions` of the questions of each picture; a picture is a vector of its own."""
    rng = np.random.default_rng(0)
    rows = [(p, q) for p in range(pictures) for q in rng.permutation(len(WORDS))[:questions]]
    source = {
        "picture": [[float(p), 1.0, 0.5] for p, _ in rows],
        "question": [WORDS[q] for _, q in rows],
        **{name: [value(p, q) for p, q in rows] for name, value in more.items()},
    }
    return read(source, kinds={"question": "text"}, ignore=list(more)), rows


def same(groups, keys):
    """Whether two ways to group rows are one."""
    codes = np.unique(keys, return_inverse=True)[1]
    return len(set(zip(groups.tolist(), codes.tolist(), strict=True))) == len(set(groups.tolist())) == len(set(codes))


def test_a_question_that_is_asked_of_many_pictures_joins_none_of_them():
    table, rows = asked()
    assert len(np.unique(equal_groups(table))) == 1
    groups, few = copies(table)
    assert same(groups, [p for p, _ in rows])
    assert few == ["question"]
    (note,) = left_out(few)
    assert note.startswith("Equal cells of question join too many rows to be copies")


def test_a_chain_is_cut_where_most_cells_are_equal():
    """No question is asked of as many pictures as one part has; together with the pictures they join all rows."""
    words = [f"Is it number {i}?" for i in range(20)]
    rows = [(p, (p + i) % 20) for p in range(40) for i in range(3)]
    source = {"picture": [[float(p), 1.0] for p, _ in rows], "question": [words[q] for _, q in rows]}
    table = read(source, kinds={"question": "text"})
    assert np.bincount(equal_groups(table, ["question"])).max() == 6 < len(rows) / 5
    assert same(copies(table)[0], [p for p, _ in rows])


def test_true_copies_stay_together():
    source = {"picture": [[float(p // 2), 1.0] for p in range(30)], "note": [f"note {p}" for p in range(30)]}
    table = read(source, kinds={"note": "text"})
    groups, few = copies(table)
    assert same(groups, [p // 2 for p in range(30)])
    assert few == []
    assert witnesses(table)[0].tolist() == groups.tolist()


def test_what_is_given_joins_however_many_it_joins():
    table, rows = asked()
    given = [[f"shelf {p % 2}" for p, _ in rows]]
    groups, few = copies(table, also=given)
    assert same(groups, [p % 2 for p, _ in rows])
    assert few == ["question"]


def test_a_group_column_is_what_counts():
    table, rows = asked(visitor=lambda p, q: f"visitor {q}")
    assert table.schema.group is None
    table = read(
        {"picture": [[float(p), 1.0] for p, _ in rows], "visitor": [f"visitor {q}" for _, q in rows]},
        group="visitor",
    )
    groups, few = witnesses(table)
    assert same(groups, [q for _, q in rows])
    assert few == []


def test_a_pair_of_copies_is_one_in_however_few_rows():
    table = read({"note": ["one", "two", "one"]}, kinds={"note": "text"})
    assert copies(table)[0].tolist() == [0, 1, 0]
    assert copies(table.take([0, 1]))[0].tolist() == [0, 1]
    assert copies(table)[1] == []


def repeated(size=200, copies=40, **roles):
    """The last rows have a picture of the first ones, and words of their own."""
    rng = np.random.default_rng(1)
    shown = [*range(size - copies), *range(copies)]
    pictures = rng.normal(size=(size, 3)).round(3)
    source = {
        "code": [f"r{row:03}" for row in range(size)],
        "picture": pictures[shown].tolist(),
        "words": [f"the words of {row}" for row in range(size)],
        "y": rng.choice(["a", "b"], size).tolist(),
        "box": [f"box {row // 2}" for row in range(size)],
    }
    order = rng.permutation(size)
    shuffled = {name: [values[row] for row in order] for name, values in source.items()}
    given = {"kinds": {"words": "text"}, "target": "y", "id": "code", **roles}
    return read(source, **given), read(shuffled, **given), order


def torn(parts, rows, others):
    """How many rows stand in another part than the row beside them."""
    part = {row: name for name, found in parts.items() for row in found.tolist()}
    return sum(part[row] != part[other] for row, other in zip(rows, others, strict=True))


def test_a_draw_keeps_copies_together_whatever_the_order_of_rows():
    table, shuffled, order = repeated(ignore=["box"])
    groups = together(table)
    assert sum(group is not None for group in groups) == 80
    parts = split(table, groups=groups, seed=3)
    assert torn(parts, range(40), range(160, 200)) == 0
    assert torn(split(table, seed=3), range(40), range(160, 200)) > 5
    again = split(shuffled, groups=together(shuffled), seed=3)
    for name, rows in parts.items():
        assert sorted(order[again[name]].tolist()) == rows.tolist()


def test_a_group_column_says_what_stays_together_in_place_of_copies():
    table, _, _ = repeated(group="box")
    assert together(table) == [f"box {row // 2}" for row in range(200)]


def test_without_copies_a_draw_is_what_it_is_without_groups():
    table, _, _ = repeated(copies=0, ignore=["box"])
    assert set(together(table)) == {None}
    plain, grouped = split(table, seed=5), split(table, groups=together(table), seed=5)
    assert all(np.array_equal(plain[name], grouped[name]) for name in plain)

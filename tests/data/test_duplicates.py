import numpy as np

from plait.data.duplicates import duplicates, equal_groups, given_groups, groups_of
from plait.data.read import read


def table():
    return read(
        {
            "photo": [b"\x89PNG1", b"\x89PNG2", b"\x89PNG1", None, b"\x89PNG1", b"\x89PNG3"],
            "said": ["a bee", "a wasp", "an ant", "an ant", None, "a moth in the night"],
            "age": [1.5, 1.5, 1.5, 1.5, 1.5, 1.5],
        },
        kinds={"said": "text"},
    )


def test_counts_within_the_table_and_across_splits():
    found = duplicates(table(), {"train": np.array([0, 1]), "validation": np.array([2, 3]), "test": np.array([4, 5])})
    assert set(found) == {"photo", "said"}
    photo = found["photo"]
    assert (photo.present, photo.repeated, photo.across, photo.rows) == (5, 2, 2, ((0, 2, 4),))
    said = found["said"]
    assert (said.present, said.repeated, said.across, said.rows) == (5, 1, 0, ((2, 3),))
    assert duplicates(table())["photo"].across == 0


def test_groups_are_chained_over_modalities():
    assert equal_groups(table()).tolist() == [0, 1, 0, 0, 0, 5]
    assert equal_groups(table(), ["said"]).tolist() == [0, 1, 2, 2, 4, 5]
    assert equal_groups(table(), also=[[None, "k", None, None, None, "k"]]).tolist() == [0, 1, 0, 0, 0, 1]


def test_groups_agree_with_connected_components():
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    rng = np.random.default_rng(0)
    one, two = (rng.integers(0, 60, 120) for _ in range(2))
    t = read({"a": [f"word {v}" for v in one], "b": [f"term {v}" for v in two]}, kinds={"a": "text", "b": "text"})
    same = (one[:, None] == one) | (two[:, None] == two)
    count, labels = connected_components(coo_matrix(same), directed=False)
    found = equal_groups(t)
    assert len(set(found.tolist())) == count
    assert len(set(zip(found.tolist(), labels.tolist(), strict=True))) == count


def test_given_groups_are_those_of_the_column_and_rows_without_one_stand_alone():
    source = {"x": [0.5, 1.5, 2.5, 3.5, 4.5], "who": ["b", "", "a", "b", None]}
    table = read(source, group="who")
    codes = given_groups(table)
    assert codes[0] == codes[3]
    assert len(set(codes.tolist())) == 4
    assert groups_of(table).tolist() == codes.tolist()
    bare = read({"x": source["x"]})
    assert given_groups(bare) is None
    assert groups_of(bare).tolist() == equal_groups(bare).tolist()

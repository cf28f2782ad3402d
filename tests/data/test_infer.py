import json
import re
from datetime import date, datetime

import numpy as np
import pyarrow as pa
import pytest

from plait.core.errors import SchemaError
from plait.data.infer import ordered, sniff
from plait.data.read import read
from plait.data.schema import Modality

N = 40


def schema(**columns):
    return read(columns).schema


def kind(values, **more):
    found = read({"x": values, "rest": [f"a row of words {i}" for i in range(len(values))]}, **more).schema
    return next((m for m in found.modalities.values() if "x" in m.columns), None)


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"\x89PNG\r\n\x1a\n", "image"),
        (b"\xff\xd8\xff\xe0", "image"),
        (b"GIF89a", "image"),
        (b"RIFF\1\2\3\4WEBPVP8 ", "image"),
        (b"II*\0", "image"),
        (b"<?xml version='1.0'?><svg/>", "image"),
        (b"RIFF\1\2\3\4WAVEfmt ", "audio"),
        (b"OggS\0", "audio"),
        (b"fLaC\0", "audio"),
        (b"ID3\4", "audio"),
        (b"plain words", "text"),
        (b"\0\1\2\xff", ""),
        (b"", ""),
    ],
)
def test_sniffing(head, expected):
    assert sniff(head) == expected


def test_columns_of_bytes():
    assert kind([b"\x89PNG"] * N).kind == "image"
    assert kind([None] * 5 + [b"OggS"] * N).kind == "audio"
    assert kind([b"some words"] * N).kind == "text"
    assert kind([b"\0\1\2"] * N) is None
    assert kind([{"bytes": b"OggS", "path": None}] * N).kind == "audio"


@pytest.mark.parametrize(
    ("cells", "why"),
    [
        ([f"pics/{i}.png" for i in range(N)], "there is no /.*pics/0.png"),
        (["a.wav", "b.wav"] * (N // 2), "none of its .wav files is there"),
        ([f"https://example.org/{i}.jpg" for i in range(N)], "is a URL"),
    ],
)
def test_a_column_of_files_that_are_not_there_is_said_to_be_one(cells, why):
    table = read({"photo": cells, "size": [0.5, 1.5] * (N // 2)})
    assert list(table.schema.modalities) == ["tabular"]
    assert any(re.match(rf"photo: ignored .*{why}", note) for note in table.notes), table.notes


def test_words_of_which_some_end_like_files_are_words():
    table = read({"note": [f"see {i}.png" if i % 2 else f"all fine with {i}" for i in range(N)]})
    assert table.schema.modalities["note"].kind == "text"


def test_columns_of_paths_need_a_file_that_exists(tmp_path):
    for name in ("a.png", "b.wav"):
        (tmp_path / name).write_bytes(b"x")
    np.save(tmp_path / "v.npy", np.zeros(7))
    np.save(tmp_path / "t.npy", np.zeros((4, 50)))
    (tmp_path / "s.csv").write_text("time,x,y\n0,1,2\n1,2,3\n3,3,3\n")
    assert kind([str(tmp_path / "a.png")] * N).kind == "image"
    assert kind(["gone.png"] * 3 + [str(tmp_path / "a.png")]).kind == "image"
    assert kind([f"gone{i}.png and more" for i in range(N)]).kind == "text"
    assert kind([str(tmp_path / "b.wav")] * N).kind == "audio"
    assert (kind([str(tmp_path / "v.npy")] * N).kind, kind([str(tmp_path / "v.npy")] * N).width) == ("vector", 7)
    assert (kind([str(tmp_path / "t.npy")] * N).kind, kind([str(tmp_path / "t.npy")] * N).width) == ("tokens", 50)
    walk = kind([str(tmp_path / "s.csv")] * N)
    assert (walk.kind, walk.channels, walk.time) == ("series", ("x", "y"), True)


def test_vector_tokens_and_series_in_lists_and_json():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(N, 6)).round(3).tolist()
    tokens = [rng.normal(size=(int(t), 64)).round(3).tolist() for t in rng.integers(1, 5, N)]
    walks = [rng.normal(size=(int(t), 3)).round(3).tolist() for t in rng.integers(4, 9, N)]
    timed = [[[float(t), *step] for t, step in enumerate(walk)] for walk in walks]
    single = [rng.normal(size=int(t)).round(3).tolist() for t in rng.integers(2, 9, N)]
    for form in (list, lambda cells: [json.dumps(cell) for cell in cells]):
        assert kind(form(vectors)).model_dump(include={"kind", "width"}) == {"kind": "vector", "width": 6}
        assert kind(form(tokens)).model_dump(include={"kind", "width"}) == {"kind": "tokens", "width": 64}
        assert (kind(form(walks)).kind, kind(form(walks)).time, len(kind(form(walks)).channels)) == ("series", False, 3)
        assert (kind(form(timed)).kind, kind(form(timed)).time, len(kind(form(timed)).channels)) == ("series", True, 3)
        assert (kind(form(single)).kind, kind(form(single)).channels) == ("series", ("channel_0",))
        assert kind(form(walks), kinds={"x": "tokens"}).width == 3
        assert kind(form(tokens), kinds={"x": "series"}).kind == "series"
    fixed = pa.array(walks, pa.list_(pa.list_(pa.float32(), 3)))
    assert kind(fixed).kind == "tokens"
    named = kind([[{"t": float(t), "a": 1.0} for t in range(3)]] * N)
    assert (named.kind, named.channels, named.time) == ("series", ("a",), True)
    objects = kind([json.dumps({"time": [1, 2], "a": [1, 2]})] * N)
    assert (objects.channels, objects.time) == (("a",), True)
    assert kind([[[[1.0]]]] * N) is None


def test_text_categories_and_ids():
    assert kind([f"a sentence with number {i}" for i in range(N)]).kind == "text"
    assert kind(["鳥が歌う", "犬が走る", "猫が眠る", "魚が泳ぐ"]).kind == "text"
    city = kind((["Bern", "Oslo", " "] * N)[:N])
    assert (city.kind, dict(city.categories)) == ("tabular", {"x": ("Bern", "Oslo")})
    assert kind([f"word{'abcdefghij'[i % 10]}{i}" for i in range(N)]) is None
    assert kind(["only"]).kind == "text"
    assert kind([True, False] * 20).categories["x"] == ("False", "True")
    assert kind([1, 5, 5, 9] * 10).categories == {}
    assert kind([str(i % 7) for i in range(N)]).categories == {}
    assert kind([date(2024, 1, 1 + i % 9) for i in range(N)]).kind == "tabular"


def test_dates_are_seconds():
    table = read({"when": [datetime(1970, 1, 2), datetime(1970, 1, 1, 0, 0, 1), None], "b": [1.5, 1.5, 2.5]})
    assert [cell[0] for cell in table.cells("tabular")] == [86400.0, 1.0, None]


def test_dates_in_text_are_the_seconds_that_dates_are():
    said = ["1970-01-02", " 1970-01-01T00:00:01", "1970-01-01T01:00:01+01:00", "1970-01-01 00:00:01.500Z", "n/a", None]
    for kinds in ({}, {"when": "number"}, {"when": "tabular"}):
        table = read({"when": said, "b": [1.5] * 6}, kinds=kinds)
        assert [cell[0] for cell in table.cells("tabular")] == [86400.0, 1.0, 1.0, 1.5, None, None]


def test_text_of_dates_is_neither_an_id_nor_a_category_and_what_is_no_date_is_set_aside():
    days = [f"2024-{1 + i // 28:02d}-{1 + i % 28:02d}" for i in range(40)]
    days[3], days[5] = "2024-02-31", "soon"
    table = read({"day": days, "b": [1.5, 2.5] * 20})
    assert table.schema.modalities["tabular"].columns == ("day", "b")
    list(table.cells("tabular"))
    assert [(bad.row, bad.reason) for bad in table.quarantine] == [
        (3, "'2024-02-31' is no date such as 2024-05-17"),
        (5, "'soon' is no date such as 2024-05-17"),
    ]
    assert kind([*["2024-01-01"] * 20, *["12"] * 20]).categories["x"] == ("12", "2024-01-01"), "half of them numbers"


def test_what_is_a_date_is_known_of_the_column_and_not_asked_of_each_few_rows():
    days = [f"2024-{1 + i // 28:02d}-{1 + i % 28:02d}" for i in range(40)]
    days[7] = "soon"
    table = read({"day": days, "price": [str(i / 7) for i in range(40)]})
    assert table.schema.modalities["tabular"].dates == ("day",)
    whole = list(table.cells("tabular"))
    assert list(table.take([6, 7]).cells("tabular")) == whole[6:8]
    for said in (["2024-01-07"], [date(2024, 1, 7)], pa.array([datetime(2024, 1, 7)], pa.timestamp("ns"))):
        new = read(pa.table({"day": said, "price": ["1.5"]}), schema=table.schema)
        assert list(new.cells("tabular")) == [[whole[6][0], 1.5]]
    stray = read({"day": ["12 May"], "price": ["2024-01-07"]}, schema=table.schema)
    assert list(stray.cells("tabular")) == [None]
    assert [bad.column for bad in stray.quarantine] == ["day", "price"], "a date is no price"
    typed = read({"day": [date(2024, 1, 1 + i % 9) for i in range(N)], "b": [1.5] * N})
    assert typed.schema.modalities["tabular"].dates == ("day",)
    assert typed.schema.without("day").modalities["tabular"].dates == ()
    for broken in (
        {"columns": ("b",), "dates": ("day",)},
        {"columns": ("b",), "dates": ("b",), "categories": {"b": ("x",)}},
    ):
        with pytest.raises(ValueError, match="dates"):
            Modality(kind="tabular", **broken)


@pytest.mark.parametrize("more", [" the customer called again", " 10:30 PM", "T25:00", "-07", " noon"])
def test_text_that_begins_with_a_date_is_none(more):
    said = [f"2024-{1 + i // 28:02d}-{1 + i % 28:02d}{more}" for i in range(40)]
    assert not read({"said": said, "b": [1.5, 2.5] * 20}).schema.modalities["tabular"].dates
    mixed = [*["2024-01-07"] * 30, *["soon"] * 10]
    assert kind(mixed).categories["x"] == ("2024-01-07", "soon")
    table = read({"day": mixed}, kinds={"day": "number"})
    assert [cell is None for cell in table.cells("tabular")] == [False] * 30 + [True] * 10, "as asked"


def test_text_of_which_many_are_numbers_says_so():
    price = [f"{i / 7:.3f}" for i in range(40)]
    price[::8] = ["on request"] * 5
    table = read({"price": price, "b": [1.5, 2.5] * 20})
    assert table.schema.modalities["price"].kind == "text"
    assert "price: text (88% of its cells are numbers; --kind price=number sets the others aside)" in table.notes
    assert not any("price" in note for note in read({"price": ["dear", "cheap"] * 40}).notes)


def test_ids_splits_and_what_is_ignored_are_said():
    table = read(
        {
            "row_id": list(range(100, 100 + N)),
            "number": list(range(N)),
            "hash": [f"{i:08x}z" for i in range(N)],
            "gone": [None] * N,
            "tags": [["a"]] * N,
            "split": ["train"] * 30 + ["test"] * 10,
            "age": [i / 3 for i in range(N)],
        }
    )
    assert (table.schema.id, table.schema.split) == ("row_id", "split")
    assert set(table.schema.ignored) == {"number", "hash", "gone", "tags"}
    assert table.schema.modalities["tabular"].columns == ("age",)
    said = "\n".join(table.notes)
    for column in ("row_id", "number", "hash", "gone", "tags", "split"):
        assert f"{column}: " in said
    assert schema(split=["a", "b"] * 20).split is None


@pytest.mark.parametrize(
    ("values", "expected", "classes"),
    [
        (["b", "a", None, "b"], "class", ("a", "b")),
        ([True, False, None, True], "class", ("False", "True")),
        ([10, 2, 2, None], "class", ("2", "10")),
        ([0.5, 1.0, 2.0, None], "number", None),
        ([2.0, 10.0, None, 2.0], "class", ("2", "10")),
        ([2.0, 10.0, float("nan"), 2.0], "class", ("2", "10")),
        ([1.0, 0.0, 1.0], "class", ("0", "1")),
        ([1.0, 2.0, 3.0], "number", None),
        ([float("inf"), 2.0, None], "number", None),
        (list(range(30)), "number", None),
        ([["x", "y"], [], None, ["x"]], "multi_label", ("x", "y")),
        (["x|y", "x", "y|z", ""], "multi_label", ("x", "y", "z")),
        (["p|q", "r|s"], "class", ("p|q", "r|s")),
        ([None, None], "class", ()),
    ],
)
def test_targets(values, expected, classes):
    target = read({"y": values, "x": [i / 7 for i in range(len(values))]}, target="y").schema.targets["y"]
    assert (target.kind, target.classes) == (expected, classes)


def test_a_survival_target_is_a_pair_and_more_is_an_error():
    data = {"t": [1.0, 2.0], "e": [1, 0], "x": [0.5, 1.5], "a,b": ["p", "q"]}
    target = read(data, target="t, e").schema.targets["t"]
    assert (target.kind, target.columns) == ("survival", ("t", "e"))
    assert read(data, target="a,b").schema.targets["a,b"].kind == "class"
    with pytest.raises(SchemaError, match="names 3 columns"):
        read(data, target="t,e,x")
    with pytest.raises(SchemaError, match="cannot be a target"):
        read({"y": [{"a": 1}], "x": [1.0]}, target="y")
    with pytest.raises(SchemaError, match="vectors of numbers, which cannot be a target"):
        read({"y": [[0.5, 1.5], [1.0, 2.0]], "x": [1.0, 2.0]}, target="y")


def test_classes_come_from_rows_outside_a_given_test_part():
    data = {"y": ["a", "b", "c"], "fold": ["train", "val", "test"], "x": [0.5, 1.5, 2.5]}
    assert read(data, target="y", split="fold").schema.targets["y"].classes == ("a", "b")
    assert read(data, target="y").schema.targets["y"].classes == ("a", "b", "c")


def test_kinds_that_cannot_be():
    with pytest.raises(SchemaError, match="cannot be text"):
        read({"x": [[1.0, 2.0]], "y": [1.0]}, kinds={"x": "text"})
    with pytest.raises(SchemaError, match="no cell that could be read as vector"):
        read({"x": ["words", "more"], "y": [1.0, 2.0]}, kinds={"x": "vector"})
    with pytest.raises(SchemaError, match="cannot be category"):
        read({"x": [[1.0, 2.0]], "y": [1.0]}, kinds={"x": "category"})


def test_one_tabular_modality_whatever_the_columns_are_called():
    found = schema(tabular=[f"a row of words {i}" for i in range(N)], age=[i / 3 for i in range(N)])
    assert {name: m.kind for name, m in found.modalities.items()} == {"tabular": "text", "tabular_": "tabular"}


def test_order_of_classes():
    assert ordered({"10", "9", "1.5"}) == ["1.5", "9", "10"]
    assert ordered({"b", "10", "a"}) == ["10", "a", "b"]


@pytest.mark.parametrize("more", [{}, {"ignore": ["family"]}, {"kinds": {"family": "text"}}])
def test_a_group_is_kept_whatever_else_its_column_is(more):
    found = read({"family": ["a", "b"] * N, "size": [0.5, 1.5] * N}, group="family", **more).schema
    assert found.group == "family"


@pytest.mark.parametrize(
    ("more", "learned_from"),
    [({}, False), ({"ignore": ["family"]}, False), ({"kinds": {"family": "category"}}, True)],
)
def test_a_group_is_learned_from_only_where_its_kind_is_said(more, learned_from):
    """No other part has its values, so that they teach nothing that could be used there."""
    table = read({"family": ["a", "b"] * N, "size": [0.5, 1.5] * N}, group="family", **more)
    columns = {column for modality in table.schema.modalities.values() for column in modality.columns}
    assert columns == ({"size", "family"} if learned_from else {"size"})
    assert any("family: not learned from" in note for note in table.notes) == (more == {})


def test_a_schema_that_has_its_group_as_a_modality_keeps_it():
    source = {"family": ["a", "b"] * N, "size": [0.5, 1.5] * N}
    given = read(source, kinds={"family": "category"}).schema
    assert read(source, given, group="family").schema.modalities == given.modalities


def test_rows_to_predict_need_no_split_column():
    known = schema(size=[0.5, 1.5] * N, part=["train", "test"] * N).with_roles(split="part")
    assert len(read({"size": [0.5]}, known, partial=True)) == 1


def test_what_most_rows_alone_say_is_no_class():
    """60 rows: 31 of them say what no other row says, or 30."""
    shared = [f"class {i % 5}" for i in range(29)]
    text = {"title": [*shared, *(f"A story of {i} bees" for i in range(31))], "size": list(range(60))}
    with pytest.raises(SchemaError, match=r"'title' says 36 different things in 60 rows, 31 of them in one row alone"):
        read(text, target="title")
    text["title"][-1] = "class 0"
    assert read(text, target="title").schema.targets["title"].kind == "class"
    few = {name: values[20:] for name, values in text.items()}
    assert read(few, target="title").schema.targets["title"].kind == "class"


STARS = {"stars": [1, 2, 3, 4, 5] * 8, "heft": [float(i) for i in range(40)], "town": ["Bern", "Oslo"] * 20}


@pytest.mark.parametrize(("said", "expected"), [("number", "number"), ("category", "class"), ("class", "class")])
def test_a_target_is_what_it_is_said_to_be(said, expected):
    """And stays a target: it is not learned from."""
    found = read(STARS, target="stars", kinds={"stars": said}).schema
    assert found.targets["stars"].kind == expected
    assert all("stars" not in modality.columns for modality in found.modalities.values())
    assert read(STARS, target="stars").schema.targets["stars"].kind == "class", "where nothing is said"


def test_a_target_of_a_given_schema_stays_one_where_it_is_said_to_be_a_number():
    given = read(STARS, target="stars").schema
    found = read(STARS, schema=given, kinds={"stars": "number"}).schema
    assert found.targets["stars"].kind == "number"
    learned = read(STARS, schema=given, kinds={"stars": "tabular"}).schema
    assert not learned.targets
    assert any("stars" in modality.columns for modality in learned.modalities.values())


def test_a_column_without_a_number_is_none():
    with pytest.raises(SchemaError, match="'town' cannot be a number: none of its cells is one, such as 'Rome'"):
        read({"town": [None, "Rome", "Pisa"]}, kinds={"town": "number"})
    with pytest.raises(SchemaError, match=r"'v' holds .*list.*, which cannot be number"):
        read({"v": [[1.0, 2.0], [3.0, 4.0]]}, kinds={"v": "number"})
    for some in (["Rome", "3", ""], ["Rome", "2024-05-17", ""], ["", None, " "]):
        found = read({"town": some}, kinds={"town": "number"}).schema
        assert found.modalities["tabular"].columns == ("town",)
        assert not found.modalities["tabular"].categories


def test_what_a_target_cannot_be_is_said():
    with pytest.raises(SchemaError, match="'stars' is a target, which can be number, category, class, multi_label"):
        read(STARS, target="stars", kinds={"stars": "text"})
    with pytest.raises(SchemaError, match=r"and not 'nubmer'\. Did you mean 'number'\?"):
        read(STARS, target="stars", kinds={"stars": "nubmer"})
    with pytest.raises(SchemaError, match="'town' cannot be a number: none of its cells is one, such as 'Rome'"):
        read({**STARS, "town": ["", "Rome"] * 20}, target="town", kinds={"town": "number"})
    with pytest.raises(SchemaError, match="belongs to a time and its event"):
        read({**STARS, "seen": [0, 1] * 20}, target="heft,seen", kinds={"seen": "category"})
    with pytest.raises(SchemaError, match="holds lists of text"):
        read({**STARS, "tags": [["a"], ["b"]] * 20}, target="tags", kinds={"tags": "number"})
    with pytest.raises(SchemaError, match="'stars' is named as a target, and as one to ignore"):
        read(STARS, target="stars", ignore=["stars"])


def test_a_number_with_a_word_in_it_is_a_number_and_the_word_is_set_aside():
    heft = [f"{i / 7:.3f}" for i in range(60)]
    heft[4] = "heavy"
    table = read({"heft": heft, "town": ["Bern", "Oslo"] * 30}, target="heft")
    assert table.schema.targets["heft"].kind == "number"
    rows, values = table.targets("heft")
    assert 4 not in rows
    assert len(values) == 59
    codes = [str(i % 7) for i in range(60)]
    assert read({"code": codes, "town": ["Bern", "Oslo"] * 30}, target="code").schema.targets["code"].kind == "class"


def test_free_text_as_a_target_says_how_to_call_it_a_number():
    said = [f"{i} kg" if i % 3 else str(i) for i in range(60)]
    with pytest.raises(SchemaError, match="--kind heft=number"):
        read({"heft": said, "town": ["Bern", "Oslo"] * 30}, target="heft")
    assert read({"heft": said, "rest": STARS["town"] + ["Bern"] * 20}, target="heft", kinds={"heft": "number"})
    with pytest.raises(SchemaError, match=r"rare together\.$"):
        read({"heft": [f"{i} kg" for i in range(60)], "town": ["Bern", "Oslo"] * 30}, target="heft")

import pytest

from plait.core.errors import DataError, SchemaError
from plait.data.schema import Modality, Schema, Target


@pytest.fixture
def schema():
    return Schema(
        modalities={
            "photo": Modality(kind="image", columns=("photo",)),
            "tabular": Modality(kind="tabular", columns=("age", "city"), categories={"city": ("Bern", "Zürich")}),
            "walk": Modality(kind="series", columns=("walk",), channels=("x", "y"), time=True),
            "seen": Modality(kind="vector", columns=("seen",), width=8),
        },
        targets={"species": Target(kind="class", columns=("species",), classes=("bee", "wasp"))},
        id="name",
        split="part",
        group="city",
        ignored=("url",),
    )


def test_yaml_round_trip_keeps_everything_and_the_order(schema, tmp_path):
    schema.save(tmp_path / "schema.yaml")
    loaded = Schema.load(tmp_path / "schema.yaml")
    assert loaded == schema
    assert list(loaded.modalities) == list(schema.modalities)
    assert Schema.load(schema.dump()) == schema
    assert "Zürich" in (tmp_path / "schema.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("modalities: {joint: {kind: text, columns: [a]}}", "'joint' means all modalities together"),
        ("modalitys: {}", r"at modalitys: unknown key. Did you mean 'modalities'\?"),
        (
            "modalities: {a: {kind: image, colums: [a]}}",
            r"modalities\.a\.colums: unknown key. Did you mean 'columns'\?",
        ),
        (
            "modalities: {a: {kind: imag, columns: [a]}}",
            r"modalities\.a\.kind: there is no kind 'imag'. Did you mean 'image'",
        ),
        (
            "targets: {a: {kind: clas, columns: [a]}}",
            r"targets\.a\.kind: there is no kind 'clas'. Did you mean 'class'",
        ),
        ("modalities: {a: {kind: image}}", r"modalities\.a\.columns"),
        ("modalities: {a: {kind: image, columns: [a, b]}}", "exactly one column"),
        ("modalities: {a: {kind: image, columns: []}}", "no columns"),
        ("modalities: {a: {kind: text, columns: [a], width: 3}}", "'width' belongs to kind vector or tokens"),
        ("modalities: {a: {kind: tabular, columns: [a], categories: {b: [x]}}}", "not among its columns"),
        ("targets: {a: {kind: class, columns: [a]}}", "classes missing"),
        ("targets: {a: {kind: survival, columns: [a]}}", "two columns, time and event"),
        ("{modalities: {a: {kind: text, columns: [a]}}, ignored: [a]}", "'a' is both in modality 'a' and ignored"),
        (
            "{modalities: {a: {kind: text, columns: [b]}}, targets: {a: {kind: number, columns: [c]}}}",
            "both a modality",
        ),
        ("[1, 2]", "expected a mapping at the top, found list"),
        ("a: [", "is not valid YAML"),
        ("!!python/object/apply:os.getcwd []", "is not valid YAML"),
    ],
)
def test_a_wrong_file_names_the_place_and_the_nearest_right_key(text, said, tmp_path):
    path = tmp_path / "schema.yaml"
    path.write_text(text)
    with pytest.raises(SchemaError, match=said):
        Schema.load(path)


def test_a_missing_file_and_a_place_that_cannot_be_written_are_said_so(schema, tmp_path):
    with pytest.raises(SchemaError, match="There is no schema"):
        Schema.load(tmp_path / "none.yaml")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="Cannot write"):
        schema.save(tmp_path / "file" / "schema.yaml")


def test_edits_give_a_new_schema_and_leave_the_old(schema):
    before = schema.model_copy(deep=True)
    aged = schema.with_target("age", Target(kind="number", columns=("age",)))
    assert aged.modalities["tabular"].columns == ("city",)
    assert set(aged.targets) == {"species", "age"}
    spoken = schema.with_modality("photo", Modality(kind="text", columns=("photo",)))
    assert spoken.modalities["photo"].kind == "text"
    silent = schema.ignoring("photo", "city")
    assert silent.ignored == ("url", "photo", "city")
    assert "photo" not in silent.modalities
    assert silent.modalities["tabular"].categories == {}
    assert silent.group == "city"
    assert schema.with_roles(id="url").ignored == ()
    assert schema.with_roles(group="age").modalities["tabular"].columns == ("age", "city")
    assert schema.with_roles() == schema
    assert schema == before


def test_fit_to_names_what_is_missing(schema):
    columns = ["photo", "age", "city", "walk", "seen", "species", "name", "part"]
    schema.fit_to(columns)
    with pytest.raises(SchemaError, match=r"no column 'walk' \(in modality 'walk'"):
        schema.fit_to([c for c in columns if c != "walk"])
    with pytest.raises(SchemaError, match="no column 'name'"):
        schema.fit_to([c for c in columns if c != "name"])
    schema.fit_to(["walk"], partial=True)
    with pytest.raises(SchemaError, match="no column of any modality"):
        schema.fit_to(["species", "other"], partial=True)


def test_a_group_stays_one_whatever_its_column_becomes():
    schema = Schema().with_roles(group="family")
    edited = [
        schema.ignoring("family"),
        schema.with_modality("family", Modality(kind="text", columns=("family",))),
        schema.with_target("family", Target(kind="class", columns=("family",), classes=("a", "b"))),
    ]
    assert [edit.group for edit in edited] == ["family"] * 3

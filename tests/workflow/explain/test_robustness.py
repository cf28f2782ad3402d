from io import BytesIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import torch
from made import quick, splits
from PIL import Image

from plait.data.cache import cache_root
from plait.workflow import evaluate
from plait.workflow.evaluate import models_without, single_models
from plait.workflow.explain import damaged, dependence, robustness
from plait.workflow.explain.section import CannotSay
from plait.workflow.explain.subject import Subject
from plait.workflow.model import Model
from plait.workflow.run import own_rows

SIZE = 200
WORDS = ("red bird", "blue fish", "green tree")


def columns(seed=0, truth=True):
    """`sensor` says the label, `caption` says it of half of the rows, `hum` nothing; some rows have no caption."""
    rng = np.random.default_rng(seed)
    code = rng.integers(3, size=SIZE)
    told = code if truth else rng.integers(3, size=SIZE)
    centre = 3 * np.eye(3, 6)
    words = np.where(rng.random(SIZE) < 0.5, told, rng.integers(3, size=SIZE))
    return {
        "sensor": (centre[told] + 0.3 * rng.normal(size=(SIZE, 6))).tolist(),
        "caption": [f"a {WORDS[w]} at the lake" if rng.random() < 0.7 else None for w in words],
        "hum": rng.normal(size=(SIZE, 5)).tolist(),
        "label": [f"class {c}" for c in code],
        "part": splits(SIZE),
        "group": [f"g{i}" for i in range(SIZE)],
    }


def fitted(folder, source, name="run", target="label", **more):
    path = folder / f"{name}.parquet"
    pq.write_table(pa.table(source), path)
    how = {"split": "part", "group": "group", "settings": ("training.epochs=20",), **more}
    return quick(path, target, out=folder / name, **how).model.folder


def subject(folder, alone=False, **how):
    model = Model.load(folder)
    table, begun = own_rows(model)
    learned = np.concatenate([begun.splits["train"], begun.splits["validation"]])
    models = single_models(model) if alone else {}
    return Subject(model, table, model.encode(table), begun.splits["test"], learned, models, **how)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return fitted(tmp_path_factory.mktemp("runs"), columns())


@pytest.fixture(scope="module")
def asked(run):
    return subject(run)


@pytest.fixture(scope="module")
def section(asked):
    return robustness.answer(asked)


def test_another_rows_cell_costs_the_same_whichever_question_is_asked(asked, section):
    """`dependence` asks it of the same rows with the same donors."""
    leaned = dependence.answer(asked).account["reliance"]
    lost = section.account["modalities"]
    assert len(leaned) > 1
    for name, one in leaned.items():
        assert lost[name]["wrong"]["value"] == pytest.approx(one["accuracy"]["value"])
        assert lost[name]["wrong"]["interval"] == pytest.approx(one["accuracy"]["interval"])


@pytest.fixture(scope="module")
def deep(run):
    return subject(run, alone=True, deep=True)


@pytest.fixture(scope="module")
def deep_section(deep):
    return robustness.answer(deep)


def value(section, name, key):
    return section.account["modalities"][name][key]["value"]


def test_what_decides_everything_breaks_it_and_what_does_nothing_was_not_shown_to(section):
    assert section.words[0].startswith("What breaks it most is a wrong sensor:")
    assert value(section, "sensor", "wrong") > 0.4
    assert abs(value(section, "hum", "wrong")) < 0.05
    idle = next(said for said in section.words if "is missing was not shown" in said)
    assert "hum" in idle
    assert "sensor" not in idle
    assert section.plain()["account"]["measure"] == "accuracy"


def test_the_first_sentence_says_the_numbers_of_the_account(section):
    for way in ("wrong", "absent"):
        assert f"{100 * value(section, 'sensor', way):.1f} points" in section.words[0]


def test_rows_without_the_modality_are_not_judged(asked, section):
    column = asked.names.index("caption")
    have = asked.have[:, column]
    assert not have.all()
    assert section.account["modalities"]["caption"]["rows"] == have.sum()


def test_wrong_cells_lose_what_cells_of_every_other_row_lose(run, section):
    """Against the model's own face: all rows get the cell of the next row, of the second next, and so on."""
    model, data = Model.load(run), columns()
    test = [i for i, part in enumerate(data["part"]) if part == "test"]
    classes = list(model.targets["label"].classes)
    truth = np.array([classes.index(data["label"][i]) for i in test])

    def right(shift):
        rows = {name: [data[name][i] for i in test] for name in ("caption", "hum")}
        rows["sensor"] = [data["sensor"][i] for i in np.roll(test, shift)]
        return float(np.mean(model.predict_proba(rows).argmax(1) == truth))

    expected = right(0) - np.mean([right(shift) for shift in range(1, len(test))])
    assert value(section, "sensor", "wrong") == pytest.approx(expected, abs=0.08)


def test_a_share_of_the_rows_loses_that_share(section):
    levels = section.account["modalities"]["sensor"]["levels"]["another row's"]["level"]
    none, half, every = (levels[share]["value"] for share in ("0.0", "0.5", "1.0"))
    assert half == pytest.approx((none + every) / 2)
    assert none - every == pytest.approx(value(section, "sensor", "wrong"))


def test_rows_of_one_group_never_give_to_each_other(run, monkeypatch):
    asked = subject(run)
    asked.__dict__["groups"] = np.arange(len(asked.test)) // 4
    given = []
    monkeypatch.setattr(asked, "dealt", lambda sources: given.append(sources) or asked.predicted)
    robustness.answer(asked)
    own = np.arange(len(asked.test))
    moved = [source for sources in given for source in sources.values() if (source != own)[source >= 0].any()]
    assert len(moved) == robustness.DEALS * 3
    for source in moved:
        there = source >= 0
        assert (asked.groups[source[there]] != asked.groups[there]).all()
    absent = asked.have[:, asked.names.index("caption")]
    assert all(((sources["caption"] >= 0) == absent).all() for sources in given)


def test_where_all_rows_belong_together_wrong_cells_are_not_tried(run):
    asked = subject(run)
    asked.__dict__["groups"] = np.zeros(len(asked.test), int)
    section = robustness.answer(asked)
    assert section.account["modalities"]["sensor"]["wrong"] is None
    assert any(said.startswith("Wrong cells of") and "were not tried" in said for said in section.words)


def test_a_model_that_learned_nothing_was_not_shown_to_break(tmp_path):
    section = robustness.answer(subject(fitted(tmp_path, columns(truth=False), settings=("training.epochs=1",))))
    assert section.words[0].startswith("That a missing or another row's ")
    assert section.words[0].endswith("breaks this model was not shown.")
    assert not any("What breaks it" in said for said in section.words)


@pytest.mark.parametrize("harmed", [True, False])
def test_a_wrong_cell_that_does_no_harm_does_not_do_more_than_none(run, monkeypatch, harmed):
    """A model that would answer more rows right without a modality is better off without it, not harmed by it."""
    asked = subject(run)
    rng = np.random.default_rng(0)
    right = lambda share: (rng.random(len(asked.labelled)) < share).astype(float)
    before = right(0.5)
    monkeypatch.setattr(asked, "values", lambda predicted, on: predicted[on])
    asked.__dict__ |= {"predicted": before, "measure": "accuracy"}
    monkeypatch.setattr(asked, "without", lambda modality: np.maximum(before, right(0.5 * (not harmed))))
    monkeypatch.setattr(asked, "dealt", lambda sources: before * right(0.2 if harmed else 1.0))
    section = robustness.answer(asked)
    for name in asked.names:
        assert section.account["modalities"][name]["worse"]["interval"][0] > 0
        assert (section.account["modalities"][name]["wrong"]["interval"][0] > 0) == harmed
    assert any("do more harm than a missing one" in said for said in section.words) == harmed


def test_of_a_number_it_speaks_in_its_own_unit(tmp_path):
    data = columns()
    data["label"] = [10.0 * float(label[-1]) for label in data["label"]]
    section = robustness.answer(subject(fitted(tmp_path, data)))
    assert "points" not in section.words[0]
    assert "mean absolute error" in section.words[0]
    assert value(section, "sensor", "wrong") > 1
    curve = section.account["modalities"]["sensor"]["levels"]["another row's"]
    none, every = (curve["level"][share]["value"] for share in ("0.0", "1.0"))
    assert 0 < none < every
    assert every - none == pytest.approx(value(section, "sensor", "wrong"))
    assert curve["worst"]["value"] == pytest.approx(every - none)
    assert curve["retained"]["value"] == pytest.approx(curve["area"]["value"] / none)


def test_without_a_target_it_cannot_say(tmp_path):
    data = {name: cells for name, cells in columns().items() if name != "label"}
    asked = subject(fitted(tmp_path, data, target=None, recipe=None, settings=("training.epochs=1",)))
    with pytest.raises(CannotSay, match="no target"):
        robustness.answer(asked)


def test_without_deep_nothing_is_damaged_or_trained(run, section, monkeypatch):
    assert set(section.account) == {"measure", "modalities"}
    assert len(section.drawings) == 1


def test_damage_to_what_decides_costs_and_to_what_does_nothing_was_not_shown_to(deep_section):
    found = {(w["modality"], w["corruption"]): w for w in deep_section.account["damage"]}
    assert set(found) == {(n, c) for n in ("sensor", "hum") for c in ("noise", "column drop")} | {
        ("caption", "typos"),
        ("caption", "word drop"),
    }
    drop = found["sensor", "column drop"]["losses"]["5"]
    assert drop["interval"][0] > 0
    losses = {key: wear["losses"]["5"] for key, wear in found.items()}
    modality, corruption = max(losses, key=lambda key: losses[key]["value"])
    assert modality == "sensor"
    worst = next(said for said in deep_section.words if said.startswith("Of damage to the cells"))
    assert f"{corruption} of sensor" in worst
    assert f"{100 * losses[modality, corruption]['value']:.1f} points" in worst
    idle = next(said for said in deep_section.words if said.startswith("That it loses anything under"))
    assert "any damage to hum" in idle
    assert "sensor" not in idle


def test_against_models_of_one_modality_both_are_damaged(deep, deep_section):
    """Above it alone: on the same rows, the same damaged cells, by the modality's own model."""
    (store,) = [damaged.damaged(deep, "caption")["typos"][5]]
    on = deep.have[:, deep.names.index("caption")]
    rows = np.flatnonzero(on)
    part = damaged.replaced(deep.dataset.take(rows), {"caption": store})
    truth = deep.truth[np.isin(deep.labelled, rows)]

    def right(model):
        return np.mean(model.parameters(part)["label"].argmax(1) == truth)

    expected = right(deep.model) - right(deep.alone["caption"])
    typos = next(w for w in deep_section.account["damage"] if w["corruption"] == "typos")
    assert typos["above"]["value"] == pytest.approx(expected)


def test_cells_that_no_damage_touched_are_those_that_are_stored(deep, monkeypatch):
    """Decoded and encoded by the way of damaged cells: text is ragged, vectors are not."""
    monkeypatch.setattr(damaged, "damages", lambda *_: {"nothing": lambda cell, strength, seed: cell})
    for name in deep.names:
        store = damaged.damaged(deep, name)["nothing"][3]
        one = damaged.replaced(deep.dataset, {name: store}).batch(range(len(deep.dataset))).modalities[name]
        other = deep.dataset.batch(range(len(deep.dataset))).modalities[name]
        assert (one.rows == other.rows).all()
        assert np.array_equal(one.values.numpy(), other.values.numpy())


def test_damage_grows_and_repeats_and_belongs_to_the_seed(deep, run):
    def cells(asked, strength):
        return damaged.damaged(asked, "sensor")["noise"][strength].gather(torch.as_tensor(asked.test)).values

    clean = deep.dataset.batch(range(len(deep.dataset))).modalities["sensor"].values
    far = [float((cells(deep, s) - clean).abs().mean()) for s in damaged.STRENGTHS]
    assert far == sorted(far)
    assert far[0] > 0
    assert (cells(deep, 3) == cells(deep, 3)).all()
    assert (cells(deep, 3) != cells(subject(run, seed=1), 3)).any()


def test_no_damaged_cell_comes_into_the_cache(deep):
    def files():
        return sorted(path for path in cache_root().rglob("*") if path.is_file())

    before = files()
    for name in deep.names:
        damaged.damaged(deep, name)
    assert files() == before
    assert any(path.suffix == ".cells" for path in before)


def test_images_and_sounds_are_damaged_before_they_are_encoded(tmp_path):
    rng = np.random.default_rng(0)
    data = {name: columns()[name] for name in ("label", "part", "group")}
    pictures, sounds = [], []
    for i in range(SIZE):
        picture, sound = BytesIO(), BytesIO()
        Image.fromarray(rng.integers(0, 255, (12, 12, 3), np.uint8)).save(picture, "PNG")
        soundfile.write(sound, 0.3 * rng.normal(size=1600), 16_000, format="WAV")
        pictures.append(picture.getvalue())
        sounds.append(sound.getvalue() if i % 3 else None)
    recipe = {
        "encoders": {"image": {"conv_image": {"size": 16, "patch": 8, "channels": 4}}, "audio": {"conv_audio": {}}},
        "width": 16,
        "embedding": 8,
    }
    source = {**data, "photo": pictures, "sound": sounds}
    asked = subject(fitted(tmp_path, source, recipe=recipe, settings=("training.epochs=1",)))
    for name, corruptions in (("photo", {"noise", "blur", "occlusion"}), ("sound", {"noise", "clipping"})):
        stores = damaged.damaged(asked, name)
        assert set(stores) == corruptions
        clean = asked.dataset.batch(range(len(asked.dataset))).modalities[name]
        for found in stores.values():
            cells = found[5].gather(torch.as_tensor(asked.test))
            assert (cells.rows == clean.rows).all()
            assert cells.values.shape == clean.values.shape
            assert cells.values.dtype == clean.values.dtype
            assert (cells.values.flatten(1) != clean.values.flatten(1)).any(1).all()


def test_a_kind_without_corruptions_is_named(tmp_path):
    rng = np.random.default_rng(0)
    data = columns()
    del data["caption"]
    data["track"] = [rng.normal(size=(3, 4)).tolist() for _ in range(SIZE)]
    folder = fitted(tmp_path, data, kinds={"track": "tokens"}, settings=("training.epochs=1",))
    section = robustness.answer(subject(folder, deep=True))
    assert any("track (tokens) was not tried" in said for said in section.words)
    assert {wear["modality"] for wear in section.account["damage"]} == {"sensor", "hum"}


def test_categories_get_no_noise_and_missing_columns_stay_missing(tmp_path):
    rng = np.random.default_rng(0)
    data = columns()
    del data["caption"], data["hum"]
    data["age"] = [float(v) if rng.random() < 0.8 else None for v in rng.normal(50, 10, SIZE)]
    data["town"] = [("Bern", "Oslo", "Rome")[i % 3] for i in range(SIZE)]
    asked = subject(
        fitted(tmp_path, data, kinds={"age": "tabular", "town": "tabular"}, settings=("training.epochs=1",))
    )
    names = asked.table.schema.modalities["tabular"].columns
    clean = asked.dataset.batch(range(len(asked.dataset))).modalities["tabular"].values.numpy()
    store = damaged.damaged(asked, "tabular")["noise"][5]
    noisy = store.gather(torch.as_tensor(asked.test)).values.numpy()
    town, age = names.index("town"), names.index("age")
    assert (noisy[:, town] == clean[:, town]).all()
    assert (np.isnan(noisy[:, age]) == np.isnan(clean[:, age])).all()
    known = ~np.isnan(clean[:, age])
    assert (noisy[known, age] != clean[known, age]).all()


def test_a_model_trained_without_a_modality_regains_what_can_be_regained(deep, deep_section):
    account = deep_section.account["trained_anew"]
    assert account["patterns"] == ["all", *(f"no {n}" for n in deep.names)]
    values = np.array(account["values"])
    sensor = 1 + deep.names.index("sensor")
    # It never saw it, so that it is all the same whether the test rows have it.
    for i in range(1, 4):
        assert values[i, 0] == pytest.approx(values[i, i])
    assert account["regained"]["sensor"]["value"] == pytest.approx(values[sensor, sensor] - values[0, sensor])
    assert values[sensor, 0] < values[0, 0] - 0.2
    for name, found in account["regained"].items():
        said = [s for s in deep_section.words if "training anew without" in s and name in s]
        assert len(said) == 1
        assert ("pays for" in said[0]) == (found["interval"][0] > 0)


def test_they_are_trained_on_the_run_s_own_rows_and_kept(deep, deep_section, monkeypatch):
    folder = deep.model.folder
    assert (folder / "without" / "sensor" / "model.safetensors").exists()
    monkeypatch.setattr(evaluate, "train", lambda *_, **__: pytest.fail("trained again"))
    others = models_without(Model.load(folder))
    assert {name: model.names for name, model in others.items()} == {
        gone: tuple(n for n in deep.names if n != gone) for gone in deep.names
    }


def test_of_two_modalities_they_are_the_models_of_one(tmp_path, monkeypatch):
    data = columns()
    del data["hum"]
    folder = fitted(tmp_path, data, settings=("training.epochs=1",))
    model = Model.load(folder)
    single_models(model)
    monkeypatch.setattr(evaluate, "train", lambda *_, **__: pytest.fail("trained again"))
    others = models_without(model)
    assert others["sensor"].names == ("caption",)
    assert others["caption"].names == ("sensor",)


def test_of_other_rows_nothing_is_trained(run):
    asked = subject(run, deep=True)
    asked.learned = np.zeros(0, np.int64)
    assert "trained_anew" not in robustness.answer(asked).account


def test_a_cell_of_which_nothing_is_left_is_absent(deep, monkeypatch):
    """Ragged or not, also where all are."""
    monkeypatch.setattr(damaged, "damages", lambda *_: {"gone": lambda cell, strength, seed: None})
    for name in deep.names:
        store = damaged.damaged(deep, name)["gone"][1]
        rest = tuple(n for n in deep.names if n != name)
        found = deep.model.parameters(damaged.replaced(deep.dataset, {name: store}))["label"]
        assert np.allclose(found, deep.decided([rest])[rest], atol=1e-6)


def test_modalities_that_few_labelled_rows_have_are_passed_over(tmp_path):
    data = columns()
    test = [i for i, part in enumerate(splits(len(data["label"]))) if part == "test"]
    for i in test[robustness.LEAST - 1 :]:
        data["sensor"][i] = None
    section = robustness.answer(subject(fitted(tmp_path, data)))
    assert "sensor" not in section.account["modalities"]
    said = f"nothing is said: fewer than {robustness.LEAST} labelled test rows have it."
    assert any(word.startswith("Of ") and "sensor" in word and word.endswith(said) for word in section.words)

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made import quick, splits

from plait.core.component import configure
from plait.core.recipe import Recipe
from plait.workflow.defaults import resolve
from plait.workflow.evaluate import evaluate, single_models
from plait.workflow.explain.explain import explain
from plait.workflow.explain.section import CannotSay
from plait.workflow.explain.space import answer
from plait.workflow.explain.space_measured import LEAST
from plait.workflow.explain.subject import Subject
from plait.workflow.model import Model
from plait.workflow.run import own_rows

WIDTH = 8


def columns(size=300, seed=0):
    """Two vectors that say the same thing, and a third that few rows have."""
    rng = np.random.default_rng(seed)
    code = np.arange(size) % 3
    thing = np.random.default_rng(9).normal(size=(3, 4))[code] + rng.normal(size=(size, 4))
    a, b, c = (thing + 0.3 * rng.normal(size=thing.shape) for _ in range(3))
    return {
        "a": a.tolist(),
        "b": [None if i % 9 == 0 else v for i, v in enumerate(b.tolist())],
        "c": [v if i % 7 == 4 else None for i, v in enumerate(c.tolist())],
        "label": [f"class {k}" for k in code],
        "part": splits(size),
    }


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("space")
    pq.write_table(pa.table(columns()), folder / "rows.parquet")
    return quick(folder / "rows.parquet", out=folder / "run", split="part").model.folder


@pytest.fixture
def subject(run):
    model = Model.load(run)
    table, begun = own_rows(model)
    learned = np.concatenate([begun.splits["train"], begun.splits["validation"]])
    return Subject(model, table, model.encode(table), begun.splits["test"], learned, {})


def unit(x):
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def planted(subject, make, seed=0):
    """The subject with embeddings of a and b from `make(rng, n)`, for test rows and for those learned from."""
    rng = np.random.default_rng(seed)
    for name, size in (("embeddings", len(subject.test)), ("learned_embeddings", len(subject.learned))):
        a, b = make(rng, size)
        rows, nothing = np.arange(size), (np.zeros(0, np.int64), np.zeros((0, WIDTH), np.float32))
        subject.__dict__[name] = {"a": (rows, unit(a)), "b": (rows, unit(b)), "c": nothing}
    return subject


def together(rng, size, noise=0.3):
    x = rng.normal(size=(size, WIDTH))
    return x + noise * rng.normal(size=x.shape), x + noise * rng.normal(size=x.shape)


def shifted(rng, size):
    a, b = together(rng, size, 0.5)
    away = 3 * np.eye(WIDTH)[0]
    return a + away, b - away


def test_modalities_that_lie_together_are_not_said_to_lie_apart(subject):
    found = answer(planted(subject, together))
    pair = found.account["pairs"]["a~b"]
    low, high = pair["gap"]["intervals"]["separability"]
    assert low < 0.5 < high
    assert found.words[0].startswith("That modalities lie apart in the space that they share was not")
    assert "that these differ at all was not shown of a with b" in found.words[1]
    assert "no difference" not in " ".join(found.words)
    assert "--set" not in " ".join(found.words)
    assert pair["neighbours"]["mutual_knn"] > 0.5
    assert any("more than by chance" in said for said in found.words)


def test_a_gap_is_found_and_its_cure_is_measured_with_means_of_other_rows(subject):
    found = answer(planted(subject, shifted))
    gap = found.account["pairs"]["a~b"]["gap"]
    assert gap["separability"] > 0.99
    assert gap["relative"] > 0.8
    assert found.words[0].startswith("In the one pair that can be judged one modality lies apart from the other")
    for search in ("a->b", "b->a"):
        moved = found.account["moved"][search]
        assert moved["after"] > moved["before"]
        assert moved["interval"][0] > 0
        assert moved["change"] == pytest.approx(moved["after"] - moved["before"])
    assert any("helps:" in said and "2 were shown to improve and 0 to worsen" in said for said in found.words)
    assert any("--set 'objectives.info_nce.temperature=[0.07, 0.35]'" in said for said in found.words)


def test_means_of_the_judged_rows_are_not_used(subject):
    """Rows learned from lie elsewhere: their means cure nothing, where those of the judged rows would."""
    planted(subject, shifted)
    other = {name: (rows, -vectors) for name, (rows, vectors) in subject.learned_embeddings.items()}
    subject.__dict__["learned_embeddings"] = other
    moved = answer(subject).account["moved"]["a->b"]
    assert moved["after"] <= moved["before"]


def test_a_cure_that_does_harm_is_said_to(subject):
    """Content along the direction of the mean of rows that do not resemble those that are judged."""

    def same(rng, size):
        return together(rng, size, 0.05)

    planted(subject, same)
    rng = np.random.default_rng(5)
    far = {}
    for name, (rows, vectors) in subject.learned_embeddings.items():
        far[name] = (rows, unit(np.tile(rng.normal(size=WIDTH), (len(rows), 1)) + 0.1 * vectors))
    subject.__dict__["learned_embeddings"] = far
    found = answer(subject)
    assert found.account["moved"]["a->b"]["interval"][1] < 0
    assert any("does harm: " in said for said in found.words)


def test_neighbours_of_strangers_are_not_said_to_be_shared_even_by_copies(subject):
    """Each row twice: a copy is the nearest of its copy in every space, which says nothing of the modalities."""

    def copied(rng, size):
        a, b = rng.normal(size=(2, size // 2, WIDTH))
        return np.repeat(a, 2, 0), np.repeat(b, 2, 0)

    subject.test, subject.learned = subject.test[: len(subject.test) // 2 * 2], subject.learned[:200]
    planted(subject, copied)
    subject.__dict__["groups"] = np.arange(len(subject.test)) // 2
    found = answer(subject)
    neighbours = found.account["pairs"]["a~b"]["neighbours"]
    assert neighbours["rows"] == len(subject.test) // 2
    assert any("was not shown of any of 1 pairs" in said for said in found.words)


def test_pairs_are_of_rows_that_have_both_and_the_others_are_named(subject):
    have = dict(zip(subject.names, subject.have.T, strict=True))
    found = answer(subject)
    assert found.account["pairs"]["a~b"]["gap"]["rows"] == (have["a"] & have["b"]).sum() < len(subject.test)
    rare = int((have["a"] & have["c"]).sum())
    assert 0 < rare < LEAST
    assert found.account["too_few_rows"]["a~c"] == rare
    assert f"a with c ({rare})" in found.words[-1]
    assert set(found.account["pairs"]) == {"a~b"}
    assert set(found.account["dimensions"]) == {"a", "b"}


def test_searches_as_they_are_are_those_of_the_evaluation(run, subject):
    evaluated = evaluate(Model.load(run), singles=False).retrieval
    moved = answer(subject).account["moved"]
    assert set(moved) == {"a->b", "b->a"}
    for search, one in moved.items():
        assert one["before"] == pytest.approx(evaluated[search]["recall@10"])
        assert one["chance"] == pytest.approx(evaluated[search]["chance"]["recall@10"])


def test_a_modality_in_one_point_is_said_to_be_and_left_out(subject):
    def collapsed(rng, size):
        a, b = together(rng, size)
        return a, np.ones_like(b)

    found = answer(planted(subject, collapsed))
    assert found.account["collapsed"] == ["b"]
    assert any("All cells of b lie in one point" in said for said in found.words)
    assert not found.account["pairs"]


def test_a_modality_with_all_but_one_row_in_one_point_is_no_error(subject):
    def nearly(rng, size):
        a, b = together(rng, size)
        b[1:] = 1.0
        return a, b

    found = answer(planted(subject, nearly))
    assert "b" not in found.account["dimensions"]
    assert found.account["pairs"]["a~b"]["neighbours"] is None


def test_a_temperature_is_to_rise_from_where_it_is_and_the_setting_exists(subject):
    schema = subject.model.schema
    subject.model.recipe = resolve(schema, None, ("objectives.info_nce.temperature=0.3",))
    found = answer(planted(subject, shifted))
    assert found.account["temperatures"]["objectives.info_nce.temperature"]["asked"] == 0.3
    said = next(said for said in found.words if "--set" in said)
    assert "(it was 0.3)" in said
    setting = said.partition("--set '")[2].partition("'")[0]
    assert setting == "objectives.info_nce.temperature=[0.3, 1.5]"
    advised = resolve(schema, None, (setting,))
    given = advised.objectives["info_nce"]["temperature"]
    assert configure("objectives", "info_nce", {"temperature": given}).temperature == (0.3, 1.5)
    subject.model.recipe = advised
    assert "--set" not in " ".join(answer(planted(subject, shifted)).words)


def test_the_temperature_that_was_learned_is_kept_with_the_run_and_told(subject):
    ended = subject.model.info["figures"]["objectives.info_nce"]["temperature"]
    assert 0.01 <= ended != pytest.approx(0.07, rel=1e-6)
    found = answer(planted(subject, shifted))
    said = {"asked": "learned", "ended": ended}
    assert found.account["temperatures"]["objectives.info_nce.temperature"] == said
    assert any(f"(it was learned, from 0.07 to {ended:.2g})" in words for words in found.words)


def test_without_an_objective_that_has_a_temperature_none_is_advised(subject):
    recipe = subject.model.recipe.dump()
    recipe["objectives"] = {"supervised": {}}
    subject.model.recipe = Recipe.parse(recipe)
    found = answer(planted(subject, shifted))
    assert found.account["temperatures"] == {}
    assert "--set" not in " ".join(found.words)


def test_other_rows_have_no_cure_since_no_means_are_at_hand(run):
    data = columns(80, seed=3)
    (section,) = explain(
        Model.load(run), {k: data[k] for k in "abc"} | {"label": data["label"]}, sections=["space"]
    ).sections
    assert section.account["moved"] == {}
    assert any("rows learned from are too few, or not at hand" in said for said in section.words)
    assert section.account["pairs"]


def test_it_says_why_where_there_is_no_answer(run, subject):
    few = replace(subject, test=subject.test[:20])
    with pytest.raises(CannotSay, match=f"{LEAST} test rows"):
        answer(few)
    alone = single_models(Model.load(run))["a"]
    with pytest.raises(CannotSay, match="one modality"):
        answer(replace(subject, model=alone))
    subject.model.network.projection = None
    with pytest.raises(CannotSay, match="without a shared space"):
        answer(subject)


def test_equal_seeds_give_equal_plain_sections(subject):
    first, second = answer(subject).plain(), answer(subject).plain()
    assert first == second
    assert json.loads(json.dumps(first, allow_nan=False)) == first
    assert len(first["drawings"]) == 2

from dataclasses import replace

import grounded
import numpy as np
import pytest

from plait.data.read import read
from plait.data.splits import split
from plait.measures import scores
from plait.workflow.explain import missing as module
from plait.workflow.explain import worth
from plait.workflow.explain.missing import missing
from plait.workflow.explain.subject import Subject
from plait.workflow.prepare import encode
from plait.workflow.train import train

SIZE = 400


@pytest.fixture(autouse=True)
def _alone(monkeypatch, tmp_path):
    grounded.alone(monkeypatch, tmp_path)


def subject(kept, *, size=SIZE, classes=3, groups=None, seed=0, **how):
    """`b` tells class 0 from the rest, which `a` cannot, and is kept with a chance of `kept[class]`."""
    rng = np.random.default_rng(seed)
    code = rng.integers(classes, size=size)
    a = np.eye(classes + 1, 4)[np.where(code == 0, 1, code)] * 3 + 0.3 * rng.normal(size=(size, 4))
    b = np.where(code == 0, 1.0, -1.0)[:, None] + 2.0 * rng.normal(size=(size, 3))
    there = rng.random(size) < np.asarray(kept)[code]
    source = {
        "a": a.tolist(),
        "b": [cell if here else None for cell, here in zip(b.tolist(), there, strict=True)],
        "label": [f"class {c}" for c in code],
    }
    if groups is not None:
        source["group"] = groups
    table = read(source, target="label", group=None if groups is None else "group")
    rows = split(table)
    recipe = grounded.recipe(table, "training.epochs=15", missing={"modality_dropout": {"rate": 0.3}})
    fitted = train(table, encode(table, recipe), recipe, rows)
    learned = np.concatenate([rows["train"], rows["validation"]])
    return Subject(fitted.model, table, fitted.encoded, rows["test"], learned, {}, **how)


@pytest.fixture(scope="module")
def lopsided(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        grounded.alone(patch, tmp_path_factory.mktemp("cache"))
        return subject((0.25, 0.9, 0.9), size=900)


def said(part, words):
    return [one for one in part.words if words in one]


def test_cells_that_are_missing_for_a_reason_are_told_so(lopsided):
    part = missing(lopsided)
    assert said(part, "Cells of b are not missing by pure chance")
    assert not said(part, "for a reason was not shown")
    told = part.account["missing"]["b"]["told"]
    assert told["auc"] > 0.7
    assert told["p"] < 0.05
    assert list(part.account["missing"]) == ["b"]


def test_of_cells_missing_by_chance_a_reason_was_not_shown():
    part = missing(subject((0.6, 0.6, 0.6)))
    assert said(part, "That cells of b are missing for a reason was not shown")
    assert not said(part, "not missing by pure chance")


def test_if_all_rows_had_it_each_class_counts_by_its_rows(lopsided):
    """Rows of class 0 mostly lack b, so those that have it are mostly of the others, which gain more."""
    gain = missing(lopsided).account["missing"]["b"]["gain"]
    on = lopsided.have[lopsided.labelled, lopsided.names.index("b")]
    full = lopsided.predicted[lopsided.labelled].argmax(1) == lopsided.truth
    without = lopsided.decided([("a",)])[("a",)][lopsided.labelled].argmax(1) == lopsided.truth
    gains = full.astype(float) - without
    assert gain["naive"]["value"] == pytest.approx(gains[on].mean())
    # The class is all the reason there is, and the whole table says how many of each class have it.
    code = lopsided.encoded.dataset.target("label").values.numpy()
    there = lopsided.encoded.dataset.have[:, lopsided.names.index("b")].numpy()
    weight = 1 / np.array([there[code == c].mean() for c in range(3)])[lopsided.truth[on]]
    expected = np.sum(weight * gains[on]) / weight.sum()
    assert expected < gains[on].mean() - 0.03
    assert gain["mean"]["value"] == pytest.approx(expected, abs=0.03)
    assert gain["overlap"]["effective"] < gain["overlap"]["observed"]


def test_sentences_and_tables_say_the_numbers(lopsided):
    part = missing(lopsided)
    found = part.account["missing"]["b"]
    (line,) = said(part, "On the rows that have b")
    for number in (found["gain"]["naive"]["value"], found["gain"]["mean"]["value"]):
        assert f"{100 * number:.1f} points" in line
    assert said(part, f"by a factor of {found['odds']:.1f}")
    assert found["odds"] > 1
    assert found["between"]["low"] < found["gain"]["mean"]["value"] < found["between"]["high"]
    assert found["whatever"]["low"] <= found["between"]["low"]
    assert [len(line) for grid in part.grids for line in grid.lines] == [len(grid.head) for grid in part.grids]


def test_on_a_complete_table_nothing_of_it_is_shown():
    asked = subject((1, 1, 1), size=120)
    part = missing(asked)
    assert not part.words
    assert not part.grids
    assert not part.method
    section = worth.answer(asked)
    assert not section.account.get("missing")
    assert "missing by" not in " ".join(section.words)


def test_worth_has_it_behind_its_own_words(lopsided):
    section = worth.answer(lopsided)
    assert section.words[0].startswith("All modalities together")
    assert missing(lopsided).words[0] in section.words
    assert section.account["missing"].keys() == {"b"}
    assert "task" not in section.account


def test_of_few_rows_nothing_is_concluded():
    part = missing(subject((0.98, 0.98, 0.98), size=300))
    assert said(part, "have or lack b to tell")
    assert part.account == {"missing": {}}
    assert not part.grids


def test_whole_groups_count_once():
    """Ten groups of rows, of which three lack b: any label of a group then tells, and must not seem to."""
    size = 400
    groups = [f"g{i % 10}" for i in range(size)]
    part = missing(subject((0.6, 0.6, 0.6), groups=groups))
    assert said(part, "have or lack b to tell")


def test_unlabelled_rows_are_left_out_and_numbers_are_no_shares():
    rng = np.random.default_rng(0)
    y = rng.normal(size=300)
    source = {
        "a": [[float(v + rng.normal()), float(rng.normal())] for v in y],
        "b": [[float(v), 1.0] if rng.random() < (0.9 if v > 0 else 0.3) else None for v in y],
        "label": [float(v) if i % 10 else None for i, v in enumerate(y)],
    }
    table = read(source, target="label")
    rows = split(table)
    recipe = grounded.recipe(table)
    fitted = train(table, encode(table, recipe), recipe, rows)
    asked = Subject(fitted.model, table, fitted.encoded, rows["test"], rows["train"], {})
    part = missing(asked)
    assert said(part, "Cells of b are not missing by pure chance")
    assert part.account["missing"]["b"]["told"]["share"] == pytest.approx(
        np.mean([source["b"][i] is not None for i in range(300) if i % 10])
    )
    assert part.account["missing"]["b"]["whatever"] is None
    assert asked.measure in scores.of("number").lower
    assert not any("points" in one for one in part.words)


def test_many_rows_are_drawn_from_in_whole_groups(lopsided, monkeypatch):
    given = []
    inner = module.missingness
    monkeypatch.setattr(
        module, "missingness", lambda have, *rest, **how: given.append(how) or inner(have, *rest, **how)
    )
    monkeypatch.setattr(module, "MOST", 200)
    lopsided = replace(lopsided)
    lopsided.__dict__["all_groups"] = np.arange(len(lopsided.table)) // 3
    assert said(missing(lopsided), "Cells of b are not missing by pure chance")
    count = np.bincount(given[0]["groups"])
    assert 200 <= count.sum() < 203
    assert set(count.tolist()) == {0, 3}

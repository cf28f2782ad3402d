import json
from dataclasses import replace

import asked as labels
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made import quick, splits

from plait.workflow.evaluate import single_models
from plait.workflow.explain.dependence import answer
from plait.workflow.explain.section import CannotSay
from plait.workflow.explain.subject import Subject
from plait.workflow.model import Model
from plait.workflow.run import own_rows

SETTINGS = ("objectives={supervised: {}}", "missing={}", "training.epochs=15", "training.refit=false")


def columns(size=300, seed=0):
    """`a` says the label, `b` nothing; `c` is there in few rows."""
    rng = np.random.default_rng(seed)
    code = rng.integers(3, size=size)
    a = 4 * np.eye(3)[code] + 0.3 * rng.normal(size=(size, 3))
    b, c = rng.normal(size=(2, size, 3))
    return {
        "a": [None if i % 8 == 0 else v for i, v in enumerate(a.tolist())],
        "b": b.tolist(),
        "c": [v if i % 7 == 4 else None for i, v in enumerate(c.tolist())],
        "amount": code + 0.1 * rng.normal(size=size),
        "label": [f"class {k}" for k in code],
        "part": splits(size),
    }


def fitted(folder, target):
    data = columns()
    pq.write_table(
        pa.table({k: v for k, v in data.items() if k in ("a", "b", "c", target, "part")}), folder / "r.parquet"
    )
    return quick(folder / "r.parquet", target, SETTINGS, out=folder / "run", split="part").model.folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = fitted(tmp_path_factory.mktemp("dependence"), "label")
    single_models(Model.load(folder))
    return folder


def asked(folder, alone=True):
    model = Model.load(folder)
    table, begun = own_rows(model)
    learned = np.concatenate([begun.splits["train"], begun.splits["validation"]])
    return Subject(
        model, table, model.encode(table), begun.splits["test"], learned, single_models(model) if alone else {}
    )


@pytest.fixture
def subject(run):
    return asked(run)


def sure(codes, classes=3):
    """Probabilities of answers."""
    return (0.9 * np.eye(classes) + 0.1 / classes)[np.asarray(codes)].astype(np.float32)


def planted(subject, decide):
    """The subject with `decide(source of a, source of b, truth) -> codes` in place of its model."""

    def dealt(given):
        return sure(decide(given["a"], given["b"], subject.truth))

    subject.dealt = dealt
    own = np.arange(len(subject.test))
    subject.__dict__["predicted"] = dealt({"a": own, "b": own})
    return subject


def test_dealt_cells_are_predicted_as_rows_that_have_those_cells(subject):
    data, rng = columns(), np.random.default_rng(4)
    rows = subject.test
    sources = {}
    for i, name in enumerate(subject.names):
        there = np.flatnonzero(subject.have[:, i])
        sources[name] = np.full(len(rows), -1)
        sources[name][there] = rng.permutation(there)
        if name == "b":
            sources[name][::3] = -1
    seen = {name: [None if s < 0 else data[name][rows[s]] for s in source.tolist()] for name, source in sources.items()}
    assert np.allclose(subject.dealt(sources), subject.model.predict_proba(seen), atol=1e-5)
    nothing = {name: np.full(len(rows), -1) for name in subject.names}
    assert np.array_equal(subject.dealt(nothing), subject.model.priors(len(rows))["label"])


def test_the_modality_that_decides_is_named_and_the_one_that_does_nothing_is_not_said_to_matter(subject):
    found = answer(subject)
    reliance = found.account["reliance"]
    assert found.words[0].startswith("The model leans most on a:")
    assert reliance["a"]["accuracy"]["value"] > 0.4
    assert reliance["a"]["followed"]["value"] > 0.9
    assert reliance["b"]["accuracy"]["interval"][0] <= 0
    assert set(found.account["interference"]) == {"b"}
    assert any("That the model needs b was not shown" in said for said in found.words)
    assert "no difference" not in " ".join(found.words)


def test_absent_cells_stay_absent_and_rare_modalities_are_passed_over(subject):
    have, seen = subject.have, []
    real = subject.dealt

    def spied(given):
        seen.append(given)
        return real(given)

    subject.dealt = spied
    found = answer(subject)
    assert len(seen) > 20
    for given in seen:
        assert all(np.array_equal(given[name] >= 0, have[:, i]) for i, name in enumerate(subject.names))
        changed = [
            name for i, name in enumerate(subject.names) if (given[name] != np.arange(len(have)))[have[:, i]].any()
        ]
        assert len(changed) <= 1
    assert found.account["reliance"]["a"]["rows"] == have[:, 0].sum() < len(have)
    assert found.account["not_judged"] == ["c"]
    assert any(said.startswith("Of c nothing is said") for said in found.words)


def test_rows_of_a_group_never_get_each_others_cells(subject):
    groups = np.arange(len(subject.test)) // 4
    subject.__dict__["groups"] = groups
    real, dealt = subject.dealt, 0

    def spied(given):
        nonlocal dealt
        for source in given.values():
            moved = (source >= 0) & (source != np.arange(len(source)))
            assert (groups[source[moved]] != groups[moved]).all()
            dealt += moved.sum()
        return real(given)

    subject.dealt = spied
    answer(subject)
    assert dealt > 0


def test_a_modality_that_decides_everything_is_followed_wherever_it_goes(subject):
    found = answer(planted(subject, lambda a, b, truth: truth[b]))
    reliance = found.account["reliance"]
    assert reliance["b"]["moved"]["value"] == reliance["b"]["followed"]["value"] == 1
    assert found.words[0].startswith("The model leans most on b:")
    assert any("100 % of the answers change, and 100 % become that class" in said for said in found.words)
    # Where all rows do, as often in n draws as the exact binomial end says, and not always.
    rows = reliance["b"]["rows"]
    assert reliance["b"]["moved"]["interval"] == reliance["b"]["followed"]["interval"]
    assert reliance["b"]["followed"]["interval"] == pytest.approx([0.025 ** (1 / rows), 1])


def test_where_nothing_is_looked_at_nothing_is_said_to_matter(subject):
    found = answer(planted(subject, lambda a, b, truth: np.zeros(len(truth), int)))
    assert found.words[0].startswith("That the model leans on a or b was not shown")
    for name in "ab":
        assert found.account["interference"][name]["moved"]["value"] == 0
        said = next(said for said in found.words if said.startswith(f"That the model needs {name} was not shown"))
        assert "no answer was seen to change" in said
        rows = found.account["interference"][name]["rows"]
        assert f"may be up to {100 * (1 - 0.025 ** (1 / rows)):.1f} %" in said
    heads = [set(grid.head) for grid in found.grids]
    assert "answer changes, cell of another class" in heads[0]
    assert "answer changes, cell of any row, %" in heads[1]


def test_what_does_not_matter_and_yet_moves_the_answers_is_said_to(subject):
    found = answer(planted(subject, lambda a, b, truth: (truth + 1 + b % 2) % 3))
    assert found.account["reliance"]["b"]["accuracy"]["value"] == 0
    moved = found.account["interference"]["b"]["moved"]
    assert moved["value"] > 0.3
    said = next(said for said in found.words if said.startswith("That the model needs b was not shown"))
    assert f"{100 * moved['value']:.0f} % of them change with the b of another row" in said


def test_one_modality_is_enough_only_where_all_together_were_not_shown_to_do_better(subject):
    truth, rng = subject.truth, np.random.default_rng(0)
    half = np.where(rng.random(len(truth)) < 0.5, truth, (truth + 1) % 3)
    worse = (truth + 1) % 3
    planted(subject, lambda a, b, truth: truth)
    subject.__dict__["have"] = np.ones_like(subject.have)
    subject.__dict__["singly"] = {"a": sure(half), "b": sure(worse), "c": sure(worse)}
    found = answer(subject)
    assert found.account["single"]["beyond_best"]["interval"][0] > 0
    assert found.account["single"]["beyond_best"]["value"] == pytest.approx(1 - (half == truth).mean())
    assert any(said.startswith("One modality is not enough") and "a model of a alone" in said for said in found.words)
    subject.__dict__["singly"] = {"a": sure(worse), "b": sure(truth), "c": sure(worse)}
    found = answer(subject)
    assert any(said.startswith("One modality may be enough") and "a model of b alone" in said for said in found.words)
    planted(subject, lambda a, b, truth: half)
    found = answer(subject)
    assert any(said.startswith("One modality is enough") for said in found.words)


def test_where_nothing_beats_the_most_frequent_class_one_modality_is_not_said_to_be_enough(subject):
    planted(subject, lambda a, b, truth: np.zeros(len(truth), int))
    subject.__dict__["singly"] = dict.fromkeys("abc", sure(np.zeros(len(subject.test), int)))
    found = answer(subject)
    assert any(said.startswith("Whether one modality would be enough cannot be told") for said in found.words)
    assert not any(said.startswith("One modality") for said in found.words)


def test_what_leans_most_is_of_what_was_shown(subject):
    """Of a rare modality the loss is larger, but on so few rows it was not shown."""
    few = np.flatnonzero(subject.have[:, 0])[:20]
    subject.__dict__["have"] = np.stack([np.isin(np.arange(len(subject.have)), few), *subject.have[:, 1:].T], 1)
    right = few[:3]

    def decide(a, b, truth):
        # Three of the rare cells decide alone; b decides of every fifth of the other rows.
        wrong = (truth + 1) % 3
        own = np.where(np.arange(len(truth)) % 5 == 0, truth[b], wrong)
        return np.where(np.isin(np.arange(len(truth)), few), np.where(np.isin(a, right), truth[a], wrong), own)

    found = answer(planted(subject, decide))
    reliance = found.account["reliance"]
    assert reliance["a"]["accuracy"]["interval"][0] <= 0 < reliance["b"]["accuracy"]["interval"][0]
    assert reliance["a"]["accuracy"]["value"] > reliance["b"]["accuracy"]["value"]
    assert found.words[0].startswith("The model leans most on b, or on a, as their intervals overlap:")
    assert "A loss was shown" not in " ".join(found.words)


def test_without_models_of_one_modality_the_rest_is_said(run):
    found = answer(asked(run, alone=False))
    assert "single" not in found.account
    assert any("Whether one modality would be enough cannot be said" in said for said in found.words)
    assert found.account["reliance"]


def test_a_modality_whose_rows_mostly_belong_together_is_passed_over(subject):
    groups = np.arange(len(subject.test))
    groups[subject.have[:, 0]] = 0
    subject.__dict__["groups"] = groups
    with pytest.raises(CannotSay, match="could exchange their cells"):
        answer(subject)


def test_it_says_why_where_there_is_no_answer(subject):
    with pytest.raises(CannotSay, match="one modality"):
        answer(replace(subject, model=subject.alone["a"]))
    with pytest.raises(CannotSay, match="could exchange their cells"):
        answer(replace(subject, test=subject.test[:10]))


def test_numbers_are_told_by_how_far_off_and_how_far_moved(tmp_path):
    subject = asked(fitted(tmp_path, "amount"))
    found = answer(subject)
    reliance = found.plain()["account"]["reliance"]
    assert found.words[0].startswith("The model leans most on a:")
    assert reliance["a"]["error"]["interval"][0] > 0.3
    assert reliance["a"]["moved"]["value"] > 0.5
    assert reliance["b"]["error"]["value"] < 0.1
    assert found.account["not_judged"] == ["c"]
    single = found.account["single"]
    assert single["modalities"][single["best"]] == "a"
    # Without looking: the mean of the rows that were learned from.
    unseen = subject.model.priors(len(subject.dataset))["amount"][subject.labelled]
    assert single["unseen"]["value"] == pytest.approx(np.abs(unseen - subject.truth).mean(), rel=1e-5)
    off = np.abs(subject.predicted[subject.labelled] - subject.truth).mean()
    assert single["together"]["value"] == pytest.approx(off, rel=1e-5)
    assert single["measure"] == "mae"
    assert single["gain"]["interval"][0] > 0.3
    assert any(said.startswith("One modality ") and "a model of a alone" in said for said in found.words)
    dealt = lambda given: np.where(given["b"] % 2, 5.0, -5.0).astype(np.float32)
    subject.dealt = dealt
    subject.__dict__["predicted"] = dealt({"b": np.arange(len(subject.test))})
    found = answer(subject)
    assert any(said.startswith("That the model needs b was not shown, but answers move by") for said in found.words)
    assert (
        "That the model needs a was not shown, and no answer was seen to move with the a of another row." in found.words
    )


def test_equal_seeds_give_equal_plain_sections(subject):
    first, second = answer(subject).plain(), answer(subject).plain()
    assert first == second
    assert json.loads(json.dumps(first, allow_nan=False)) == first
    assert first["account"]["classes"] == 3


def test_labels_are_told_by_how_far_their_log_loss_rises(tmp_path):
    subject = labels.subject(labels.run(tmp_path, "tags"))
    found = answer(subject)
    account = found.plain()["account"]
    assert found.words[0].startswith("The model leans most on ")
    assert "the log loss of a label rises by" in found.words[0]
    assert {name for name, one in account["reliance"].items() if one["error"]["interval"][0] > 0.05} == {"a", "b"}
    assert account["reliance"]["c"]["error"]["value"] < 0.05
    chance, truth = subject.predicted, subject.truth
    loss = -np.where(truth > 0.5, np.log(chance), np.log(1 - chance)).mean(1)
    assert account["error_before"]["c"] == pytest.approx(loss[subject.have[:, 2]].mean(), rel=1e-4)
    single = account["single"]
    share = subject.model.priors(1)["tags"][0]
    assert single["measure"] == "log_loss"
    assert single["unseen"]["value"] == pytest.approx(-np.where(truth > 0.5, np.log(share), np.log(1 - share)).mean())
    assert single["together"]["value"] == pytest.approx(loss.mean(), rel=1e-4)
    assert any("how often rows it learned from have each label" in said for said in found.words)

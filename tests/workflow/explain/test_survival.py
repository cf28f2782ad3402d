"""Times to an event are asked about, too: the measure is of pairs of rows, and each row has its part in it."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made import quick, splits

from plait.measures import survival
from plait.workflow.evaluate import single_models
from plait.workflow.explain.balance import answer as balance
from plait.workflow.explain.dependence import answer as dependence
from plait.workflow.explain.enough import enough
from plait.workflow.explain.explain import explain
from plait.workflow.explain.robustness import answer as robustness
from plait.workflow.explain.section import CannotSay
from plait.workflow.explain.subject import Subject
from plait.workflow.explain.task import task_worth
from plait.workflow.explain.trust import answer as trust
from plait.workflow.explain.worth import answer as worth
from plait.workflow.model import Model
from plait.workflow.run import own_rows

SIZE = 600
SETTINGS = ("objectives={supervised: {}}", "missing={modality_dropout: {rate: 0.3}}", "training.epochs=20")


def columns(seed=0):
    """`strong` says when the event comes, `idle` nothing; a fifth of each is not there."""
    rng = np.random.default_rng(seed)
    signal = rng.normal(size=SIZE)
    strong = np.column_stack([signal, signal, rng.normal(size=SIZE)])
    here = rng.random((SIZE, 2)) > 0.2
    return {
        "strong": [v if h else None for v, h in zip(strong.tolist(), here[:, 0], strict=True)],
        "idle": [v if h else None for v, h in zip(rng.normal(size=(SIZE, 3)).tolist(), here[:, 1], strict=True)],
        "months": rng.exponential(np.exp(-2 * signal)).tolist(),
        "died": (rng.random(SIZE) < 0.7).astype(int).tolist(),
        "part": splits(SIZE),
    }


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    pytest.importorskip("sksurv", reason="scikit-survival is not installed: pip install 'plait[survival]'")
    folder = tmp_path_factory.mktemp("survival")
    pq.write_table(pa.table(columns()), folder / "patients.parquet")
    run = quick(folder / "patients.parquet", "months,died", SETTINGS, out=folder / "run", split="part").model.folder
    single_models(Model.load(run))
    return run


@pytest.fixture
def subject(run):
    model = Model.load(run)
    table, begun = own_rows(model)
    learned = np.concatenate([begun.splits["train"], begun.splits["validation"]])
    return Subject(model, table, model.encode(table), begun.splits["test"], learned, single_models(model))


def c_index(subject, predicted, on=None):
    at = slice(None) if on is None else on
    return survival.others(predicted[subject.labelled][at], subject.truth[at])["c_index"]


def test_worth_is_of_the_c_index_and_adds_up(subject):
    found = worth(subject).account
    shares, whole = found["shapley"], c_index(subject, subject.predicted)
    assert found["measure"] == "c_index"
    assert whole > 0.7
    assert sum(one["value"] for one in shares.values()) == pytest.approx(whole - 0.5)
    assert shares["strong"]["low"] > 0 >= shares["idle"]["low"]
    rest = c_index(subject, subject.without("strong"))
    assert found["left_out"]["strong"]["value"] == pytest.approx(whole - rest)


def test_what_it_leans_on_shows_in_the_pairs_of_rows_that_have_it(subject):
    section = dependence(subject)
    reliance = section.account["reliance"]
    assert reliance["strong"]["error"]["interval"][0] > 0 >= reliance["idle"]["error"]["interval"][0]
    on = subject.have[subject.labelled, subject.names.index("strong")]
    before = 1 - c_index(subject, subject.predicted, on)
    assert section.account["error_before"]["strong"] == pytest.approx(before)
    # With another row's cells the order is left to chance.
    assert before + reliance["strong"]["error"]["value"] == pytest.approx(0.5, abs=0.1)
    assert section.words[0].startswith("The model leans most on strong")


def test_some_rows_with_other_answers_lose_what_drawing_them_loses(subject):
    """A pair may have both rows, one or none of them: the expected loss is no straight line."""
    on = np.ones(len(subject.labelled), bool)
    before, after = subject.predicted, 100 * np.roll(subject.predicted, 7)
    said = subject.partly(before, after, (0.0, 0.3, 1.0), on)
    assert said[0.0].mean() == pytest.approx(c_index(subject, before))
    assert said[1.0].mean() == pytest.approx(c_index(subject, after))
    rng, drawn = np.random.default_rng(0), []
    for _ in range(400):
        drawn.append(c_index(subject, np.where(rng.random(len(before)) < 0.3, after, before)))
    assert said[0.3].mean() == pytest.approx(np.mean(drawn), abs=4 * np.std(drawn) / 20)
    line = 0.7 * said[0.0].mean() + 0.3 * said[1.0].mean()
    assert abs(line - said[0.3].mean()) > 0.01


def test_what_breaks_it_is_told(subject):
    modalities = robustness(subject).account["modalities"]
    strong, idle = modalities["strong"], modalities["idle"]
    assert strong["wrong"]["interval"][0] > 0 >= idle["wrong"]["interval"][0]
    on = subject.have[subject.labelled, subject.names.index("strong")]
    lost = c_index(subject, subject.predicted, on) - c_index(subject, subject.without("strong"), on)
    assert strong["absent"]["value"] == pytest.approx(lost)
    assert 0 < strong["tenth"]["value"] < strong["wrong"]["value"] / 4


def test_one_modality_may_be_enough_and_none_is_held_back(subject):
    found = enough(subject)
    assert "one risk for all rows" in found.words[0]
    single = found.account["single"]
    assert single["modalities"][single["best"]] == "strong"
    account = balance(subject).account
    strong = subject.names.index("strong")
    probe = account["probe"][strong]["value"]
    assert probe == pytest.approx(account["alone"][strong]["value"], abs=0.08)
    assert probe > 0.7


def test_by_what_a_row_has_rows_are_compared_with_their_like(subject):
    section = trust(subject)
    whole = f"{c_index(subject, subject.predicted):.3g}"
    assert f"Over all test rows its C-index is {whole}." in section.words
    patterns = {tuple(one["present"]): one for one in section.account["having"]["patterns"]}
    both = patterns[tuple(subject.names)]
    on = subject.have[subject.labelled].all(1)
    assert both["value"] == pytest.approx(c_index(subject, subject.predicted, on))
    better = both["value"] - c_index(subject, subject.predicted, ~on)
    assert both["better"] == pytest.approx(better)


def test_to_the_task_models_are_trained_anew(subject, monkeypatch, tmp_path):
    monkeypatch.setenv("PLAIT_CACHE", str(tmp_path))
    found = task_worth(subject)
    strong, idle = (subject.names.index(name) for name in ("strong", "idle"))
    assert found.interval[strong, 0] > 0 >= found.interval[idle, 0]
    assert found.value.sum() > 0.2


def test_where_no_two_rows_can_be_compared_it_says_so(subject):
    subject.__dict__["truth"] = np.column_stack([subject.truth[:, 0], np.zeros(len(subject.truth))])
    with pytest.raises(CannotSay, match="no event was seen before the time of another row"):
        worth(subject)


def test_every_question_but_that_of_bits_has_an_answer(run):
    found = {section.name: section for section in explain(Model.load(run)).sections}
    assert [name for name, section in found.items() if not section.account] == ["interactions"]
    assert "cannot be cut into early, middle and late" in " ".join(found["interactions"].words)
    json.dumps({name: section.account for name, section in found.items()}, allow_nan=False)

import asked
import numpy as np
import pytest

from plait.core.errors import RunError
from plait.workflow.explain import on_the_way as module
from plait.workflow.explain.balance import answer
from plait.workflow.explain.on_the_way import on_the_way


@pytest.fixture(scope="module")
def subject(tmp_path_factory):
    return asked.subject(asked.run(tmp_path_factory.mktemp("trained")), deep=True)


def test_the_training_is_the_runs_own_so_that_its_end_is_where_the_model_stands(subject):
    """The run keeps its last epoch, and all epochs are looked at."""
    found = answer(subject).account
    last = {tuple(pair["pair"]): pair["cosine"] for pair in found["gradients"]}
    way = {tuple(pair["pair"]): pair["cosine"] for pair in found["on_the_way"]}
    assert set(way) == set(last)
    for pair, cosines in way.items():
        assert len(cosines) == asked.RECIPE["training"]["epochs"]
        assert cosines[-1] == pytest.approx(last[pair], abs=1e-5)
    assert any(abs(cosines[0] - cosines[-1]) > 0.05 for cosines in way.values())


def test_pairs_pulled_apart_where_all_batches_say_so(subject, monkeypatch):
    """a and b at epochs 1 and 3; a and c in half of the batches; b and c never."""

    def moment(ab, ac):
        cosine = np.tile(np.eye(3), (6, 1, 1))
        cosine[:, 0, 1] = cosine[:, 1, 0] = ab
        cosine[:, 0, 2] = cosine[:, 2, 0] = ac
        return cosine

    mixed = [0.5, -0.5] * 3
    moments = {1: moment(-0.4, mixed), 2: moment(0.3, mixed), 3: moment(-0.6, mixed)}
    monkeypatch.setattr(module, "_moments", lambda subject: moments)
    part = on_the_way(subject)
    against = {tuple(pair["pair"]): pair["against"] for pair in part.account["on_the_way"]}
    assert against == {("a", "b"): [1, 3], ("a", "c"): [], ("b", "c"): []}
    (said,) = part.words
    assert "a and b pulled" in said
    assert "at 2 of 3 moments, the most after epoch 3 (cosine -0.60)" in said


def test_a_pair_without_gradients_is_not_spoken_of(subject, monkeypatch):
    cosine = np.full((4, 3, 3), np.nan)
    cosine[:, 0, 1] = cosine[:, 1, 0] = 0.2
    monkeypatch.setattr(module, "_moments", lambda subject: {1: cosine})
    part = on_the_way(subject)
    assert [pair["pair"] for pair in part.account["on_the_way"]] == [["a", "b"]]
    assert "was not shown at any moment" in part.words[0]


def test_what_stops_a_training_is_said_and_the_rest_of_the_answer_stands(subject, monkeypatch):
    def stopped(*args, **how):
        raise RunError("The disk is full.")

    monkeypatch.setattr(module, "train", stopped)
    found = answer(subject)
    assert found.words[-1].endswith("The disk is full.")
    assert "gradients" in found.account


def test_only_the_deep_ask_for_it(subject):
    shallow = asked.changed(subject)
    shallow.deep = False
    assert "on_the_way" not in answer(shallow).account

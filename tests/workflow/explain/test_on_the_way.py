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


def moments(*means, batches=8, spread=0.05):
    """{epoch: cosines [b, 3, 3]} of a and b with these means; a and c are 0 on average, b and c .3."""
    out = {}
    for epoch, mean in enumerate(means, 1):
        noise = spread * np.random.default_rng(epoch).normal(size=(batches, 3))
        cosine = np.tile(np.eye(3), (batches, 1, 1))
        for k, (i, j, centre) in enumerate(((0, 1, mean), (0, 2, 0.0), (1, 2, 0.3))):
            cosine[:, i, j] = cosine[:, j, i] = centre + noise[:, k]
        out[epoch] = cosine
    return out


def test_pairs_pull_apart_at_the_moments_where_the_batches_agree(subject, monkeypatch):
    monkeypatch.setattr(module, "_moments", lambda subject: moments(-0.4, 0.3, -0.6))
    part = on_the_way(subject)
    against = {tuple(pair["pair"]): pair["against"] for pair in part.account["on_the_way"]}
    assert against == {("a", "b"): [1, 3], ("a", "c"): [], ("b", "c"): []}
    (said,) = part.words
    assert "a and b pulled" in said
    assert "at 2 of 3 moments, the most after epoch 3" in said


def test_many_looks_find_nothing_in_noise(subject, monkeypatch):
    """One in 20 looks alone would be below 0; one in 20 whole trainings may be."""
    wrong = 0
    for seed in range(60):
        cosine = 0.1 * np.random.default_rng(seed).normal(size=(10, 8, 3, 3))
        monkeypatch.setattr(module, "_moments", lambda subject, c=cosine: dict(enumerate(c, 1)))
        wrong += "pulled the parts that all share against each other at" in " ".join(on_the_way(subject).words)
    assert wrong <= 7


def test_a_pair_without_gradients_is_not_spoken_of(subject, monkeypatch):
    found = moments(0.2)
    found[1][:, [0, 1, 2, 2], [2, 2, 0, 1]] = np.nan
    monkeypatch.setattr(module, "_moments", lambda subject: found)
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

import asked
import numpy as np
import pytest
import torch

from plait.workflow.explain.balance import answer
from plait.workflow.explain.gradients import gradients
from plait.workflow.explain.section import CannotSay


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return asked.run(tmp_path_factory.mktemp("balance"))


@pytest.fixture(scope="module")
def subject(folder):
    return asked.subject(folder)


def test_nothing_is_held_back_where_each_was_learned(subject):
    found = answer(subject)
    assert found.words[0].startswith("No modality was shown to drown the others")
    account = found.plain()["account"]
    assert account["modalities"] == ["a", "b", "c"]
    for m in (0, 1):
        assert account["probe"][m]["value"] > 0.8
        assert abs(account["shortfall"][m]["value"]) < 0.1
    assert account["rows"] == subject.have.sum(0).tolist()
    assert (account["gap"]["first"] in "ab", account["gap"]["last"]) == (True, "c")
    low, high = account["gap"]["interval"]
    assert low <= account["gap"]["value"] <= high


def test_a_modality_that_the_joint_model_lost_is_named_and_no_other(subject):
    other = asked.changed(subject)
    with torch.no_grad():
        for parameter in other.model.network.encoders["b"].parameters():
            parameter.zero_()
    found = answer(other)
    assert found.words[0].startswith("Beside the others, the model learned less of b than there is to learn")
    held = found.account["shortfall"][1]
    assert held["interval"][0] > 0.3
    assert f"{100 * held['value']:.1f} points more from b" in found.words[0]
    # What it makes of b is always the same, so only the most frequent class can be read off it.
    counts = np.bincount(subject.truth)
    assert round(found.account["probe"][1]["value"] * len(subject.truth)) in counts
    first = found.grids[0].lines[0]
    assert first[0] == "b"


def test_a_model_of_its_own_that_learned_nothing_shows_the_contrary(subject):
    other = asked.changed(subject)
    other.alone = {**subject.alone, "a": asked.changed(asked.subject(subject.model.folder)).alone["a"]}
    with torch.no_grad():
        for parameter in other.alone["a"].network.parameters():
            parameter.zero_()
    assert "Of a it learned more beside the others than a model of its own." in answer(other).words


def test_few_rows_are_not_spoken_of(subject):
    other = asked.changed(subject)
    keep = np.flatnonzero(~subject.have[:, 2])[:60]
    other.test = subject.test[np.sort(np.concatenate([keep, np.flatnonzero(subject.have[:, 2])[:20]]))]
    assert any(word.startswith("Nothing is said of c (20 rows)") for word in answer(other).words)
    other = asked.changed(subject)
    other.test = subject.test[:30]
    assert answer(other).words[0].startswith("There are too few rows to tell")


def test_what_is_read_of_a_modality_is_of_the_rows_that_have_it_and_of_it_alone(subject):
    alone = subject.model.alone(subject.dataset, subject.target)
    head = subject.model.network.heads[subject.target]
    decided = subject.decided((name,) for name in subject.names)
    for m, name in enumerate(subject.names):
        rows, values = alone[name]
        assert rows.tolist() == np.flatnonzero(subject.have[:, m]).tolist()
        with torch.no_grad():
            said = head.predict(head.decide(torch.as_tensor(values))).numpy()
        assert np.allclose(said, decided[(name,)][rows], atol=1e-5)


def test_rows_that_belong_together_widen_the_interval(subject):
    other = asked.changed(subject)
    other.__dict__["groups"] = np.arange(len(subject.test)) // 20
    one, two = (answer(s).account["probe"][2]["interval"] for s in (subject, other))
    assert one != two


@pytest.mark.parametrize("sign", [1, -1])
def test_modalities_that_ask_for_the_same_or_the_opposite(subject, monkeypatch, sign):
    """b has the cells and the encoder of a, but for a sign; an even-handed head then learns the opposite from it."""
    other = asked.changed(subject)
    network, stores = other.model.network, other.encoded.dataset.stores
    network.encoders["b"].load_state_dict(network.encoders["a"].state_dict())
    network.encoders["b"].register_forward_hook(lambda _, cells, out: out.with_(values=sign * out.values))
    with torch.no_grad():
        for parameter in network.heads["label"].parameters():
            parameter.zero_()
    monkeypatch.setitem(stores, "b", stores["a"])
    said, _, account = gradients(other)
    pair = next(pair for pair in account["gradients"] if pair["pair"] == ["a", "b"])
    assert pair["lowest"] <= pair["cosine"] <= pair["highest"]
    assert pair["batches"] > 1
    if sign > 0:
        assert (pair["cosine"], pair["similarity"], pair["below"]) == (pytest.approx(1), pytest.approx(1), 0)
        assert "a and b pull" not in said
    else:
        assert pair["cosine"] < -0.5
        assert pair["interval"][1] < 0
        assert pair["below"] == pair["batches"]
        assert "a and b pull the parts that all share against each other" in said


def test_asking_leaves_the_model_as_it_was(subject):
    before = {name: value.clone() for name, value in subject.model.network.state_dict().items()}
    gradients(subject)
    assert all(torch.equal(value, before[name]) for name, value in subject.model.network.state_dict().items())
    assert all(p.grad is None for p in subject.model.network.parameters())


def test_numbers_are_judged_by_how_far_off_they_are(tmp_path):
    subject = asked.subject(asked.run(tmp_path, "amount"))
    account = answer(subject).plain()["account"]
    assert max(one["value"] for one in account["shortfall"]) < 0.1
    # a and b tell the number, which is off by .67 of its mean on average; c does not.
    assert all(0 < account[of][m]["value"] < 0.45 for of in ("probe", "alone") for m in (0, 1))
    assert account["probe"][2]["value"] > 0.5
    assert account["measure"] == "mae"
    assert len(account["gradients"]) == 3
    assert account["discrepancy"] == [None] * 3
    other = asked.changed(subject)
    with torch.no_grad():
        for parameter in other.model.network.encoders["b"].parameters():
            parameter.zero_()
    found = answer(other)
    assert "ahead of the others (1: even)" not in found.grids[0].head
    assert found.words[0].startswith("Beside the others, the model learned less of b")
    held = found.account["shortfall"][1]
    assert held["interval"][0] > 0.3
    assert f"is less far off, by {held['value']:.3g} mean absolute error for b" in found.words[0]
    # What it makes of b is always the same, so all that can be read off it is the mean of what was learned.
    learned = subject.encoded.dataset.take(subject.learned).target("amount").values.numpy()
    off = np.abs(subject.truth[subject.have[:, 1]] - learned.mean()).mean()
    assert found.account["probe"][1]["value"] == pytest.approx(off, rel=1e-4)


def test_labels_are_judged_by_their_log_loss(tmp_path):
    subject = asked.subject(asked.run(tmp_path, "tags"))
    assert subject.about.classes == ("coin", "x", "y", "z")
    account = answer(subject).plain()["account"]
    assert account["measure"] == "log_loss"
    assert max(one["value"] for one in account["shortfall"]) < 0.1
    # A label is x, y or z in a third of the rows, and coin in half: as good as that without looking.
    idle = (np.log(2) + 3 * (np.log(3) - 2 / 3 * np.log(2))) / 4
    assert all(0 < account[of][m]["value"] < idle - 0.2 for of in ("probe", "alone") for m in (0, 1))
    assert account["probe"][2]["value"] == pytest.approx(idle, abs=0.05)
    other = asked.changed(subject)
    with torch.no_grad():
        for parameter in other.model.network.encoders["b"].parameters():
            parameter.zero_()
    found = answer(other)
    assert found.words[0].startswith("Beside the others, the model learned less of b")
    # What it makes of b is always the same, so all that can be read off it is how often labels were given.
    share = subject.encoded.dataset.take(subject.learned).target("tags").values.numpy().mean(0)
    truth = subject.truth[subject.have[:, 1]]
    loss = -np.where(truth > 0.5, np.log(share), np.log(1 - share)).mean()
    assert found.account["probe"][1]["value"] == pytest.approx(loss, rel=1e-3)


def test_decisions_that_are_combined_are_read_where_each_is_made(tmp_path):
    subject = asked.subject(asked.run(tmp_path, fusion={"late_average": {}}, projection=None))
    alone, head = subject.model.alone(subject.dataset, "label"), subject.model.network.singles["label"]
    decided = subject.decided((name,) for name in subject.names)
    for name, (rows, values) in alone.items():
        with torch.no_grad():
            said = head[name].predict(head[name].decide(torch.as_tensor(values))).numpy()
        assert np.allclose(said, decided[(name,)][rows], atol=1e-5)
    found = answer(subject)
    assert found.account["probe"][0]["value"] > 0.8
    assert "The modalities share no parameters in which they could pull against each other." in found.words


def test_what_stands_in_for_a_modality_is_not_read_as_it(tmp_path):
    subject = asked.subject(asked.run(tmp_path, missing={"learned_tokens": {}}))
    rows, _ = subject.model.alone(subject.dataset, "label")["c"]
    assert rows.tolist() == np.flatnonzero(subject.have[:, 2]).tolist()
    assert answer(subject).account["rows"] == subject.have.sum(0).tolist()


def test_no_answer_without_learned_rows_other_modalities_or_models_of_one(subject, folder):
    other = asked.changed(subject)
    other.learned = subject.learned[:0]
    with pytest.raises(CannotSay, match="rows that the model learned from"):
        answer(other)
    single = asked.changed(subject)
    single.model = subject.alone["a"]
    with pytest.raises(CannotSay, match="one modality"):
        answer(single)
    bare = asked.changed(subject)
    bare.alone = {}
    assert "no models trained on a single modality" in answer(bare).words[0]

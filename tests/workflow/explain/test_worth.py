import re

import numpy as np
import pytest

from plait.measures.estimate import Estimate
from plait.measures.worth.shapley import Worth
from plait.workflow.explain import worth
from plait.workflow.explain.section import CannotSay
from plait.workflow.explain.worth import answer
from plait.workflow.model import Model


@pytest.fixture
def found(subject):
    return answer(subject)


def test_what_decides_is_worth_most_and_noise_nothing(found):
    shares = found.account["shapley"]
    assert shares["strong"]["value"] > 2 * shares["weak"]["value"] > 0
    assert shares["idle"]["low"] <= 0 <= shares["idle"]["high"]
    assert shares["strong"]["low"] > 0
    assert re.search(r"of that strong \([\d.]+ points\) gives the most", found.words[0])
    assert any("idle" in said and "not shown" in said for said in found.words[1:])


def test_shares_add_up_to_what_all_is_worth_above_the_prior(found, subject):
    gain = subject.values(subject.predicted).mean() - subject.values(subject.decided([()])[()]).mean()
    assert found.account["total"]["value"] == pytest.approx(gain)
    assert sum(one["value"] for one in found.account["shapley"].values()) == pytest.approx(gain)


def test_the_first_sentence_has_an_interval_and_claims_no_more_than_it(found, subject):
    low, high = (100 * end for end in found.account["total"]["interval"])
    assert 0 < low < 100 * found.account["total"]["value"] < high
    rows = len(subject.labelled)
    assert f"(95 % interval {low:.1f} to {high:.1f}, {rows} rows) above answering without looking" in found.words[0]


def test_a_worth_that_was_not_shown_is_not_told_as_one(subject):
    """Of five rows nobody can tell."""
    subject.test = subject.test[:5]
    said = answer(subject).words[0]
    assert said.startswith("That all modalities together are worth anything above answering without looking was not")
    assert "gives the most" not in said


def test_shares_by_class_say_what_they_are_measured_against(subject):
    """Without looking the most frequent class is said, so all of its rows are right: any doubt of it is a loss."""
    subject.test = np.arange(len(subject.table))
    (grid,) = [grid for grid in answer(subject).grids if grid.title.startswith("Share by class")]
    unseen = subject.classes[np.bincount(subject.truth[np.isin(subject.labelled, subject.learned)]).argmax()]
    assert f"above always saying {unseen}: what other classes gain by a modality, {unseen} may lose" in grid.title
    total = {line[0]: sum(float(cell.split()[0]) for cell in line[2:]) for line in grid.lines}
    right = subject.predicted[subject.labelled].argmax(1) == subject.truth
    for c, label in enumerate(subject.classes):
        assert total[label] == pytest.approx(100 * (right[subject.truth == c].mean() - (label == unseen)), abs=0.2)


def test_leaving_one_out_is_hiding_it(found, subject):
    rest = tuple(name for name in subject.names if name != "strong")
    lost = subject.values(subject.predicted).mean() - subject.values(subject.decided([rest])[rest]).mean()
    assert found.account["left_out"]["strong"]["value"] == pytest.approx(lost)


def test_every_row_says_what_decided_it(found, subject):
    per_row = found.account["per_row"]
    assert set(per_row) == {subject.dataset.ids[row] for row in subject.labelled}
    deciders = [said["decided"] for said in per_row.values()]
    assert deciders.count("strong") > deciders.count("weak") > 0
    shares = {kind: np.mean([said["kind"] == kind for said in per_row.values()]) for kind in found.account["kinds"]}
    assert sum(shares.values()) == pytest.approx(1)
    for kind, share in shares.items():
        assert found.account["kinds"][kind]["value"] == pytest.approx(share)


def test_one_modality_has_nothing_to_share(subject):
    subject.model = type("One", (), {"names": ("strong",)})()
    with pytest.raises(CannotSay, match="one modality"):
        answer(subject)


def test_without_a_target_it_cannot_be_said(subject):
    subject.model = type("Aligned", (Model,), {"targets": {}, "names": subject.names, "__init__": lambda self: None})()
    with pytest.raises(CannotSay, match="no target"):
        answer(subject)


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        ([(20, 30), (5, 9), (-1, 3)], "of that strong (25.0 points) gives the most."),
        ([(20, 30), (15, 24), (-1, 3)], "of that strong (25.0 points) and weak (19.5 points) give the most; their "),
        ([(20, 30), (-1, 24), (-9, 3)], "strong (25.0 points) gives the most, though more than weak was not shown."),
    ],
)
def test_the_first_is_not_put_before_those_that_it_was_not_told_apart_from(subject, ends, said):
    """Nor is one called first beside others whose share was not shown at all."""
    interval = np.array(ends) / 100
    shares = Worth((("strong",), ("weak",), ("idle",)), interval.mean(1), interval, np.zeros(3), None)
    subject.__dict__["measure"] = "accuracy"
    words = worth._words(subject, shares, shares, [0, 1, 2], Estimate(0.4, (0.3, 0.5)))
    assert said in words[0]


def test_a_share_whose_cells_may_be_anyones_is_told_to_be_the_absence(subject):
    """As if a share were shown of each: without the noise a model may be lost, with any row's noise it is not."""
    ends = np.array([(0.2, 0.3), (0.1, 0.2), (0.02, 0.1)])
    shares = Worth(tuple((name,) for name in subject.names), ends.mean(1), ends, np.zeros(3), None)
    (said,), account = worth._surprised(subject, shares)
    assert said.startswith("With the idle of other rows nothing was shown to be lost")
    assert account["strong"]["interval"][0] > 0
    moved = np.random.default_rng(0).permutation(len(subject.labelled))
    has = subject.have[subject.labelled, subject.names.index("strong")]
    donors = np.where(has, np.flatnonzero(has)[moved % has.sum()], -1)
    right = [said.argmax(1) == subject.truth for said in (subject.exchanged({}), subject.exchanged({"strong": donors}))]
    drop = right[0][has].mean() - right[1][has].mean()
    assert subject.measure == "accuracy"
    assert account["strong"]["value"] == pytest.approx(drop, abs=0.15)
    none = Worth(shares.of, shares.value, ends - 1, np.zeros(3), None)
    assert worth._surprised(subject, none) == ([], {})

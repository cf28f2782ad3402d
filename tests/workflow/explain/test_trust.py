import itertools

import asked
import numpy as np
import pytest

from plait.data.schema import JOINT
from plait.data.store import Store
from plait.workflow.explain import unlike
from plait.workflow.explain.section import CannotSay
from plait.workflow.explain.trust import answer


@pytest.fixture(scope="module")
def subject(tmp_path_factory):
    return asked.subject(asked.run(tmp_path_factory.mktemp("trust")))


@pytest.fixture(scope="module")
def number(tmp_path_factory):
    return asked.subject(asked.run(tmp_path_factory.mktemp("trust"), "amount"))


def stated(truth, right, confidence):
    """Probabilities [n, 3] of which the highest is `confidence`, on the true class where `right`."""
    said = np.where(right, truth, (truth + 1) % 3)
    out = np.repeat(((1 - confidence) / 2)[:, None], 3, 1)
    out[np.arange(len(truth)), said] = confidence
    return out


def told(subject, predicted, **companies):
    """The subject as if the model predicted this, from all modalities and from any of them unless said otherwise."""
    other = asked.changed(subject)
    for size in range(len(subject.names) + 1):
        for company in itertools.combinations(subject.names, size):
            other._decided[company] = {subject.target: companies.get("_".join(company), predicted)}
    return other


def said(found, start):
    return any(word.startswith(start) for word in found.words)


def test_the_numbers_are_those_of_the_test_rows(subject):
    found = answer(subject)
    right = subject.predicted.argmax(1) == subject.truth
    account = found.plain()["account"]
    assert account["surest"]["accuracy"]["1.0"]["value"] == pytest.approx(right.mean())
    order = np.argsort(-subject.predicted.max(1), kind="stable")[: len(right) // 2]
    assert account["surest"]["accuracy"]["0.5"]["value"] == pytest.approx(right[order].mean())
    first = account["stated"]["patterns"][0]
    assert first["right"] == pytest.approx(right.mean())
    assert first["states"] == pytest.approx(subject.predicted.max(1).mean())
    assert account["having"] == {"refused": ""}
    assert all(found.words)


@pytest.mark.parametrize("sign", [1, 0, -1])
def test_it_knows_where_it_is_right_only_where_it_does(subject, sign):
    rng = np.random.default_rng(0)
    right = rng.random(len(subject.truth)) < 0.6
    confidence = np.where(right, 0.8 + 0.1 * sign, 0.8) + 0.01 * rng.random(len(right))
    found = answer(told(subject, stated(subject.truth, right, confidence)))
    assert found.words[0].startswith("Trust it more" if sign > 0 else "That it knows where it is right was not shown")
    assert f"of all rows {100 * right.mean():.0f} %" in found.words[0]


def test_without_errors_nothing_is_said_of_where_it_errs(subject):
    rows = len(subject.truth)
    found = answer(told(subject, stated(subject.truth, np.ones(rows, bool), np.full(rows, 0.9))))
    assert found.words[0] == f"It is right on all of the {rows} test rows, which cannot show where it errs."
    assert said(found, "It is wrong on none of the test rows")
    low, high = found.account["surest"]["accuracy"]["0.5"]["interval"]
    assert 0.9 < low < high == 1


@pytest.mark.parametrize(("confidence", "how"), [(0.9, "too sure"), (0.4, "too modest"), (0.7, "")])
def test_stated_confidence_is_compared_with_what_is_right(subject, confidence, how):
    right = np.arange(len(subject.truth)) % 10 < 7
    found = answer(told(subject, stated(subject.truth, right, np.full(len(right), confidence))))
    whole = found.account["stated"]["patterns"][0]
    assert whole["too_sure"] == pytest.approx(confidence - 0.7, abs=0.01)
    assert any(f"on the whole it is {how}" in w for w in found.words) == bool(how)
    assert any("too sure or too modest was not shown" in w for w in found.words) != bool(how)
    # Without the bias of few rows nothing is left where the confidence is right.
    assert whole["rms_debiased"] == pytest.approx(abs(confidence - 0.7), abs=0.05)


def test_patterns_with_few_rows_are_refused_with_their_number(subject):
    other = asked.changed(subject)
    with_c = np.flatnonzero(subject.have[:, 2])
    other.test = subject.test[np.sort(np.concatenate([np.flatnonzero(~subject.have[:, 2]), with_c[:49]]))]
    found = answer(other)
    few = next(p for p in found.account["stated"]["patterns"] if p["present"] == ["a", "b", "c"])
    assert (few["rows"], few["refused"]) == (49, "fewer than 50 rows")
    line = next(line for line in found.grids[1].lines if line[0] == "a, b, c")
    assert line[1] == "49"
    assert set(line[2:]) == {"\N{EN DASH}"}


@pytest.mark.parametrize("tells", [True, False])
def test_contradiction_gives_errors_away_only_where_it_does(subject, tells):
    rng = np.random.default_rng(1)
    truth, rows = subject.truth, len(subject.truth)
    right = rng.random(rows) < 0.7
    fused = stated(truth, right, np.full(rows, 0.6))
    at_odds = ~right ^ (rng.random(rows) < 0.1) if tells else rng.random(rows) < 0.3
    b = stated(truth, right ^ at_odds, np.full(rows, 0.6))
    found = answer(told(subject, fused, b=b))
    assert said(found, "Be wary where single modalities contradict") == tells
    assert said(found, "That errors are more frequent where single modalities contradict") != tells
    detector = found.account["signs"]["conflict"]["detector"]
    assert (detector["interval"][0] > 0.5) == tells


@pytest.mark.parametrize(("wrong", "below", "shown"), [(3, 0.02, True), (3, 0.3, False), (60, 0.1, True)])
def test_the_first_sentence_says_of_confidence_what_its_figure_says(subject, wrong, below, shown):
    """Of three errors among the surest none may be drawn; and resampled, three seem surer than they are."""
    rows = len(subject.truth)
    order = np.random.default_rng(3).permutation(rows)
    right = np.ones(rows, bool)
    at = int(below * rows)
    right[order[at : at + wrong]] = False
    found = answer(told(subject, stated(subject.truth, right, 0.5 + 0.4 * np.argsort(order) / rows)))
    sign = found.account["signs"]["signs"]["little confidence"]
    assert sign["auroc"] > 0.6
    assert (sign["interval"][0] > 0.5) == shown
    assert found.words[0].startswith("Trust it more" if shown else "That it knows where it is right was not shown")
    assert f"less sure of the wrong one in {100 * sign['auroc']:.0f} % of all pairs" in found.words[0]
    if wrong == 3:
        assert found.account["surest"]["gain_of_surest_half"]["interval"][0] <= 0


@pytest.mark.parametrize("tells", [True, False])
def test_every_sign_in_the_figure_is_told_in_words(subject, tells):
    other = spread(subject, 40)
    right = np.arange(len(subject.truth)) % 5 > 0
    if tells:
        right = right & ~np.isin(subject.labelled, np.arange(40))
    companies = told(other, stated(subject.truth, right, np.full(len(right), 0.7)))._decided
    other._decided.update(companies)
    found = answer(other)
    assert set(found.account["signs"]["signs"]) == {
        "little confidence",
        "contradicting modalities",
        "far from what was learned",
    }
    assert said(found, "Be wary where rows are far from what was learned") == tells
    assert said(found, "That errors are more frequent where rows are far from what was learned was not shown") != tells
    assert any("single modalities contradict each other" in word for word in found.words)


def test_what_stands_in_absent_cells_changes_nothing(subject):
    right = np.arange(len(subject.truth)) % 3 > 0
    fused = stated(subject.truth, right, np.full(len(right), 0.6))
    other = stated(subject.truth, ~right, np.full(len(right), 0.9))
    c = np.where(subject.have[:, [2]], fused, other)
    one, two = (answer(told(subject, fused, c=cells)).plain() for cells in (fused, c))
    assert one == two


def spread(subject, far, refit=False):
    """The subject with embeddings made by hand; the first `far` test rows point where no training row does."""
    other = asked.changed(subject)
    rng = np.random.default_rng(2)
    around = lambda rows: np.eye(6)[0] + 0.2 * rng.normal(size=(rows, 6))
    test, learned = around(len(subject.test)), around(len(subject.learned))
    test[:far] = -test[:far]
    other.__dict__["embeddings"] = {JOINT: (np.arange(len(test)), test)}
    other.__dict__["learned_embeddings"] = {JOINT: (np.arange(len(learned)), learned)}
    other.model.info = {**subject.model.info, "refit": refit}
    return other


def test_rows_unlike_the_learned_ones_are_counted_and_named(subject):
    found = answer(spread(subject, 80))
    assert said(found, "Test rows are unlike those it learned from")
    account = found.account["unlike"]
    assert account["beyond"]["value"] == pytest.approx(
        (80 + 0.05 * (len(subject.test) - 80)) / len(subject.test), abs=0.06
    )
    assert {row["id"] for row in account["furthest"]} <= set(subject.dataset.ids[:80])
    held = unlike.distances(spread(subject, 80))[2]
    assert np.mean(held < account["usual"]) == pytest.approx(0.95, abs=0.02)
    assert all(row["distance"] > account["usual"] for row in account["furthest"])
    assert any(grid.title.endswith(f"are nearer than {account['usual']:.2f}") for grid in found.grids)
    right = dict(zip(subject.dataset.ids, subject.predicted.argmax(1) == subject.truth, strict=True))
    assert all(row["right"] == right[row["id"]] for row in account["furthest"])
    assert account["furthest"][0]["present"] == ["a", "b", *(["c"] if "c" in account["furthest"][0]["present"] else [])]
    assert account["validation_rows"] == int(subject.watched.sum())


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (30, "Be wary where single modalities contradict each other: of a wrong row and a right one"),
        (4, "That errors are more frequent where single modalities contradict each other was not shown"),
    ],
)
def test_a_detector_that_misses_no_error_claims_what_so_many_errors_show(subject, wrong, words):
    right = np.arange(len(subject.truth)) >= wrong
    fused, other = (stated(subject.truth, r, np.full(len(right), 0.6)) for r in (right, np.ones(len(right), bool)))
    found = answer(told(subject, fused, b=other))
    assert found.account["signs"]["conflict"]["detector"]["value"] == 1
    assert said(found, words)


def test_rows_of_the_same_kind_are_not_called_unlike(subject):
    found = answer(spread(subject, 0))
    assert said(found, "That test rows are unlike those it learned from was not shown")
    assert found.account["unlike"]["beyond"]["value"] < 0.15


def test_validation_rows_that_were_learned_from_too_are_no_standard(subject):
    assert said(answer(spread(subject, 80, refit=True)), "Whether test rows are unlike those it learned from cannot be")


def test_without_learned_rows_or_a_shared_space_the_rest_is_said(subject):
    other = asked.changed(subject)
    other.learned = subject.learned[:0]
    bare = asked.changed(subject)
    bare.model.network.projection = None
    for one, why in ((other, "rows that the model learned from are not at hand"), (bare, "without a shared space")):
        found = answer(one)
        assert said(found, "Trust it more")
        assert why in found.account["unlike"]["refused"]
        assert any(why in word for word in found.words)
        assert "far from what was learned" not in found.account["signs"]["signs"]


@pytest.mark.parametrize("alike", [True, False])
def test_groups_that_fare_differently_are_named(subject, alike):
    kind = np.array(subject.table.take(subject.test).column("kind").to_pylist())
    right = np.arange(len(kind)) // 2 % 5 > 0
    fused = stated(subject.truth, right if alike else right & (kind != "one"), np.full(len(kind), 0.7))
    other = told(subject, fused)
    other.by = "kind"
    found = answer(other)
    assert said(found, "Groups of kind do not fare alike: 100 % of one are wrong") != alike
    assert said(found, "That groups of kind fare differently was not shown") == alike
    account = found.account["groups"]
    assert account["refused"] == {"few": int((kind == "few").sum())}
    grid = next(grid for grid in found.grids if grid.title.startswith("Errors by kind"))
    assert grid.lines[-1] == ("few", str(int((kind == "few").sum())), "\N{EN DASH}")


def test_a_modality_without_which_groups_fare_alike_is_named(subject):
    """From all, every row of one group is wrong; without b, and without c, none is."""
    kind = np.array(subject.table.take(subject.test).column("kind").to_pylist())
    sure = np.full(len(kind), 0.7)
    gone, fused = (stated(subject.truth, right, sure) for right in (kind != "none", kind != "one"))
    other = told(subject, fused, a_c=gone)
    other.by = "kind"
    found = answer(other)
    assert said(found, "Hiding b makes the difference in errors closer.")
    assert {m: one["change"] for m, one in found.account["groups"]["hidden"].items()} == {"a": 0, "b": -1, "c": 0}
    wider = told(subject, gone, b_c=fused)
    wider.by = "kind"
    assert said(answer(wider), "Hiding a makes the difference in errors wider.")
    same = told(subject, fused)
    same.by = "kind"
    assert said(answer(same), "That hiding any one modality changes the difference in errors was not shown.")


def test_one_large_group_is_not_compared(subject):
    other = asked.changed(subject)
    other.test = subject.test[:90]
    other.by = "kind"
    assert said(answer(other), "Whether groups of kind are treated alike cannot be said")


def test_numbers_are_told_by_pattern_and_by_group(number):
    truth, have_c = number.truth, number.have[:, 2]
    kind = np.array(number.table.take(number.test).column("kind").to_pylist())
    off = np.random.default_rng(3).normal(size=len(truth)) * 0.1
    other = told(number, truth + off + 2 * have_c + 5 * (kind == "one"))
    other.by = "kind"
    found = answer(other)
    error = np.abs(other.predicted - truth)
    assert found.words[0] == f"Over all test rows its mean absolute error is {error.mean():.3g}."
    assert said(found, "Groups of kind do not fare alike: it is off by")
    patterns = {tuple(p["present"]): p for p in found.account["having"]["patterns"]}
    assert patterns["a", "b", "c"]["value"] == pytest.approx(error[have_c].mean())
    assert patterns["a", "b", "c"]["better"] == pytest.approx(error[~have_c].mean() - error[have_c].mean())
    assert said(found, "On rows that have just a, b, c it is worse than on the others")
    assert said(found, "On rows that have just a, b it is better than on the others")
    assert "asked of classes" in found.account["surest"]["refused"]
    for row in found.account["unlike"]["furthest"]:
        assert row["off_by"] == pytest.approx(error[list(other.dataset.ids).index(row["id"])])
    assert any(grid.head[-1] == "off by" for grid in found.grids)
    assert sum("asked of classes" in word for word in found.words) == 1


def test_numbers_whose_errors_are_alike_are_not_told_apart(number):
    off = np.random.default_rng(3).normal(size=len(number.truth))
    assert not any("than on the others" in word for word in answer(told(number, number.truth + off)).words)


def test_labels_that_the_model_doubts_are_listed_the_most_suspicious_first(subject):
    """It is .8 sure of every label but three, and surer the other way of one than of the other two."""
    right, confidence = np.ones(len(subject.truth), bool), np.full(len(subject.truth), 0.8)
    wrong = [7, 30, 51]
    right[wrong], confidence[wrong] = False, [0.85, 0.95, 0.9]
    found = answer(told(subject, stated(subject.truth, right, confidence)))
    account = found.account["doubted"]
    assert account["rows"] == len(subject.truth)
    assert [row["id"] for row in account["found"]] == [subject.dataset.ids[subject.labelled[i]] for i in (30, 51, 7)]
    first = account["found"][0]
    assert (first["of_said"], first["of_label"]) == pytest.approx((0.95, 0.025))
    assert first["label"] == subject.classes[subject.truth[30]] != first["said"]
    assert said(found, f"3 of the {len(subject.truth)} labels of test rows look wrong to it, which are listed")
    whole = answer(told(subject, stated(subject.truth, np.ones(len(subject.truth), bool), np.full(len(right), 0.8))))
    assert said(whole, f"None of the {len(subject.truth)} labels of test rows looks wrong to it.")


def test_no_answer_without_labels_or_a_space(subject):
    other = asked.changed(subject)
    other.model.network.projection = None
    other.__dict__["dataset"] = subject.dataset.take(range(len(subject.dataset)))
    nobody = np.zeros(0, np.int64)
    other.dataset.targets = {"label": Store(len(subject.table), nobody, nobody)}
    with pytest.raises(CannotSay, match="no row here has a label"):
        answer(other)

import numpy as np
import pytest

from plait.data.health import health, label_errors
from plait.data.read import read


def findings(table, **more):
    return {(f.check, f.place): f.message for f in health(table, **more)}


def rng():
    return np.random.default_rng(0)


def test_a_sound_table_gives_no_warning():
    g = rng()
    y = g.choice(["a", "b", "c"], 300)
    table = read(
        {
            "age": g.normal(size=300),
            "city": g.choice(["Bern", "Oslo", "Rome"], 300),
            "said": [f"it is a fine day number {i}" for i in range(300)],
            "y": y,
        },
        target="y",
    )
    assert findings(table, unknown_rate=lambda texts: 0.0) == {}


def test_copies_on_both_sides_of_a_split_are_told_and_few_values_are_not():
    """Each note stands in two rows in turn, each word in every third row."""
    notes = [f"note number {i // 2}" for i in range(120)]
    table = read({"note": notes, "word": [f"word {i % 3}" for i in range(120)]}, kinds={"note": "text", "word": "text"})
    torn = {"train": np.arange(0, 120, 2), "validation": np.arange(1, 40, 2), "test": np.arange(41, 120, 2)}
    told = findings(table, splits=torn)
    assert told["torn_copies", "note"].startswith("60 of the 60 validation and test rows have a cell of note that")
    assert ("torn_copies", "word") not in told
    whole = {"train": np.arange(60), "validation": np.arange(60, 90), "test": np.arange(90, 120)}
    assert not any(check == "torn_copies" for check, _ in findings(table, splits=whole))


def test_few_rows_to_test_on_are_told_by_their_labels():
    y = ["a", "b"] * 60
    splits = {"train": np.arange(60), "validation": np.arange(60, 90), "test": np.arange(90, 120)}
    whole = read({"age": [float(i) for i in range(120)], "y": y}, target="y")
    assert ("few_test_rows", "test") not in findings(whole, splits=splits)
    some = read({"age": [float(i) for i in range(120)], "y": [*y[:97], *[None] * 23]}, target="y")
    assert "7 rows with a label in 'y' to test on" in findings(some, splits=splits)["few_test_rows", "test"]
    few = {**splits, "test": np.arange(90, 95)}
    assert "there are 5 rows to test on" in findings(whole, splits=few)["few_test_rows", "test"]
    one = {**splits, "test": np.arange(90, 91)}
    assert "there is 1 row to test on" in findings(whole, splits=one)["few_test_rows", "test"]


def test_small_single_and_test_only_classes():
    table = read({"age": [float(i) for i in range(40)], "y": ["a"] * 36 + ["b"] * 4}, target="y")
    assert "'b' (4)" in findings(table)["few_rows", "y"]
    splits = {"train": np.arange(30), "validation": np.arange(30, 36), "test": np.arange(36, 40)}
    assert "'b' (4)" in findings(table, splits=splits)["only_in_test", "y"]
    single = read({"age": [float(i) for i in range(40)], "y": ["a"] * 40}, target="y")
    assert ("one_class", "y") in findings(single)
    empty = read({"age": [1.0, 2.0], "y": ["", None]}, target="y")
    assert ("unlabelled", "y") in findings(empty)


def test_columns_that_give_the_target_away():
    g = rng()
    y = g.integers(0, 3, 400)
    nearly = np.where(g.random(400) < 0.99, y, (y + 1) % 3)
    table = read(
        {
            "code": [f"c{v}" for v in nearly],
            "scaled": y * 10.0 + g.normal(size=400) * 0.01,
            "weak": [f"w{v}" for v in np.where(g.random(400) < 0.7, y, g.integers(0, 3, 400))],
            "noise": g.normal(size=400),
            "many": [f"m{v}" for v in g.integers(0, 90, 400)],
            "y": [["ant", "bee", "fly"][v] for v in y],
        },
        target="y",
    )
    assert {place for check, place in findings(table) if check == "given_away"} == {"code", "scaled"}


def test_a_column_that_orders_the_rows_like_a_number_target():
    y = rng().normal(size=200)
    table = read({"cube": y**3, "other": rng().permutation(y), "y": y}, target="y")
    assert {place for check, place in findings(table) if check == "given_away"} == {"cube"}


def test_what_is_the_same_in_all_rows_is_given_away_by_nothing():
    table = read({"size": list(range(60)), "label": ["cat"] * 60}, target="label")
    assert not [place for check, place in findings(table) if check == "given_away"]


def test_an_imbalanced_target_is_not_given_away_by_everything():
    y = ["rare"] * 4 + ["common"] * 396
    table = read({"city": rng().choice(["Bern", "Oslo"], 400), "y": y}, target="y")
    assert not [place for check, place in findings(table) if check == "given_away"]


def test_class_names_in_ids():
    y = rng().choice(["ant", "bee"], 60)
    table = read(
        {"name": [f"{v}_{i}" for i, v in enumerate(y)], "age": rng().normal(size=60), "y": y}, target="y", id="name"
    )
    assert ("named_in_paths", "name") in findings(table)


def test_constant_and_empty_columns_and_duplicate_ids():
    table = read(
        {"id": ["x", "x", "y"], "age": [1.0, 1.0, 1.0], "gone": [None, None, None], "b": [1.0, 2.0, 3.0]},
        id="id",
        kinds={"gone": "image"},
    )
    found = findings(table)
    assert "'x' (2 times)" in found["duplicate_ids", "id"]
    assert "always 1.0" in found["constant", "age"]
    assert ("empty", "gone") in found
    assert ("constant", "b") not in found


def test_text_that_the_tokenizer_does_not_know():
    table = read({"said": ["ein Satz hier", "noch ein Satz", "und mehr davon"]})
    assert ("unknown_text", "said") in findings(table, unknown_rate=lambda texts: 0.5 if len(texts) == 3 else 0.0)
    assert findings(table, unknown_rate=lambda texts: 0.1) == {}


@pytest.mark.parametrize("rows", [0, 1])
def test_tiny_tables(rows):
    assert isinstance(health(read({"age": [1.0] * rows, "y": ["a"] * rows}, target="y", kinds={"age": "number"})), list)


def confidently_wrong(probabilities, labels):
    classes = range(probabilities.shape[1])
    threshold = [np.mean([p[c] for p, label in zip(probabilities, labels, strict=True) if label == c]) for c in classes]
    rows = set()
    for row, (p, label) in enumerate(zip(probabilities, labels, strict=True)):
        reached = [c for c in classes if p[c] >= threshold[c]]
        if reached and max(reached, key=lambda c: p[c]) != label:
            rows.add(row)
    return rows


def test_planted_label_errors_are_found_and_ranked():
    g = rng()
    truth = g.integers(0, 4, 1000)
    probabilities = g.dirichlet(np.ones(4) * 0.3, 1000)
    probabilities[np.arange(1000), truth] += 4
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    labels = truth.copy()
    planted = g.choice(1000, 60, replace=False)
    labels[planted] = (truth[planted] + g.integers(1, 4, 60)) % 4
    suspects = label_errors(probabilities, labels)
    assert set(suspects.tolist()) <= set(planted.tolist())
    assert len(suspects) > 30
    assert set(suspects.tolist()) == confidently_wrong(probabilities, labels)
    margin = probabilities[suspects, labels[suspects]] - probabilities[suspects].max(axis=1)
    assert (np.diff(margin) >= -1e-12).all()


def test_label_errors_by_hand():
    # Thresholds: class 0: (.9 + .6 + .2) / 3 = .567, class 1: .7.  Row 2 reaches only class 1, which is not its label.
    probabilities = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.3, 0.7], [0.9, 0.1]])
    assert label_errors(probabilities, np.array([0, 0, 0, 1, -1])).tolist() == [2]
    assert label_errors(np.zeros((0, 3)), np.zeros(0)).tolist() == []
    with pytest.raises(ValueError, match="do not belong"):
        label_errors(probabilities, np.array([0, 1]))

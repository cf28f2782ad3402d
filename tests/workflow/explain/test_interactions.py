import re
from types import SimpleNamespace

import numpy as np
import pytest

from plait.core.part import Target
from plait.data.read import read
from plait.workflow.defaults import resolve
from plait.workflow.explain import interactions
from plait.workflow.explain.interactions import answer
from plait.workflow.explain.section import CannotSay
from plait.workflow.explain.subject import Subject
from plait.workflow.prepare import encode

SIZE = 900


def asked(columns, label, kind="class", decisions=None):
    """About rows alone: no model is needed to ask what data tell, but for what `decisions` answers."""
    table = read({**columns, "y": label}, target="y")
    recipe = resolve(table.schema)
    target = table.schema.targets["y"]
    about = Target(kind, tuple(target.classes or ()))
    model = SimpleNamespace(
        names=tuple(table.schema.modalities), targets={"y": about}, decisions=decisions or without_looking
    )
    return Subject(model, table, encode(table, recipe), np.arange(len(table)), np.zeros(0, np.int64), {})


def without_looking(dataset, companies):
    """A model that gives both of two classes the same chance, and of a number says 0.5."""
    values = dataset.target("y").values
    shape = (len(dataset), *values.shape[1:]) if values.is_floating_point() else (len(dataset), 2)
    return {company: {"y": np.full(shape, 0.5)} for company in companies}


def knows_parity(dataset, companies):
    """A model that answers the parity of what a and b say, and does not know it from one of them."""
    batch = dataset.batch(range(len(dataset))).modalities
    said = np.zeros(len(dataset), int)
    for part in (batch["a"], batch["b"]):
        said[part.rows.numpy()] ^= part.values.numpy()[:, 0] > 0
    sure = 0.5 + 0.4 * np.stack([1 - 2 * said, 2 * said - 1], 1)
    other = without_looking(dataset, companies)
    return {company: {"y": sure} if {"a", "b"} <= set(company) else other[company] for company in companies}


def cells(bits, rng, absent=0.0):
    """Vectors that say a bit clearly; some are not there."""
    values = (2.0 * bits[:, None] - 1) * [1.0, 0.5, 0.2] + 0.15 * rng.normal(size=(len(bits), 3))
    return [None if gone else v.tolist() for gone, v in zip(rng.random(len(bits)) < absent, values, strict=True)]


@pytest.fixture
def bits():
    rng = np.random.default_rng(0)
    return rng, rng.integers(0, 2, SIZE), rng.integers(0, 2, SIZE)


def test_parity_is_told_by_both_together_and_by_neither_alone(bits):
    rng, one, two = bits
    found = answer(asked({"a": cells(one, rng), "b": cells(two, rng)}, [f"c{v}" for v in one ^ two]))
    told = found.account["pairs"]["a and b"]
    assert told["synergistic"] > 0.8
    assert max(told["redundant"], told["unique_first"], told["unique_second"]) < 0.1
    assert found.words[0].startswith("Modalities here complete each other")
    assert re.fullmatch(r"A and b: [01]\.\d\d bits only in both together\.", found.words[1])
    assert found.words[2].startswith(
        "The fitted model was not shown to use what shows only in two: beyond chance, it does no better "
        "from a and b than from "
    )
    assert len(found.words) == 3
    assert found.account["used"]["a and b"]["value"] == 0


def test_a_model_that_knows_the_parity_is_said_to_gain_by_both(bits):
    rng, one, two = bits
    columns = {"a": cells(one, rng), "b": cells(two, rng, 0.2), "c": cells(two, rng)}
    found = answer(asked(columns, [f"c{v}" for v in one ^ two], decisions=knows_parity))
    have = np.array([cell is not None for cell in columns["b"]])
    # Without looking it says the first class, which is right where the parity is even.
    odd = (one ^ two)[have].mean()
    assert found.account["used"]["a and b"]["value"] == pytest.approx(odd)
    assert found.account["used"]["a and c"]["value"] == 0
    gain = next(said for said in found.words if said.startswith("The fitted model gains by having a and b"))
    assert re.search(r"a and b: \d\d\.\d points above that from the better of the two alone, [ab] \(95 %", gain)
    idle = next(said for said in found.words if said.startswith("The fitted model was not shown to use"))
    assert "from a and c than" in idle
    assert "from a and b" not in idle
    # Against the rest nothing more is said than of pairs.
    assert set(found.account["used"]) == {"a and b", "a and c"}


def test_of_a_few_test_rows_nothing_is_said_of_the_model(bits):
    rng, one, two = bits
    subject = asked({"a": cells(one, rng), "b": cells(two, rng)}, [f"c{v}" for v in one ^ two])
    subject.test = np.arange(10)
    found = answer(subject)
    assert len(found.words) == 2
    assert "used" not in found.account


def test_copies_repeat_each_other(bits):
    rng, one, _ = bits
    found = answer(asked({"a": cells(one, rng), "b": cells(one, rng)}, [f"c{v}" for v in one]))
    assert found.account["pairs"]["a and b"]["redundant"] > 0.8
    assert found.words[0].startswith("Modalities here repeat each other")
    assert re.fullmatch(r"A and b: [01]\.\d\d bits in either\.", found.words[1])


def test_what_one_alone_tells_is_said_to_be_its_own_where_cells_are_missing(bits):
    rng, one, two = bits
    columns = {"a": cells(one, rng, 0.2), "b": cells(two, rng, 0.2), "c": cells(two, rng)}
    found = answer(asked(columns, [f"c{v}" for v in one]))
    assert found.account["pairs"]["a and b"]["unique_first"] > 0.7
    assert found.account["pairs"]["a and the rest"]["unique_first"] > 0.7
    assert found.account["pairs"]["a and b"]["rows"] == pytest.approx(SIZE * 0.64, rel=0.1)
    assert found.words[0].startswith("No modalities were shown to repeat or complete each other")
    assert found.words[-1] == "Nothing was shown to be told of the class by b and c."
    # Each sentence names what was compared, and none does so twice.
    compared = [sentence.split(":")[0].lower() for sentence in found.words[1:-1]]
    assert sorted([*compared, "b and c"]) == sorted(found.account["pairs"])
    assert all(re.search(r"bits in (a|the rest) alone\.$", sentence) for sentence in found.words[1:-1])
    # Of each line of the figure it can be seen which it is.
    drawn = re.findall(r"<text[^>]*>([^<]*)<", found.drawings[0].svg)
    assert {*found.account["pairs"], "either", "only a", "only both together"} <= set(drawn)


def test_a_parity_of_few_rows_is_found_beside_wide_noise(bits):
    """A picture's vector has one wide direction that means something, and many that get narrower."""
    rng, one, two = (part if i == 0 else part[:250] for i, part in enumerate(bits))
    vectors = rng.normal(size=(250, 60)) * np.linspace(0.5, 0.01, 60)
    vectors[:, 0] += 2 * one - 1
    number = 50 * two + 50 * rng.random(250)
    columns = {"picture": vectors.tolist(), "note": rng.normal(size=(250, 40)).tolist(), "number": number.tolist()}
    found = answer(asked(columns, [f"c{v}" for v in one ^ two]))
    pairs = found.account["pairs"]
    assert pairs["picture and tabular"]["synergistic"] > 0.5
    noise = [told["synergistic"] for label, told in pairs.items() if "note" in label and "rest" not in label]
    assert max(noise) < 0.1


def test_a_modality_tells_as_much_in_one_pair_as_in_another(bits):
    rng, one, _ = (part if i == 0 else part[:300] for i, part in enumerate(bits))
    vectors = rng.normal(size=(300, 60)) * np.linspace(0.5, 0.01, 60)
    vectors[:, 3] += 2 * one - 1
    columns = {"told": vectors.tolist(), "idle": rng.normal(size=(300, 50)).tolist(), "other": cells(one, rng, 0.3)}
    pairs = answer(asked(columns, [f"c{v}" for v in one])).account["pairs"]
    assert pairs["told and idle"]["unique_first"] > 0.9
    assert pairs["told and other"]["unique_first"] + pairs["told and other"]["redundant"] > 0.9


def test_bits_have_two_decimals_and_are_said_to_be_the_least(bits):
    rng, one, two = bits
    found = answer(asked({"a": cells(one, rng), "b": cells(two, rng)}, [f"c{v}" for v in one]))
    assert "at least" in found.grids[0].title
    assert "there may be more" in found.words[0]
    assert "1.00 bits to know about the class" in found.words[0]
    assert all(re.fullmatch(r"\d\.\d\d \[\d\.\d\d, \d\.\d\d\]", said) for said in found.grids[0].lines[0][1:-1])


def test_a_pair_that_cannot_be_worked_out_is_refused_and_the_others_are_told(bits, monkeypatch):
    rng, one, two = bits
    real, asked_before = interactions.interaction_estimate, []

    def failing(*args, **options):
        asked_before.append(args)
        if len(asked_before) == 2:
            raise ArithmeticError("the union information was not found")
        return real(*args, **options)

    monkeypatch.setattr(interactions, "interaction_estimate", failing)
    one, two = one[:250], two[:250]
    columns = {"a": cells(one, rng), "b": cells(two, rng), "c": cells(two, rng)}
    found = answer(asked(columns, [f"c{v}" for v in one ^ two]))
    assert list(found.account["refused"].values()) == ["the union information was not found"]
    assert len(found.account["pairs"]) == 5
    (label,) = found.account["refused"]
    assert f"Of {label} it cannot be said: the union information was not found." in found.words


def test_too_few_rows_and_one_modality_are_refused(bits):
    rng, one, two = bits
    few = {"a": cells(one, rng)[:30], "b": cells(two, rng)[:30]}
    with pytest.raises(CannotSay, match="too few rows"):
        answer(asked(few, [f"c{v}" for v in one[:30]]))
    with pytest.raises(CannotSay, match="one modality"):
        answer(asked({"a": cells(one, rng)}, [f"c{v}" for v in one]))


def apart(one, two, label, rng):
    """Thirds of the rows: the first cell and the label, the second and the label, and both cells alone."""
    third = np.arange(SIZE) % 3
    hide = lambda values, lost: [None if k == lost else v for v, k in zip(values, third, strict=True)]
    return asked({"a": hide(cells(one, rng), 1), "b": hide(cells(two, rng), 0)}, hide(label, 2))


def test_rows_without_a_label_or_one_of_both_bound_what_both_together_tell(bits):
    """The class is what both bits say where they agree, and a coin elsewhere: .31 of its bits only both together tell,
    and no distribution with these tables has less."""
    rng, one, two = bits
    code = np.where(one == two, one, rng.integers(0, 2, SIZE))
    found = answer(apart(one, two, [f"c{v}" for v in code], rng))
    assert found.words[0].startswith("A and b tell something together that neither tells alone: 0.")
    low, high = found.account["bounds"]["a and b"]["interval"]
    assert 0.1 < low < 0.5 - 0.189 < high
    assert not found.account["pairs"]
    assert not found.drawings
    assert "arXiv:2306.04539" in found.method
    # Of a parity they know nothing: it may be all, or nothing, which is no answer.
    with pytest.raises(CannotSay, match="too few rows"):
        answer(apart(one, two, [f"c{v}" for v in one ^ two], rng))
    # And where one says everything, there is nothing left for both.
    found = answer(apart(one, two, [f"c{v}" for v in one], rng))
    assert found.account["bounds"]["a and b"]["interval"][1] < 0.2


def test_of_a_number_it_is_asked_which_third_it_is_in(bits):
    """The number is low, or middle or high, by the first bit; the second bit tells these two apart."""
    rng, one, two = bits
    number = np.where(one == 1, 0.0, 1.0 + two) + 0.1 * rng.random(SIZE)
    found = answer(asked({"a": cells(one, rng), "b": cells(two, rng)}, (number + 0.5).tolist(), "number"))
    told = found.account["pairs"]["a and b"]
    assert told["unique_first"] > 0.5
    assert "third y is in" in found.grids[0].title
    with pytest.raises(CannotSay, match="cannot be cut into early, middle and late"):
        answer(asked({"a": cells(one, rng), "b": cells(two, rng)}, [f"c{v}" for v in one], "survival"))


def test_of_several_labels_each_is_asked_about_by_itself_those_that_leave_most_open(bits):
    rng, one, two = bits
    rare = rng.random(SIZE) < 0.1
    has = {"even": one == two, "first": one == 1, "coin": rng.random(SIZE) < 0.5, "rare": rare}
    labels = [[label for label, rows in has.items() if rows[i]] for i in range(SIZE)]
    labels[3] = None
    subject = asked({"a": cells(one, rng), "b": cells(two, rng)}, labels, kind="multi_label")
    assert list(interactions._truths(subject)["the label even"][:5]) == [
        *(one == two)[:3].astype(int),
        -1,
        one[4] == two[4],
    ]
    found = answer(subject)
    assert set(found.account["labels"]) == {"even", "first", "coin"}, "of a rare one there is less to know"
    assert re.match(
        r"This is asked of the label \w+, the label \w+ and the label \w+, of 4 labels those", found.words[0]
    )
    told = {label: one["pairs"]["a and b"] for label, one in found.account["labels"].items()}
    assert told["even"]["synergistic"] > 0.8 > 0.1 > told["even"]["unique_first"]
    assert told["first"]["unique_first"] > 0.8 > 0.1 > told["first"]["synergistic"]
    assert max(told["coin"][atom] for atom in interactions.ATOMS) < 0.1
    assert any(
        said.startswith("Modalities here complete each other: some of what they tell of the label even")
        for said in found.words
    )
    assert list(found.account["used"]) == ["a and b"], "as of the label even it shows only in two"
    assert "Of several labels each is asked about by itself" in found.method
    subject.deep = True
    assert set(interactions._truths(subject)) == {f"the label {label}" for label in has}


def test_labels_of_too_few_rows_are_counted_and_none_is_an_error(bits, monkeypatch):
    monkeypatch.setattr(interactions, "bounded", lambda *asked: None)
    rng, one, two = bits
    columns = {"a": cells(one[:400], rng), "b": cells(two[:400], rng)}
    few = [["x"] if i < 2 else ["y"] if one[i] else [] for i in range(400)]
    with pytest.raises(CannotSay, match="too few rows"):
        answer(asked({name: said[:12] for name, said in columns.items()}, few[:12], kind="multi_label"))
    found = answer(asked(columns, few, kind="multi_label"))
    assert set(found.account["labels"]) == {"y"}
    assert found.words[0] == "Of the label x: there are too few rows to say how modalities complete each other."

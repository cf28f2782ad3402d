"""Cells outside the subset of their modality, and what branches learn from them: nothing."""

import grounded
import numpy as np
import pytest
import tiny
import torch

from plait.core.component import find
from plait.core.errors import DataError, SchemaError
from plait.data.read import read
from plait.data.schema import Modality, Schema, Target
from plait.workflow.prepare import encode
from plait.workflow.train import train

EvidenceSubsets = find("edits", "evidence_subsets")
LATE = {"fusion": {"late_average": {}}, "objectives": {"singles": {}}}
STAGES = [{"data": [{"evidence_subsets": {"column": "evidence"}}]}]
ALL = ["a|b"] * 90
SOME = [["a", "b", "a|b", None, "|", "b"][i % 6] for i in range(90)]
"""What the rows of `grounded.columns` say; it has three classes in turn, so every subset has all of them."""


KINDS = Schema(
    modalities={
        "text": Modality(kind="text", columns=("text",)),
        "v": Modality(kind="vector", columns=("v",), width=3),
        "numbers": Modality(kind="tabular", columns=("size", "weight")),
    },
    targets={"label": Target(kind="class", columns=("label",), classes=("p", "q"))},
    ignored=("evidence",),
)


def edited(table, *arguments, **more):
    return EvidenceSubsets(*arguments, **more)(table, None, torch.Generator())


def there(table) -> dict[str, str]:
    return {name: "".join(".x"[int(cell)] for cell in cells) for name, cells in table.present().items()}


def kinds(said):
    count = range(len(said))
    return read(
        {
            "text": [f"the {i}. of some words" for i in count],
            "v": [[float(i), 1.0, 0.5] for i in count],
            "size": [1.5 * i for i in count],
            "weight": [None if i == 1 else 2.5 * i for i in count],
            "label": ["p", "q"] * (len(said) // 2),
            "evidence": said,
        },
        KINDS,
    )


@pytest.mark.parametrize("listed", [False, True])
def test_a_cell_stays_where_the_row_names_its_modality_or_says_nothing(listed) -> None:
    said = ["text", "v| numbers ", "|", None, "numbers|text|v", "v"]
    table = kinds([s if s is None else [n.strip() for n in s.split("|") if n] for s in said] if listed else said)
    found = edited(table, "evidence")
    assert there(found) == {"text": "x..xx.", "v": ".x.xxx", "numbers": ".x.xx."}
    assert there(table) == dict.fromkeys(("text", "v", "numbers"), "xxxxxx")
    for name in table.schema.modalities:
        rows = [i for i, cell in enumerate(there(found)[name]) if cell == "x"]
        for old, new in zip(table.cells(name, rows), found.cells(name, rows), strict=True):
            np.testing.assert_array_equal(old, new)
    assert found.ids == table.ids
    assert found.schema == table.schema
    assert [part.tolist() for part in found.targets("label")] == [part.tolist() for part in table.targets("label")]


def test_of_modalities_that_the_column_does_not_speak_of_nothing_goes() -> None:
    table = kinds(["text", "v"] * 3)
    assert there(edited(table, "evidence", ["text"])) == {"text": "x.x.x.", "v": "x" * 6, "numbers": "x" * 6}


def test_with_every_row_in_every_subset_the_table_is_the_same() -> None:
    for said in (["text|v|numbers"] * 6, [None] * 6):
        table = kinds(said)
        assert edited(table, "evidence") is table


def test_it_follows_the_rows_of_a_part_of_a_table() -> None:
    part = kinds(["text", "v", "numbers", "|", "text", "v"]).take([5, 0, 2])
    assert there(edited(part, "evidence")) == {"text": ".x.", "v": "x..", "numbers": "..x"}


def test_what_is_no_modality_and_no_column_is_said() -> None:
    with pytest.raises(DataError, match=r"edits\.evidence_subsets: 'txt' is no modality.*'text'"):
        edited(kinds(["text", "txt"] * 3), "evidence")
    with pytest.raises(DataError, match=r"'number' is no modality.*'numbers'"):
        edited(kinds(["text"] * 6), "evidence", ["number"])
    with pytest.raises(SchemaError, match="no column 'evidenc'"):
        edited(kinds(["text"] * 6), "evidenc")


def test_its_arguments_are_its_fingerprint() -> None:
    made = [EvidenceSubsets("one"), EvidenceSubsets("other"), EvidenceSubsets("one", ["a"])]
    assert len({edit.fingerprint() for edit in made}) == 3


def branches(said, stages, change=None):
    """All tensors of a late fusion.  change: {modality: rows that get other numbers in its cell}."""
    columns = grounded.columns()
    for name, rows in (change or {}).items():
        for row in rows:
            columns[name][row] = [100.0 + row] * len(columns[name][row])
    table = grounded.table({**columns, "evidence": said}, ignore=["evidence"])
    recipe = grounded.recipe(table, **LATE, stages=stages)
    rows = np.arange(90)
    parts = {"train": rows[:60], "validation": rows[60:75], "test": rows[75:]}
    return train(table, encode(table, recipe), recipe, parts, seed=3).model


def state(*arguments):
    return branches(*arguments).network.state_dict()


def outside(name):
    return [i for i in range(60) if SOME[i] is not None and name not in SOME[i]]


def test_no_cell_outside_its_subset_leaves_a_trace_and_one_inside_does() -> None:
    one = state(SOME, STAGES)
    assert len(outside("a")) == 30
    assert tiny.equal(one, state(SOME, STAGES, {"a": outside("a"), "b": outside("b")}))
    plain = state(SOME, [])
    assert not tiny.equal(plain, one)
    assert not tiny.equal(plain, state(SOME, [], {"a": outside("a")}))
    for inside in (0, 2, 3):
        assert not tiny.equal(one, state(SOME, STAGES, {"a": [inside]}))


def test_subsets_of_all_rows_train_to_the_same_bits() -> None:
    plain = state(ALL, [])
    assert tiny.equal(plain, state(ALL, STAGES))
    assert tiny.equal(plain, state([None] * 90, STAGES))


def test_outside_its_subset_a_branch_gets_a_gradient_of_exactly_zero() -> None:
    model = branches(SOME, STAGES)
    table = grounded.table({**grounded.columns(), "evidence": SOME}, ignore=["evidence"])
    rows = encode(edited(table, "evidence"), model.recipe, encoders=dict(model.network.encoders.items())).dataset
    step = tiny.step(model.network, {"singles": "singles"})
    for own, other in (("a", "b"), ("b", "a")):
        step.zero_grad(set_to_none=True)
        alone = [i for i, said in enumerate(SOME) if said == other]
        tiny.loss(step, rows.batch(alone)).backward()
        gradients = {name: branch.gradient() for name, branch in model.network.branches().items()}
        assert gradients[own].numel()
        assert not gradients[own].any()
        assert gradients[other].any()

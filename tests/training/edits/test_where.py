"""Rows by what a column says."""

import pytest
import torch

from plait.core.component import configure, find
from plait.core.errors import DataError, SchemaError
from plait.data.read import read
from plait.data.sets.polydigits import polydigits
from plait.training.edits.where import says

Where = find("edits", "where")


def table():
    return read(
        {
            "text": ["a first one", "a second one", "a third one", "a fourth one", "a fifth one"],
            "clean": [True, False, None, True, False],
            "site": ["Bern", "Oslo", "bern", None, "Rome"],
            "grade": [1, 2, 3, 1, 2],
        },
        ignore=["clean", "site", "grade"],
    )


def left(*arguments, **more) -> list[str]:
    found = Where(*arguments, **more)(table(), None, torch.Generator())
    return [text.split()[1] for text in found.column("text").to_pylist()]


def test_the_rows_that_say_it_stay_in_order() -> None:
    assert left("clean", True) == ["first", "fourth"]
    assert left("site", "bern") == ["first", "third"]
    assert left("site", ["Bern", "Rome"]) == ["first", "third", "fifth"]
    assert left("grade", 2) == ["second", "fifth"]


def test_or_all_others_among_them_those_that_say_nothing() -> None:
    assert left("clean", True, others=True) == ["second", "third", "fifth"]
    assert left("site", ["Bern", "Rome"], others=True) == ["second", "fourth"]


def test_without_the_column_all_rows_stay_if_it_is_optional() -> None:
    assert left("poisoned", False, optional=True) == ["first", "second", "third", "fourth", "fifth"]
    assert left("clean", True, optional=True) == ["first", "fourth"]
    with pytest.raises(SchemaError, match="no column 'poisoned'"):
        left("poisoned", False)


def test_a_file_and_a_recipe_mean_the_same_by_false() -> None:
    assert says(False, [False])
    assert says("false", [False])
    assert says(False, ["FALSE"])
    assert not says(None, [False, "None"])
    assert not says(True, [False])
    assert not says("", [False])


def test_nothing_left_and_unknown_columns_are_errors() -> None:
    with pytest.raises(DataError, match=r"of 5 rows there is none whose 'site' is \['Paris'\]"):
        left("site", "Paris")
    with pytest.raises(SchemaError, match="no column 'sites'"):
        left("sites", "Bern")


def test_its_arguments_are_its_fingerprint() -> None:
    asked = [("site", "Bern"), ("site", ["Bern", "Rome"]), ("grade", "Bern"), ("site", "Bern", True)]
    assert len({Where(*arguments).fingerprint() for arguments in asked}) == 4
    assert configure("edits", "where", {"column": "clean", "values": False}).values == [False]


def test_the_poisoned_rows_of_a_table_go() -> None:
    poisoned = polydigits(rows=300, poison=0.3)
    clean = Where("poisoned", False)(poisoned, None, torch.Generator())
    assert len(clean) == 300 - sum(poisoned.column("poisoned").to_pylist())
    assert not any(clean.column("poisoned").to_pylist())
    assert clean.schema == poisoned.schema

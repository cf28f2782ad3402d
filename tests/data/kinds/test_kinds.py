from __future__ import annotations

import inspect

import pytest

from plait.core.errors import SchemaError
from plait.data import kinds
from plait.data.schema import KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_a_schema_has_a_decoder(kind: str) -> None:
    found = kinds.decoder(kind)
    assert isinstance(found.RAGGED, bool)
    raw, *options = inspect.signature(found.decode).parameters.values()
    assert raw.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
    assert {option.kind for option in options} == {inspect.Parameter.KEYWORD_ONLY}


@pytest.mark.parametrize(("kind", "meant"), [("imag", "image"), ("vectors", "vector"), ("_svg", "image")])
def test_an_unknown_kind_names_the_nearest(kind: str, meant: str) -> None:
    with pytest.raises(SchemaError, match=meant):
        kinds.decoder(kind)


def test_versions_differ_by_kind() -> None:
    assert len({kinds.version(kind) for kind in KINDS}) == len(KINDS)

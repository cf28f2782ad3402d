import sys
import types
from typing import Literal

import pytest

from plait.core.component import Count, Positive, arguments_of, available, check, configure, find
from plait.core.errors import RecipeError
from plait.core.part import Fusion


class Example(Fusion):
    def __init__(self, layers: Count = 2, schema: Literal["x", "y"] = "x", rate: Positive | None = None) -> None:
        super().__init__()
        self.layers, self.schema, self.rate = layers, schema, rate


class Refusing(Fusion):
    def __init__(self, width: int = 3) -> None:
        super().__init__()
        raise ValueError(f"width {width} is odd")


class Plain(Fusion):
    pass


def test_arguments_are_checked_and_coerced() -> None:
    assert check(Example, {"layers": "3", "rate": 1}, "fusion.example") == {"layers": 3, "rate": 1.0}
    assert check(Example, {"rate": None}, "fusion.example") == {"rate": None}
    assert check(Plain, {}, "fusion.plain") == {}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"layer": 1}, "fusion.example: it takes no argument 'layer'. Did you mean 'layers'?"),
        ({"layers": 0}, "fusion.example.layers: Input should be greater than or equal to 1, found 0."),
        ({"schema": "z"}, "fusion.example.schema: Input should be 'x' or 'y', found 'z'."),
        ({"rate": -1}, "fusion.example.rate"),
    ],
)
def test_wrong_arguments_name_the_place(arguments, said: str) -> None:
    with pytest.raises(RecipeError) as error:
        check(Example, arguments, "fusion.example")
    assert str(error.value).startswith(said)


def test_a_class_without_arguments_takes_none() -> None:
    with pytest.raises(RecipeError, match="takes no argument 'x'"):
        check(Plain, {"x": 1}, "fusion.plain")
    assert arguments_of(Plain) == {}
    assert arguments_of(Example)["layers"][1] == 2


@pytest.fixture
def foreign(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("foreign_room")
    module.Example, module.Refusing, module.number = Example, Refusing, 3
    monkeypatch.setitem(sys.modules, "foreign_room", module)


@pytest.mark.usefixtures("foreign")
def test_somebody_elses_component_comes_by_dotted_path() -> None:
    assert configure("fusion", "foreign_room:Example", {"layers": 4}).layers == 4
    with pytest.raises(RecipeError, match=r"fusion.foreign_room:Refusing: width 5 is odd"):
        configure("fusion", "foreign_room:Refusing", {"width": 5})
    for path in ("foreign_room:number", "foreign_room:Missing"):
        with pytest.raises(RecipeError, match="is not a subclass of Fusion or Late"):
            find("fusion", path)
    with pytest.raises(RecipeError, match="there is no module 'nowhere'"):
        find("fusion", "nowhere:Thing")


def test_unknown_names_get_the_nearest() -> None:
    with pytest.raises(RecipeError, match=r"^fusion: there is no component 'gatd'. Did you mean 'gated'\?"):
        find("fusion", "gatd")
    with pytest.raises(RecipeError, match=r"there is no slot 'fussion'. Did you mean 'fusion'\?"):
        find("fussion", "gated")
    with pytest.raises(RecipeError, match="there is no component '_pooled'"):
        find("fusion", "_pooled")


def test_available_describes_in_one_line() -> None:
    found = available("fusion")
    assert {"self_attention", "concatenation", "mean", "gated"} <= set(found)
    assert all("\n" not in line for line in found.values())

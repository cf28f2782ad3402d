import importlib
import sys

import pytest

from plait.core.recipe import Recipe
from plait.workflow import fingerprint as module
from plait.workflow.fingerprint import fingerprint, modules_of, reached

BASE = '"""Says."""\n\n\ndef one(x):\n    """Adds."""\n    return x + 1\n'


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of two modules, of which one reaches the other; -> a function that writes one and says the number."""
    monkeypatch.setattr(module, "PACKAGE", "pretended")
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "pretended").mkdir()
    (tmp_path / "pretended/__init__.py").write_text("")

    def number(low=BASE, high="from pretended.low import one\n", asked=None):
        (tmp_path / "pretended/low.py").write_text(low)
        (tmp_path / "pretended/high.py").write_text(high)
        (tmp_path / "pretended/other.py").write_text("y = 1\n")
        importlib.invalidate_caches()
        for cached in (module._source, module._parsed, module._imports, module._tree):
            cached.cache_clear()
        return fingerprint(["pretended.high"], asked)

    yield number
    for name in [name for name in sys.modules if name.startswith("pretended")]:
        del sys.modules[name]
    for cached in (module._source, module._parsed, module._imports, module._tree):
        cached.cache_clear()


def test_a_comment_a_docstring_or_a_line_break_changes_nothing(package):
    first = package()
    assert (
        package(
            '"""Says it better."""\n\n\ndef one(x):  # a comment\n    """Sums."""\n    return (\n        x + 1\n    )\n'
        )
        == first
    )


def test_code_that_is_reached_changes_it(package):
    first = package()
    assert package(BASE.replace("+ 1", "- 1")) != first
    assert package(BASE + "\n\nz = 'a text that is no docstring'\n") != first
    assert package() == first


def test_code_inside_functions_is_reached_too_and_relative_imports(package):
    inside = "def f():\n    from .low import one\n    return one\n"
    first = package(high=inside)
    assert package(BASE.replace("+ 1", "- 1"), high=inside) != first


def test_what_is_not_reached_does_not_count(package):
    package()
    assert reached(["pretended.high"]) == {"pretended.high", "pretended.low"}


def test_what_was_asked_counts(package):
    assert package(asked={"seed": 0}) != package(asked={"seed": 1})
    assert package(asked={"a": 1, "b": 2}) == package(asked={"b": 2, "a": 1})


def test_a_training_reaches_the_loop_and_neither_report_nor_command_line():
    found = reached(["plait.workflow.train"])
    assert {"plait.training.loop", "plait.core.packed", "plait.data.store"} <= found
    assert not any(name.startswith(("plait.cli", "plait.report")) for name in found)


def test_the_recipes_own_code_and_that_of_its_stages_is_what_counts():
    recipe = Recipe.parse(
        {
            "objectives": {"supervised": {}},
            "views": {"noisy": [{"noise": {}}]},
            "stages": [{"objectives": {"info_nce": {}}, "sampler": {"shuffled": {}}}, {}],
        }
    )
    found = set(modules_of(recipe))
    assert {"plait.objectives.supervised", "plait.objectives.info_nce", "plait.workflow.train"} <= found
    assert any(name.startswith("plait.training.views") for name in found)

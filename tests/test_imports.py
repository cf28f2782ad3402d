"""Who may know whom, read off the syntax trees: also imports inside functions and for type checking count."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import plait

PACKAGE = Path(plait.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))

ROOMS = (
    "data",
    "encoders",
    "adapters",
    "missing",
    "projections",
    "fusion",
    "heads",
    "objectives",
    "balance",
    "generation",
    "robustness",
    "measures",
)
"""They know core, and never each other."""
BELOW = ("core", *ROOMS, "training")
MAY = {
    "core": (),
    **dict.fromkeys(ROOMS, ("core",)),
    "training": ("core",),
    "retrieval": BELOW,
    "report": BELOW,
    "catalogue": (*BELOW, "retrieval", "report", "workflow"),
    "workflow": (*BELOW, "retrieval", "report"),
    "cli": ("", *BELOW, "retrieval", "report", "workflow", "catalogue"),
    "app": ("", *BELOW, "retrieval", "report", "workflow", "catalogue"),
}


def room_of(module: str) -> str:
    """`plait.data.read` -> `data`; the package's own face, which knows all rooms, is none."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and (PACKAGE / parts[1]).is_dir() else ""


def name_of(path: Path) -> str:
    parts = ("plait", *path.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(tree: ast.AST, module: str, package: bool = False) -> Iterator[tuple[str, ast.AST]]:
    """(absolute name, node) of everything that a module imports; `from x import y` gives x.y."""
    base = module.split(".") if package else module.split(".")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = base[: len(base) - node.level + 1] if node.level else []
            source = ".".join([*start, *([node.module] if node.module else [])])
            yield from ((f"{source}.{alias.name}", node) for alias in node.names)


def forbidden(tree: ast.AST, module: str, package: bool = False) -> list[str]:
    """What a module of a room imports and may not."""
    room = room_of(module)
    found = []
    for name, _ in imports(tree, module, package):
        other = room_of(name) if name.split(".")[0] == "plait" else room
        if other not in (room, *MAY[room]):
            found.append(f"{module} imports {name}")
    return found


def at_import(tree: ast.Module) -> ast.Module:
    """Only what runs when the module is imported: no function bodies, nothing for type checking alone."""

    class Outside(ast.NodeTransformer):
        def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
            return None

        def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
            return None

        def visit_If(self, node: ast.If) -> ast.AST | None:
            return None if ast.unparse(node.test) == "TYPE_CHECKING" else self.generic_visit(node)

    outside: ast.Module = Outside().visit(tree)
    return outside


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def test_every_room_has_its_rule() -> None:
    rooms = {path.name for path in PACKAGE.iterdir() if path.is_dir() and list(path.glob("*.py"))}
    assert rooms <= set(MAY)
    assert {"core", "data", "training", "workflow", "cli"} <= rooms


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_imports_only_what_its_room_may_know(path: Path) -> None:
    module = name_of(path)
    if room_of(module):
        assert forbidden(parsed(path), module, path.name == "__init__.py") == []


def normal(requirement: str) -> str:
    return re.split(r"[\[<>=!~; ]", requirement)[0].lower().replace("_", "-")


PROJECT = tomllib.loads((PACKAGE.parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
NEEDED = {normal(said) for said in PROJECT["dependencies"]}
EXTRAS = {extra: {normal(said) for said in names} for extra, names in PROJECT["optional-dependencies"].items()}
BROUGHT_BY = {package: {normal(name) for name in names} for package, names in packages_distributions().items()}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_what_a_module_imports_at_once_is_a_dependency(path: Path) -> None:
    names = {name.split(".")[0] for name, _ in imports(at_import(parsed(path)), name_of(path))}
    for name in names - {"plait"} - set(sys.stdlib_module_names):
        assert BROUGHT_BY.get(name, {name}) & NEEDED, name


def test_what_is_needed_of_an_extra_is_in_it() -> None:
    calls = [
        [ast.literal_eval(argument) for argument in node.args]
        for path in MODULES
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "need"
    ]
    assert len(calls) > 10
    for module, extra in calls:
        package = module.split(".")[0]
        assert BROUGHT_BY.get(package, {normal(package)}) & EXTRAS[extra], (module, extra)


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("plait.core.packed", "from plait.data.table import Table"),
        ("plait.fusion.mean", "from plait.encoders.vector import Vector"),
        ("plait.fusion.mean", "import plait.training.loop"),
        ("plait.fusion.mean", "from plait import training"),
        ("plait.fusion.mean", "from ..objectives import _pairs"),
        ("plait.training.views.drop", "from ...missing.modality_dropout import ModalityDropout"),
        ("plait.training.loop", "def later():\n    from plait.measures import scores"),
        ("plait.report.page", "if TYPE_CHECKING:\n    from plait.workflow.model import Model"),
        ("plait.workflow.fit", "from plait.cli import screen"),
    ],
)
def test_what_is_forbidden_is_found(module: str, line: str) -> None:
    assert len(forbidden(ast.parse(line), module)) == 1


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("plait.fusion.mean", "from ._pooled import pooled"),
        ("plait.fusion.mean", "from plait.core.packed import Tokens"),
        ("plait.training.views.drop", "from ._chosen import chosen"),
        ("plait.workflow.fit", "from plait.training import loop"),
        ("plait.data.kinds.image", "import torch"),
    ],
)
def test_what_is_allowed_is_not(module: str, line: str) -> None:
    assert forbidden(ast.parse(line), module) == []

"""What a result depends on, as one number: the code that it reaches, and what it was asked.

Modules are compared by their syntax trees without docstrings, so a comment, a line break or a better sentence makes
nothing stale.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from plait.core.component import find
from plait.core.recipe import Recipe, overlay

from .defaults import common

PACKAGE = "plait"
APART = ("plait.workflow.evaluate", "plait.workflow.report", "plait.report", "plait.cli")
"""What a training can reach but does not depend on: `Model.evaluate` and what comes after."""
ROOTS = ("plait.workflow.train", "plait.workflow.trials")
"""What every trial runs, beside its components."""


def fingerprint(modules: Iterable[str], asked: Any) -> str:
    """32 hex digits.  modules: dotted names; all that they import of Plait counts too.  asked: plain data."""
    digest = hashlib.blake2b(json.dumps(asked, sort_keys=True).encode(), digest_size=16)
    for name in sorted(reached(modules)):
        digest.update(f"{name} {_tree(name)}\n".encode())
    return digest.hexdigest()


def code_of(recipe: Recipe) -> str:
    """The fingerprint of the code that a trial of a recipe reaches."""
    return _code_of(tuple(sorted(set(modules_of(recipe)))))


def modules_of(recipe: Recipe) -> Iterator[str]:
    """The modules of a recipe's components, also of its stages."""
    yield from ROOTS
    for slot, _, name, arguments in recipe.components():
        yield find(slot, arguments.get("use", name)).__module__
        yield from _on_the_way(arguments)
    for stage in recipe.stages:
        for edit in stage.data:
            for name, arguments in edit.items():
                yield find("edits", name).__module__
                yield from _on_the_way(arguments)
        for slot in ("sampler", "teachers", "objectives", "balance"):
            for name, arguments in (getattr(stage, slot) or {}).items():
                yield find(slot, arguments.get("use", name)).__module__
                yield from _on_the_way(arguments)
        for chain in (stage.views or {}).values():
            yield from (find("views", name).__module__ for named in chain for name in named)


def _on_the_way(arguments: Mapping[str, Any]) -> Iterator[str]:
    """The modules of a recipe that a part has trained for it, but for its encoders, which are the table's default."""
    if isinstance(slots := arguments.get("recipe"), Mapping):
        yield from modules_of(Recipe.parse(overlay(common(), slots)))


@lru_cache(maxsize=64)
def _code_of(modules: tuple[str, ...]) -> str:
    return fingerprint(modules, None)


def reached(modules: Iterable[str]) -> set[str]:
    """These modules and all of Plait's that they import, also inside functions, directly or not."""
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name not in found and not name.startswith(APART) and _source(name) is not None:
            found.add(name)
            waiting += _imports(name)
    return found


@cache
def _source(name: str) -> Path | None:
    """Where a module is written; None if it is none, as the last part of `from package import something`."""
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError:
        return None
    return None if spec is None or spec.origin is None else Path(spec.origin)


@cache
def _parsed(name: str) -> ast.Module:
    path = _source(name)
    assert path is not None
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def _imports(name: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_named(name)))


def _named(name: str) -> Iterator[str]:
    path = _source(name)
    package = name if path is not None and path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(_parsed(name)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == PACKAGE)
        elif isinstance(node, ast.ImportFrom):
            whole = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            if whole.split(".")[0] == PACKAGE:
                yield whole
                yield from (f"{whole}.{alias.name}" for alias in node.names)


@cache
def _tree(name: str) -> str:
    tree = _parsed(name)
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:]
    return hashlib.blake2b(ast.dump(tree).encode(), digest_size=16).hexdigest()

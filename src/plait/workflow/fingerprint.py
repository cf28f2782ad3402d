"""What a result depends on, as one number: the code that it reaches, and what it was asked.

Modules are compared by their syntax trees without docstrings, so a comment, a line break or a better sentence makes
nothing stale.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

PACKAGE = "plait"
APART = ("plait.workflow.evaluate", "plait.workflow.report", "plait.report", "plait.cli")
"""What a training can reach but does not depend on: `Model.evaluate` and what comes after."""


def fingerprint(modules: Iterable[str], asked: Any) -> str:
    """32 hex digits.  modules: dotted names; all that they import of Plait counts too.  asked: plain data."""
    digest = hashlib.blake2b(json.dumps(asked, sort_keys=True).encode(), digest_size=16)
    for name in sorted(reached(modules)):
        digest.update(f"{name} {_tree(name)}\n".encode())
    return digest.hexdigest()


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

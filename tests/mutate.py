"""Break each component on purpose, one small change at a time, and list the changes that its tests do not notice.

    python tests/mutate.py [PATH ...] [--most N]          PATH: of a module, or below src/plait; all components if none

A change: a sign, a dropped term, times for divided by, a comparison turned round, a mean for a sum, two arguments
swapped, a transposition left out, a tensor detached or not, a flag turned, half of a number.  Defaults of arguments
stay: no test knows which is best.  A component's tests are tests/SLOT/test_NAME.py, or all of tests/SLOT if there is
none, and what tests/contract asks of it.  Everything heavy is imported once, and each change runs in a fork.

A change on a line that ends in `# same:` and a reason is left out, because it changes nothing that could be seen.
Exit status 1 if a change was not noticed.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import copy
import importlib.abc
import importlib.util
import os
import random
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src/plait"
SECONDS = 120
"""After which a change that makes the tests hang counts as noticed."""

_OTHER = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Lt: ast.GtE, ast.GtE: ast.Lt,
    ast.Gt: ast.LtE, ast.LtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.And: ast.Or, ast.Or: ast.And,
    ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}  # fmt: skip
_NAMES = {
    "mean": "sum", "sum": "mean", "max": "min", "min": "max", "amax": "amin", "amin": "amax", "argmax": "argmin",
    "argmin": "argmax", "any": "all", "all": "any", "exp": "neg", "log": "neg", "sigmoid": "tanh", "tanh": "sigmoid",
    "softmax": "sigmoid", "relu": "neg", "clamp_min": "clamp_max", "clamp_max": "clamp_min", "cumsum": "sort",
}  # fmt: skip
_LEFT_OUT = ("transpose", "detach", "abs", "square", "sqrt", "unit", "flip")
ORDERLESS = ("seeded", "generator", "Sequential")
"""What keys a random stream, or is made one after the other: another order is as good."""
NO_TENSORS = ("isinstance", "len", "range", "super", "zip", "dict", "list", "parameters")
HELPER = "_detached_by_a_mutation"


@dataclass(frozen=True)
class Change:
    """tree: the module with one thing changed.  said: what, on which line."""

    line: int
    said: str
    tree: ast.Module


def changes(source: str) -> Iterator[Change]:
    """Every single change of a module; docstrings, annotations and error messages stay."""
    whole = ast.parse(source)
    same = {number for number, text in enumerate(source.splitlines(), 1) if "# same:" in text}
    for i, _ in enumerate(_sites(whole)):
        for j in range(_count(whole, i)):
            tree = copy.deepcopy(whole)
            owner, field, index, node = list(_sites(tree))[i]
            new = _variants(node)[j]
            if getattr(node, "lineno", 0) in same:
                continue
            before = ast.unparse(node)
            if ast.unparse(new) == before:
                continue
            if index is None:
                setattr(owner, field, new)
            else:
                getattr(owner, field)[index] = new
            yield Change(node.lineno, f"{before}  ->  {ast.unparse(new)}", ast.fix_missing_locations(tree))


def _count(tree: ast.Module, i: int) -> int:
    return len(_variants(list(_sites(tree))[i][3]))


def _sites(tree: ast.AST) -> Iterator[tuple[ast.AST, str, int | None, Any]]:
    """(owner, field, place in a list or None, expression) of what may be changed."""
    for owner in _worth(tree):
        for field, value in ast.iter_fields(owner):
            if field in ("annotation", "returns", "decorator_list", "bases", "defaults", "kw_defaults"):
                continue
            for index, node in enumerate(value) if isinstance(value, list) else [(None, value)]:
                if isinstance(node, ast.expr):
                    yield owner, field, index, node


def _worth(node: ast.AST) -> Iterator[ast.AST]:
    """Without what is raised, imported, said about types or the default of an argument."""
    if isinstance(node, (ast.Raise, ast.Import, ast.ImportFrom, ast.Assert, ast.JoinedStr)):
        return
    yield node
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "decorator_list", "bases", "defaults", "kw_defaults"):
            continue
        for inner in value if isinstance(value, list) else [value]:
            if isinstance(inner, ast.AST) and not (isinstance(node, ast.AnnAssign) and field == "target"):
                yield from _worth(inner)


def _variants(node: ast.expr) -> list[ast.expr]:
    """What an expression may be changed to."""
    found: list[ast.expr] = []
    if isinstance(node, ast.BinOp) and type(node.op) in _OTHER:
        found.append(ast.BinOp(node.left, _OTHER[type(node.op)](), node.right))
        if isinstance(node.op, (ast.Add, ast.Sub, ast.Mult)):
            found += [node.left, node.right]
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.Not, ast.Invert)):
        found.append(node.operand)
    elif isinstance(node, ast.Compare) and type(node.ops[0]) in _OTHER:
        found.append(ast.Compare(node.left, [_OTHER[type(node.ops[0])](), *node.ops[1:]], node.comparators))
    elif isinstance(node, ast.BoolOp):
        found.append(ast.BoolOp(_OTHER[type(node.op)](), node.values))
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        found.append(ast.Constant(not node.value))
    elif isinstance(node, ast.Constant) and isinstance(node.value, float) and node.value:
        found.append(ast.Constant(node.value / 2))
    elif isinstance(node, ast.Attribute) and node.attr == "T":
        found.append(node.value)
    elif isinstance(node, ast.Call):
        found += _calls(node)
    return found


def _calls(node: ast.Call) -> list[ast.expr]:
    found: list[ast.expr] = []
    if isinstance(node.func, ast.Attribute):
        if node.func.attr in _NAMES:
            other = ast.Attribute(node.func.value, _NAMES[node.func.attr], ast.Load())
            found.append(ast.Call(other, node.args, node.keywords))
        if node.func.attr in _LEFT_OUT:
            found.append(node.func.value)
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    plain = not any(isinstance(argument, (ast.Starred, ast.Constant)) for argument in node.args[:2])
    if len(node.args) >= 2 and plain and name not in ORDERLESS:
        found.append(ast.Call(node.func, [node.args[1], node.args[0], *node.args[2:]], node.keywords))
    if (
        name
        and name[0].islower()
        and name not in ("isinstance", "len", "range", "super", "zip", "dict", "list", "parameters")
    ):
        found.append(ast.Call(ast.Name(HELPER, ast.Load()), [node], []))
    return found


def _detached(value: Any) -> Any:
    import torch

    if not isinstance(value, torch.Tensor) or not value.requires_grad:
        raise _NothingToDetachError
    return value.detach()


class _NothingToDetachError(Exception):
    """The change is none: what would be detached has no gradient."""


class _Instead(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives one module from a changed tree."""

    def __init__(self, name: str, path: Path, tree: ast.Module) -> None:
        self.name, self.path, self.tree = name, path, tree

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> Any:
        if name != self.name:
            return None
        return importlib.util.spec_from_file_location(name, self.path, loader=self)

    def create_module(self, spec: Any) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        setattr(module, HELPER, _detached)
        exec(compile(self.tree, str(self.path), "exec"), module.__dict__)


def noticed(path: Path, tree: ast.Module, *tests: str) -> bool:
    """Whether tests, as pytest is given them, fail with this tree in a module's place, or it is no change at all."""
    child = os.fork()
    if child == 0:
        status = 3
        with contextlib.suppress(BaseException):
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, 1)
            os.dup2(nothing, 2)
            signal.alarm(SECONDS)
            sys.meta_path.insert(0, _Instead(_name(path), path, tree))
            status = _run(*tests)
        os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0


def _run(*tests: str) -> int:
    import pytest

    return int(pytest.main([*tests, "-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--no-header"]))


def _name(path: Path) -> str:
    return ".".join(("plait", *path.relative_to(PACKAGE).with_suffix("").parts))


def components() -> Iterator[Path]:
    """Every component's file."""
    from plait.core.component import SLOTS, find
    from plait.core.component import available as named

    for slot in SLOTS:
        for name in named(slot):
            yield Path(sys.modules[find(slot, name).__module__].__file__ or "")


def test_of(path: Path) -> Path:
    """Its own test file; the slot's, if several components share tests."""
    inner = path.relative_to(PACKAGE)
    own = ROOT / "tests" / inner.parent / f"test_{inner.stem}.py"
    return own if own.exists() else own.parent


def survivors(path: Path, most: int | None, say: Callable[[str], None]) -> int:
    """-> how many changes of a component its tests do not notice."""
    test, found = test_of(path), list(changes(path.read_text(encoding="utf-8")))
    own, contract = str(test), (str(ROOT / "tests/contract"), "-k", f".{path.stem}")
    name = path.relative_to(PACKAGE)
    if not test.exists():
        say(f"{name}: there is no {test.relative_to(ROOT)}")
        return 1
    if not noticed(path, ast.parse("raise RuntimeError"), own) or noticed(
        path, ast.parse(path.read_text(encoding="utf-8")), own
    ):
        say(f"{name}: its tests do not reach it, or fail as it is")
        return 1
    if most is not None and len(found) > most:
        found = sorted(random.Random(str(name)).sample(found, most), key=lambda change: change.line)
    alive = [change for change in found if not noticed(path, change.tree, own)]
    alive = [change for change in alive if not noticed(path, change.tree, *contract)]
    say(f"{name}: {len(found) - len(alive)} of {len(found)} changes noticed")
    for change in alive:
        say(f"    line {change.line}: {change.said}")
    return len(alive)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", nargs="*", type=Path)
    parser.add_argument("--most", type=int, help="changes of one component, drawn by chance where there are more")
    asked = parser.parse_args()
    # What every child needs; the components themselves must not be here, or they could not be replaced.
    sys.path.insert(0, str(ROOT / "tests/support"))
    paths = [(path if path.exists() else PACKAGE / path).resolve() for path in asked.path]
    for path in paths:
        if not path.is_file() or not path.is_relative_to(PACKAGE):
            parser.error(f"{path} is no module below {PACKAGE.relative_to(ROOT)}")
    if not paths:
        child = os.popen(
            f'{sys.executable} -c \'import sys; sys.path.insert(0, "{ROOT}/tests"); import mutate; '
            "print(*mutate.components(), sep=chr(10))'"
        )
        paths = [Path(line) for line in child.read().split()]
    import numpy  # noqa: F401
    import pytest  # noqa: F401
    import torch

    import plait.core.network
    import plait.training.step  # noqa: F401

    torch.set_num_threads(1)
    lost = sum(survivors(path, asked.most, lambda text: print(text, flush=True)) for path in paths)
    print(f"{lost} changes were not noticed." if lost else "Every change was noticed.")
    sys.exit(1 if lost else 0)


if __name__ == "__main__":
    main()

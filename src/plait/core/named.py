"""Modules and parameters by any name: a column may be called `type`, `a.b` or nothing, which torch refuses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

_TAKEN = frozenset(dir(nn.ModuleDict()))


def attribute(name: str) -> str:
    """A name that torch accepts, the same one wherever it does; different names stay different."""
    safe = name.replace("%", "%25").replace(".", "%2E")
    return f"{safe}%" if not safe or safe in _TAKEN else safe


def _name(attribute: str) -> str:
    return attribute.removesuffix("%").replace("%2E", ".").replace("%25", "%")


class Named(nn.ModuleDict):
    """A ModuleDict that takes any text as key."""

    def __getitem__(self, key: str) -> nn.Module:
        return super().__getitem__(attribute(key))

    def __setitem__(self, key: str, module: nn.Module) -> None:
        super().__setitem__(attribute(key), module)

    def __delitem__(self, key: str) -> None:
        super().__delitem__(attribute(key))

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and super().__contains__(attribute(key))

    def __iter__(self) -> Iterator[str]:
        return iter([_name(key) for key in self._modules])

    def keys(self) -> Any:
        return list(self)

    def items(self) -> Any:
        return [(key, self[key]) for key in self]


class NamedParameters(nn.Module):
    """Parameters by any text as key."""

    def __getitem__(self, key: str) -> nn.Parameter:
        return getattr(self, attribute(key))

    def __setitem__(self, key: str, parameter: nn.Parameter) -> None:
        self.register_parameter(attribute(key), parameter)

    def __contains__(self, key: str) -> bool:
        return attribute(key) in self._parameters

    def __iter__(self) -> Iterator[str]:
        return iter([_name(key) for key in self._parameters])

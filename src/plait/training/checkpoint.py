"""Checkpoints: one safetensors file, written whole or not at all, with nothing in it that could run."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from plait.core.errors import RunError


def write(path: Path, state: Any) -> None:
    """Write nested dicts, lists, tensors and plain values.  RunError if the disk refuses; the old file then stays."""
    tensors: dict[str, Tensor] = {}
    plain = json.dumps(_split(state, tensors))
    write_bytes(path, save(tensors, metadata={"state": plain, "sum": _sum(plain, tensors)}))


def read(path: Path) -> Any:
    """What `write` wrote.  RunError if the file is damaged."""
    try:
        said, tensors = _opened(path)
    except SafetensorError as error:
        raise _damaged(path, str(error)) from error
    if said.get("sum") != _sum(said.get("state", ""), tensors):
        raise _damaged(path, "its checksum is wrong")
    return _join(json.loads(said["state"]), tensors)


def _opened(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """-> what the file says of itself, and its tensors."""
    with safe_open(str(path), framework="pt") as file:
        return file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def _damaged(path: Path, why: str) -> RunError:
    return RunError(f"{path} is damaged ({why}). Remove it to begin the training of this run anew.")


def _sum(plain: str, tensors: Mapping[str, Tensor]) -> str:
    total = zlib.crc32(plain.encode())
    for name in sorted(tensors):
        total = zlib.crc32(tensors[name].reshape(-1).view(torch.uint8).numpy().tobytes(), total)
    return f"{total:08x}"


WEIGHTS = "model.safetensors"


def weights(folder: Path) -> dict[str, Tensor]:
    """The fitted weights of a run folder.  RunError if it has none."""
    path = folder / WEIGHTS
    if not path.exists():
        raise RunError(f"{folder} is not a finished run: it has no {WEIGHTS}.")
    try:
        said, tensors = _opened(path)
    except SafetensorError as error:
        raise RunError(f"{path} is damaged ({error}). Fit the model again.") from error
    # Other programs write weights without one.
    if "sum" in said and said["sum"] != _sum("", tensors):
        raise RunError(f"{path} is damaged (its checksum is wrong). Fit the model again.")
    return tensors


def write_weights(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write fitted weights into a run folder.  RunError if the disk refuses."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_bytes(folder / WEIGHTS, save(tensors, metadata={"sum": _sum("", tensors)}))


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file whole or not at all.  RunError if the disk refuses."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise RunError(
            f"{path} could not be written ({error.strerror}). Free some space, then go on with --resume {path.parent}."
        ) from error


def sweep(folder: Path) -> None:
    """Remove what writers that were killed have left behind.  Nobody else may be writing there."""
    for part in folder.glob(".*.part"):
        part.unlink(missing_ok=True)


def _split(state: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(state, Tensor):
        name = str(len(tensors))
        # Tied tensors share storage, which the format refuses.
        tensors[name] = state.detach().cpu().clone().contiguous()
        return {"tensor": name}
    if isinstance(state, dict):
        # As pairs: keys may be numbers, which JSON objects would turn into text.
        return {"dict": [[key, _split(value, tensors)] for key, value in state.items()]}
    if isinstance(state, (list, tuple)):
        return {"list": [_split(value, tensors) for value in state]}
    return {"value": state}


def _join(plain: Any, tensors: dict[str, Tensor]) -> Any:
    ((kind, content),) = plain.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {key: _join(value, tensors) for key, value in content}
    if kind == "list":
        return [_join(value, tensors) for value in content]
    return content


def to_device(state: Any, device: torch.device) -> Any:
    """The same nested state with every tensor on `device`."""
    if isinstance(state, Tensor):
        return state.to(device)
    if isinstance(state, dict):
        return {key: to_device(value, device) for key, value in state.items()}
    if isinstance(state, list):
        return [to_device(value, device) for value in state]
    return state

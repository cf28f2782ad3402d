"""What one training of a recipe costs, each in a process of its own, so that none pays for another."""

from __future__ import annotations

import json
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from plait.core.errors import RunError
from plait.data.cache import cache_root, writing

from .trials import Trial, counts, outcome, prepared

PROCESS = Path("/proc/self")
"""Where Linux says what a process uses."""


@dataclass(frozen=True)
class Cost:
    """seconds: of training and predicting the test rows, with all threads.  memory: MiB by which the process grows
    meanwhile, at its peak; None where the system does not say.  multiply_adds: of predicting a row, on average.
    """

    seconds: float
    memory: float | None
    parameters: int
    multiply_adds: float

    def account(self) -> dict[str, Any]:
        return asdict(self)


def cost(trial: Trial) -> Cost:
    """Of one training.  Raises what it raises, RunError if the system kills its process.

    Measured once and kept, so that a comparison that is taken up again, or repeated, does not train for it anew.
    """
    path = cache_root() / "costs" / f"{trial.key()}-{torch.get_num_threads()}.json"
    with suppress(OSError, ValueError, TypeError):
        return Cost(**json.loads(path.read_text(encoding="ascii")))
    found = _measured(trial)
    path.parent.mkdir(parents=True, exist_ok=True)
    with writing(path) as part:
        part.write_text(json.dumps(asdict(found)), encoding="ascii")
    return found


def _measured(trial: Trial) -> Cost:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(cost_here, trial).result()
        except BrokenProcessPool as error:
            raise RunError("A training was killed, perhaps for want of memory: it needs a larger machine.") from error


def cost_here(trial: Trial) -> Cost:
    """The same in this process, whose earlier peaks of memory are forgotten where the system allows it."""
    prepared(trial)
    with suppress(OSError):
        (PROCESS / "clear_refs").write_text("5")
    before, began = _memory("VmRSS"), time.perf_counter()
    outcome(trial)
    seconds, peak = time.perf_counter() - began, _memory("VmHWM")
    grown = None if before is None or peak is None else max(0.0, peak - before)
    parameters, multiply_adds = counts(trial)
    return Cost(seconds, grown, parameters, multiply_adds)


def _memory(what: str) -> float | None:
    """MiB."""
    if not (PROCESS / "status").exists():
        return None
    lines = (PROCESS / "status").read_text(encoding="ascii", errors="replace").splitlines()
    said = next((line.split()[1] for line in lines if line.startswith(f"{what}:")), None)
    return None if said is None else int(said) / 1024

"""Trainings in processes of their own, beside each other.

Most operations of a step are too small to share among threads.  So where there are several trainings to do on a CPU,
each gets its share of the threads and all run at a time.
"""

from __future__ import annotations

import os
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager
from functools import cache, partial
from typing import TypeVar

import torch

from plait.core.errors import RunError
from plait.core.rank import one_of_several
from plait.core.recipe import Recipe

T = TypeVar("T")
WORTH_IT = 200
"""Training steps that take longer than it takes to start a process, some seconds."""


def worth_it(recipe: Recipe, rows: int, trainings: int = 1) -> bool:
    """Whether this many trainings should go to processes of their own; a matter of the recipe and not of the moment.

    Not on a GPU, nor in one of a launcher's processes, nor with a single thread.
    """
    steps = trainings * recipe.training.epochs * -(-rows // recipe.training.batch)
    free = torch.get_num_threads() > 1 and not torch.cuda.is_available() and not one_of_several()
    return free and steps >= WORTH_IT


@contextmanager
def aside(jobs: Sequence[Callable[[], T]], here: bool = False) -> Iterator[Iterator[T]]:
    """Run the jobs, as many at a time as there are threads -> their results, in order, as they are there.

    here: this process trains as well meanwhile, and gets its share of the threads too.
    What a job refers to and returns is copied.  RunError if the system kills its process.
    """
    from joblib import Parallel, delayed, parallel_config

    # One that waited for ten seconds ends, and the next training starts another: nobody's fault.
    warnings.filterwarnings("ignore", "A worker stopped while some jobs", UserWarning)
    threads = torch.get_num_threads()
    together = min(threads, len(jobs) + here)
    share = threads // together
    with parallel_config("loky", idle_worker_timeout=10):
        # With n_jobs of 1 they would run here.
        run = Parallel(n_jobs=max(2, together - here), return_as="generator", max_nbytes=None)
        results = run(delayed(_alone)(job, share) for job in jobs)
    if here:
        torch.set_num_threads(share)
    try:
        yield _whole(results)
    finally:
        torch.set_num_threads(threads)
        results.close()


def _whole(results: Iterator[T]) -> Iterator[T]:
    try:
        yield from results
    except BrokenExecutor as error:
        raise RunError(
            "A training process was killed, perhaps for want of memory. One after the other they need less: set "
            "OMP_NUM_THREADS=1 and start again."
        ) from error


def _alone(job: Callable[[], T], threads: int) -> T:
    _guarded(os.getppid())
    torch.set_num_threads(threads)
    return job()


@cache
def _guarded(parent: int) -> None:
    """Once in a process, however many jobs it gets."""
    threading.Thread(target=partial(_end_with, parent), daemon=True).start()


def _end_with(parent: int) -> None:
    """End this process soon after its parent, which may have been killed: nobody waits for it any more."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)

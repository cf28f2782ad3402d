"""Trainings in processes of their own."""

import inspect
import os
import signal
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest
import torch
from joblib.externals.loky import process_executor

from plait.core.errors import DataError, RunError
from plait.core.recipe import Recipe
from plait.workflow.aside import aside, worth_it


@pytest.fixture(autouse=True)
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def where(number):
    time.sleep(0.3)
    return number, os.getpid(), torch.get_num_threads()


def test_jobs_run_elsewhere_with_their_share_of_the_threads_and_answer_in_order():
    with aside([lambda n=n: where(n) for n in range(3)]) as done:
        found = list(done)
    assert [number for number, _, _ in found] == [0, 1, 2]
    assert os.getpid() not in {process for _, process, _ in found}
    assert {threads for _, _, threads in found} == {1}
    assert torch.get_num_threads() == 2


def test_this_process_gives_up_its_share_while_it_works_too():
    with aside([lambda: where(0)], here=True) as done:
        assert torch.get_num_threads() == 1
        assert next(done)[2] == 1
    assert torch.get_num_threads() == 2


def test_a_process_that_ended_while_it_waited_warns_nobody():
    # joblib breaks it into several strings.
    assert "A worker stopped while some jobs" in inspect.getsource(process_executor)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with aside([lambda: where(0)]) as done:
            warnings.warn("A worker stopped while some jobs were given to the executor.", UserWarning, stacklevel=1)
            warnings.warn("Something else.", UserWarning, stacklevel=1)
            list(done)
    assert [str(one.message) for one in seen] == ["Something else."]


def refuse():
    raise DataError("no rows")


def test_a_jobs_own_error_arrives_as_it_is():
    with pytest.raises(DataError, match="no rows"), aside([refuse]) as done:
        list(done)


def test_a_killed_process_is_said_so():
    with (
        pytest.raises(RunError, match=r"was killed.*OMP_NUM_THREADS=1"),
        aside([lambda: os.kill(os.getpid(), signal.SIGKILL)]) as done,
    ):
        list(done)


def test_large_arrays_arrive_whole():
    values = np.arange(3_000_000, dtype=np.float32)
    with aside([lambda: {"x": torch.from_numpy(values * 2)}]) as done:
        (found,) = done
    assert torch.equal(found["x"], torch.from_numpy(values * 2))


PARENT = """
import os, sys, time
from plait.workflow.aside import aside

said = sys.argv[1]

def job():
    with open(said, "w") as file:
        file.write(str(os.getpid()))
    time.sleep(120)

with aside([job]) as done:
    list(done)
"""


def test_nobody_goes_on_after_the_parent_was_killed(tmp_path):
    script, said = tmp_path / "parent.py", tmp_path / "pid"
    script.write_text(PARENT)
    with subprocess.Popen([sys.executable, str(script), str(said)]) as parent:
        until = time.monotonic() + 60
        while not (said.exists() and said.read_text()) and time.monotonic() < until:
            time.sleep(0.1)
        child = int(said.read_text())
        os.kill(child, 0)
        parent.kill()
    until = time.monotonic() + 20
    while time.monotonic() < until:
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    os.kill(child, signal.SIGKILL)
    pytest.fail("the worker outlived its parent")


def test_few_steps_are_not_worth_a_process(monkeypatch):
    long = Recipe.parse({"training": {"epochs": 40, "batch": 10}})
    assert worth_it(long, 100)
    assert not worth_it(long, 40)
    assert worth_it(long, 40, trainings=2)
    torch.set_num_threads(1)
    assert not worth_it(long, 100)
    torch.set_num_threads(2)
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert not worth_it(long, 100)

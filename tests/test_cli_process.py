"""The command as a process: what reaches the shell."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import items
import pytest


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("home")
    items.write(folder)
    return folder


def start(home: Path, *arguments: object, **options) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "plait", *map(str, arguments)],
        cwd=home,
        env={**os.environ, "PLAIT_CACHE": str(home / "cache"), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def run(home: Path, *arguments: object, **options) -> tuple[int, str, str]:
    process = start(home, *arguments, **options)
    out, error = process.communicate()
    return process.returncode, out, error


FIT = ("fit", "items.csv", "--target", "colour", "--recipe", "recipe.yaml")


def test_fit_with_json_prints_one_object(home):
    status, out, _ = run(home, *FIT, "--out", "run", "--json")
    assert status == 0
    assert json.loads(out)["run"] == "run"
    assert out.count("\n") == 1


def test_a_mistake_is_one_line_and_status_2(home):
    assert run(home, "inspect", "gone.csv") == (2, "", "Error: There is no file or folder gone.csv.\n")


def test_a_fault_of_the_program_is_status_1_with_its_traceback(home):
    code = "import plait.data.read as r\nr.read = None\nfrom plait.cli import main\nmain()"
    done = subprocess.run([sys.executable, "-c", code, "inspect", "x.csv"], cwd=home, capture_output=True, text=True)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "TypeError" in done.stderr


def test_control_c_is_status_130_and_says_how_to_go_on(home):
    process = start(home, *FIT, "--out", "long", "--set", "training.epochs=100000")
    history = home / "long" / "metrics.jsonl"
    while process.poll() is None and not (history.exists() and history.stat().st_size):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, error = process.communicate()
    assert process.returncode == 130
    assert out == ""
    assert error.splitlines()[-2:] == ["Go on with: plait fit --resume long", "Interrupted."]
    assert "Traceback" not in error


@pytest.mark.parametrize(("arguments", "status"), [(("--version",), 0), (("inspect", "gone.csv"), 2)])
@pytest.mark.parametrize("processes", ["1", "2"])
def test_one_of_several_processes_ends_without_finalising_the_interpreter(home, arguments, status, processes):
    code = """
import atexit, sys, plait.cli
class Last:
    def __del__(self): print("finalised")
plait.cli.last = Last()
atexit.register(print, "tidy")
plait.cli.main()
"""
    environment = {k: v for k, v in os.environ.items() if k != "WORLD_SIZE"}
    several = {"WORLD_SIZE": processes} if processes != "1" else {}
    run = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(run, cwd=home, env={**environment, **several}, stdout=subprocess.PIPE, text=True)
    assert done.returncode == status
    lines = done.stdout.splitlines()
    assert "tidy" in lines
    assert ("finalised" in lines) == (processes == "1")


def test_a_full_disk_is_a_mistake_to_mend(home):
    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600))

    status, out, error = run(home, *FIT, "--out", "full", preexec_fn=small_files)
    assert (status, out) == (2, "")
    assert "No space left" in error
    assert "Traceback" not in error


@pytest.mark.parametrize("more", [(), ("--json",)])
def test_a_reader_that_goes_away_is_no_error_message(home, more):
    process = start(home, "components", *more)
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    assert process.wait() in (0, 1)

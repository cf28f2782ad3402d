"""Runs `plait fit` in child processes that get SIGKILL; imports once, then forks.

    killed.py TABLE RUN RECIPE PLAN...

Each child begins the run, or goes on with it.  A plan is `MODULE:FUNCTION:N` (killed as the N-th call begins),
`MODULE:FUNCTION:N:after` (as it ends), or a number of seconds.  In the end one child is left alone.  Prints the status
of each child.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import time
from pathlib import Path


def main() -> None:
    table, run, recipe, *plans = sys.argv[1:]
    import plait.cli
    import plait.workflow.fit
    import plait.workflow.report
    import plait.workflow.search

    for plan in [*plans, ""]:
        go_on = (Path(run) / "config.yaml").exists()
        arguments = ["--resume", run] if go_on else [table, "--target", "label", "--recipe", recipe, "--out", run]
        child = os.fork()
        if child == 0:
            if ":" in plan:
                _trap(*plan.split(":"))
            sys.argv = ["plait", "fit", *arguments, "--json"]
            with open(os.devnull, "w") as nothing:
                os.dup2(nothing.fileno(), 1)
                plait.cli.main()
            os._exit(0)
        if plan and ":" not in plan:
            time.sleep(float(plan))
            os.kill(child, signal.SIGKILL)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _trap(module: str, name: str, count: str, when: str = "before") -> None:
    owner = importlib.import_module(module)
    inner, calls = getattr(owner, name), 0

    def trapped(*args, **kwargs):
        nonlocal calls
        calls += 1
        if calls == int(count) and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        out = inner(*args, **kwargs)
        if calls == int(count):
            os.kill(os.getpid(), signal.SIGKILL)
        return out

    setattr(owner, name, trapped)


if __name__ == "__main__":
    main()

"""How long it takes until Plait is there: whole processes, from start to exit.

`python -c pass`, `python -c 'import plait'` and `plait --help` take turns.  What counts is the median: of the
difference of the first two within a turn, limit 0.05 s, and of the last, limit 0.3 s.  On a machine that is busy with
other things the processor time of the process (CPU), printed beside it, says what it would be on an idle one.

    python benchmarks/startup.py [--turns 30]
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time

COMMANDS = {
    "bare": [sys.executable, "-c", "pass"],
    "import plait": [sys.executable, "-c", "import plait"],
    "plait --help": [sys.executable, "-m", "plait", "--help"],
}
LIMITS = {"import plait over bare Python": 0.05, "plait --help": 0.3}


def seconds(command: list[str]) -> tuple[float, float]:
    """-> from start to exit, and of the processor."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    took, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return took, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--turns", type=int, default=30)
    turns = parser.parse_args().turns
    for command in COMMANDS.values():
        seconds(command)
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in COMMANDS}
    for turn in range(turns):
        for name in sorted(COMMANDS, reverse=bool(turn % 2)):
            times[name].append(seconds(COMMANDS[name]))
    pairs = list(zip(times["import plait"], times["bare"], strict=True))
    over = [(own[0] - bare[0], own[1] - bare[1]) for own, bare in pairs]
    found = {}
    for name, measured in (("import plait over bare Python", over), ("plait --help", times["plait --help"])):
        low, middle, high = statistics.quantiles([wall for wall, _ in measured], n=4)
        cpu = statistics.median(own for _, own in measured)
        found[name] = {"seconds": middle, "quartiles": [low, high], "cpu": cpu, "limit": LIMITS[name]}
        print(f"{name}: {middle:.3f} s ({low:.3f} to {high:.3f}), CPU {cpu:.3f} s, limit {LIMITS[name]} s")
    print(json.dumps({**found, "bare": statistics.median(wall for wall, _ in times["bare"]), "turns": turns}))


if __name__ == "__main__":
    main()

"""What memory it takes to fit on a table that is larger than memory should be.

Writes a table of ROWS rows with three modalities of 256 float32 each as Parquet, block by block, then reads it, stores
its cells and trains the default recipe for one epoch in a process of its own, and watches that process's anonymous
memory (RssAnon: what the kernel cannot drop and read again from a file).  Limit: 1 GiB at 1,000,000 rows.

    python benchmarks/million.py [--rows 1000000] [--folder FOLDER] [--trace] [--run]

--run: the whole of `plait fit --out` instead, with its evaluation, its index for search and its report.

The table, the cache and the run lie in FOLDER, in a new folder of the system's for temporary files unless given: 10 GB
for a million rows.  They are removed at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

MODALITIES, WIDTH, CLASSES = ("first", "second", "third"), 256, 10
BLOCK = 10_000
LIMIT_MIB = 1024
EVERY = 0.05


def write(path: Path, rows: int) -> None:
    """Gaussian vectors around a centre for each class; three quarters of the rows are labelled."""
    rng = np.random.default_rng(0)
    centres = {name: rng.normal(size=(CLASSES, WIDTH)).astype(np.float32) for name in MODALITIES}
    vector = pa.list_(pa.float32(), WIDTH)
    schema = pa.schema([*((name, vector) for name in MODALITIES), ("label", pa.string())])
    with pq.ParquetWriter(path, schema, compression="none", use_dictionary=["label"]) as writer:
        for start in range(0, rows, BLOCK):
            size = min(BLOCK, rows - start)
            label = rng.integers(CLASSES, size=size)
            columns: list[pa.Array] = []
            for name in MODALITIES:
                values = rng.standard_normal((size, WIDTH), np.float32) * 4 + centres[name][label]
                columns.append(pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), WIDTH))
            known = rng.random(size) < 0.75
            columns.append(pa.array([f"class {c}" if k else None for c, k in zip(label, known, strict=True)]))
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))


def anonymous_mib(pid: int) -> float:
    """0 when the process has just ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    lines = [line.split() for line in status.splitlines() if line.startswith("RssAnon:")]
    return int(lines[0][1]) / 1024 if lines else 0.0


def watched(command: list[str], environment: dict[str, str], log: Path) -> tuple[float, list[tuple[float, float]], str]:
    """Run a command -> seconds, [(seconds, MiB)] and what it said on standard output; ends us if it fails."""
    began = time.perf_counter()
    trace: list[tuple[float, float]] = []
    said = log.with_suffix(".json")
    with log.open("w") as errors, said.open("w") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=errors)
        while process.poll() is None:
            trace.append((time.perf_counter() - began, anonymous_mib(process.pid)))
            time.sleep(EVERY)
    if process.returncode:
        sys.exit(f"{' '.join(command)} ended with {process.returncode}:\n{log.read_text(encoding='utf-8')}")
    return time.perf_counter() - began, trace, said.read_text(encoding="utf-8")


FIT = """
import json, plait.workflow.fit as workflow
fitted = workflow.fit({table!r}, "label", settings=["training.epochs=1"])
print(json.dumps(fitted.account()))
"""


def measure(folder: Path, rows: int, whole: bool) -> tuple[dict[str, object], list[tuple[float, float]]]:
    table = folder / "table.parquet"
    began = time.perf_counter()
    write(table, rows)
    print(f"{table.stat().st_size / 2**30:.2f} GiB written in {time.perf_counter() - began:.0f} s", flush=True)
    command = [sys.executable, "-c", FIT.format(table=str(table))]
    if whole:
        command = [sys.executable, "-m", "plait", "fit", str(table), "--target", "label", "--out", str(folder / "run")]
        command += ["--set", "training.epochs=1", "--json"]
    seconds, trace, said = watched(command, {**os.environ, "PLAIT_CACHE": str(folder / "cache")}, folder / "log.txt")
    account = json.loads(said)
    found = {
        "rows": rows,
        "whole": whole,
        "peak_mib": max(mib for _, mib in trace),
        "limit_mib": LIMIT_MIB,
        "seconds": seconds,
        "parts": account["seconds"],
        "accuracy": account["metrics"]["test"]["accuracy"],
    }
    return found, trace


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="where there is room")
    parser.add_argument("--run", action="store_true", help="with everything that `plait fit` does besides")
    parser.add_argument("--trace", action="store_true", help="print the highest memory of every twentieth of the time")
    options = parser.parse_args()
    if options.folder is not None:
        options.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        found, trace = measure(Path(folder), options.rows, options.run)
    if options.trace:
        share = trace[-1][0] / 20
        for i in range(20):
            part = [mib for at, mib in trace if i * share <= at <= (i + 1) * share]
            print(f"{i * share:7.1f} s {max(part, default=0.0):7.0f} MiB")
    print(f"{options.rows} rows: at most {found['peak_mib']:.0f} MiB (limit {LIMIT_MIB}), {found['seconds']:.0f} s")
    print(json.dumps(found))


if __name__ == "__main__":
    main()

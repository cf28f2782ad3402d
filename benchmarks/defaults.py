"""How the default recipe's settings fare against others, on the validation rows of four data sets.

python benchmarks/defaults.py [--trials 8] [--out FOLDER] [--sets stamps mfeat motions genes]

Every trial is one point of settings (`plait.workflow.tune.KNOBS`), the same on every set; trial 0 is the default.  A
trial's figure on a set is its mean over the folds minus the default's; settings that win on one set only are no
default.  `stamps` is taken without its sounds (they cost most of the time), `mfeat` with 30 rows of each class.  Test
rows are never read.
Finished trials are kept in FOLDER and not computed again.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from plait.data.fetch import fetch
from plait.data.read import read
from plait.data.schema import Schema
from plait.data.table import Table
from plait.workflow.defaults import resolve
from plait.workflow.run import write_json
from plait.workflow.tune import points, tune


def table(name: str) -> Table:
    """The set, as this comparison uses it."""
    folder = fetch(name)
    schema = Schema.load(folder / "schema.yaml")
    if name == "stamps":
        return read(folder, schema.without("spoken_fr", "sound"))
    if name == "mfeat":
        found = read(folder, schema)
        _, codes = found.targets(next(iter(schema.targets)))
        rng = np.random.default_rng(0)
        kept = [rng.choice(np.flatnonzero(codes == code), 30, replace=False) for code in np.unique(codes)]
        return found.take(np.sort(np.concatenate(kept)))
    return read(folder, schema)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--out", type=Path, default=Path("runs/defaults"))
    parser.add_argument("--sets", nargs="+", default=["stamps", "mfeat", "motions", "genes"])
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    gains: dict[str, dict[str, float]] = {}
    for name in asked.sets:
        data = table(name)
        recipe = resolve(data.schema)
        own: list[float] = []
        for i, settings in enumerate(points(recipe, asked.trials, seed=0)):
            kept = asked.out / f"{name}-{i}.json"
            if not kept.exists():
                found = tune(data, recipe=recipe, settings=settings, trials=1)
                write_json(kept, {"settings": settings, **found.account()})
            said = json.loads(kept.read_text(encoding="utf-8"))
            own.append(said["trials"][0]["score"])
            gain = own[-1] - own[0]
            gains.setdefault(" ".join(settings) or "default", {})[name] = gain
            print(
                f"{name:8s} trial {i:2d}  {said['measure']} {own[-1]:.4f}  ({gain:+.4f})  {' '.join(settings)}",
                flush=True,
            )
    print("\nMean gain over the default, and on how many sets it is above 0:")
    for settings, found in sorted(gains.items(), key=lambda item: -float(np.mean(list(item[1].values())))):
        mean, better = float(np.mean(list(found.values()))), sum(gain > 0 for gain in found.values())
        print(f"{mean:+.4f}  {better} of {len(found)}  {settings}")


if __name__ == "__main__":
    main()

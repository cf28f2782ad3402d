"""Two processes that share every batch must do what one does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import foreign
import made
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shared
import torch

from plait.training import loop
from plait.training.processes import Processes
from plait.workflow.fit import fit

SUPPORT = Path(foreign.__file__).parent


def launch(folder: Path, script: str, *arguments: str) -> None:
    """`script` in two processes that talk over 127.0.0.1."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(SUPPORT), os.environ.get("PYTHONPATH", "")]),
        "OMP_NUM_THREADS": "1",
        "PLAIT_CACHE": str(folder / "cache"),
        "CUDA_VISIBLE_DEVICES": "",
    }
    run = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--master-addr=127.0.0.1"]
    done = subprocess.run(
        [*run, "--master-port=0", "--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0", script, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-4000:]


def test_one_process_changes_nothing() -> None:
    one = Processes()
    rows = torch.arange(5)
    assert one.gatherer(5, rows.device) is None
    assert torch.equal(one.mine(rows), rows)
    assert torch.equal(one.sum(rows), rows)
    assert one.from_first(lambda: 3) == 3


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> dict[str, list]:
    """What each of two processes found, by case."""
    folder = tmp_path_factory.mktemp("two")
    launch(folder, str(SUPPORT / "shared.py"))
    return {
        name: [torch.load(folder / f"{name}.{rank}.pt", weights_only=True) for rank in (0, 1)] for name in shared.CASES
    }


@pytest.mark.slow
@pytest.mark.parametrize("case", shared.CASES)
def test_gradients_memories_terms_and_meter_are_those_of_one_process(two, case) -> None:
    expected = shared.CASES[case](Processes())
    first, second = two[case]
    assert first["gradients"].keys() == expected["gradients"].keys()
    tolerance = 0.05 if case == "half" else 1e-5  # bfloat16 has 8 bits
    largest = max(float(value.abs().max()) for value in expected["gradients"].values())
    assert largest > 0
    for name, value in expected["gradients"].items():
        worst = float((first["gradients"][name] - value).abs().max())
        assert worst <= tolerance * largest, name
        assert torch.equal(first["gradients"][name], second["gradients"][name]), name
    for part in ("memory", "terms", "ratios", "read"):
        assert first[part].keys() == second[part].keys() == expected[part].keys()
        for name, value in expected[part].items():
            torch.testing.assert_close(first[part][name], value, rtol=tolerance, atol=tolerance, msg=name)
            assert torch.equal(first[part][name], second[part][name]), name


@pytest.mark.slow
def test_a_fit_in_two_processes_is_one_run(tmp_path) -> None:
    """One folder, written once; the figures of one process to tolerance."""
    pq.write_table(pa.table(made.columns(200, missing=0.2)), tmp_path / "table.parquet")
    # Without what is random: it differs from process to process on purpose.
    settled = {"dropout": 0.0}
    recipe = {
        **made.RECIPE,
        "encoders": {"vector": {"vector": settled}, "text": {"hashed_text": settled}, "tabular": {"tabular": settled}},
        "missing": {},
        "fusion": {"self_attention": {"layers": 1, "heads": 2, "drop_path": 0.0, **settled}},
        "training": {"epochs": 3, "batch": 32, "ema": 0.9},
    }
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe))
    options = ["--target", "label", "--recipe", "recipe.yaml", "--out", "two", "--json"]
    launch(tmp_path, "-m", "plait", "fit", "table.parquet", *options)
    alone = fit(tmp_path / "table.parquet", "label", recipe=recipe, out=tmp_path / "one")
    lines = [json.loads(line) for line in (tmp_path / "two" / loop.HISTORY).read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [0, 1, 2]
    for mine, theirs in zip(alone.history, lines, strict=True):
        assert mine["train"] == pytest.approx(theirs["train"], rel=1e-3)
        assert mine["validation"] == pytest.approx(theirs["validation"], rel=1e-3)
    names = {path.name for path in (tmp_path / "one").iterdir()}
    assert {path.name for path in (tmp_path / "two").iterdir()} == names
    account = json.loads((tmp_path / "two" / "fit.json").read_text())
    assert account["metrics"]["test"]["accuracy"] == pytest.approx(alone.metrics["test"]["accuracy"], abs=0.03)


def test_a_rows_share_is_contiguous_and_even() -> None:
    shares = []
    for rank in range(3):
        one = Processes()
        one.rank, one.world = rank, 3
        shares.append(one.mine(torch.arange(10)))
    assert torch.equal(torch.cat(shares), torch.arange(10))
    assert [len(share) for share in shares] == [4, 3, 3]

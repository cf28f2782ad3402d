import json
import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import foreign
import loops
import made
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tiny
import torch

from plait.core.errors import RecipeError, RunError
from plait.core.part import Clock
from plait.data.store import Store
from plait.training import checkpoint, loop, optim
from plait.workflow.fit import resume

SUPPORT = Path(foreign.__file__).parent


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Stop(Exception):
    pass


def interrupted(folder: Path, monkeypatch, writes: int, **over) -> None:
    """Stopped as the checkpoint has been written `writes` times."""
    inner, count = checkpoint.write, 0

    def write(path, state):
        nonlocal count
        inner(path, state)
        count += 1
        if count == writes:
            raise Stop

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "write", write)
        with pytest.raises(Stop):
            loops.run(folder=folder, **over)


SETTINGS = {
    "rich": {**loops.RICH, "training": {"ema": 0.9, "checkpoint": 1, "early_stopping": 1}},
    "adaptive": {"sampler": {"foreign:Hard": {}}, "training": {"epochs": 5}},
    "trained singles": {
        "objectives": {"supervised": {}, "singles": {"weight": 0.3}},
        "training": {"epochs": 3, "checkpoint": 3},
    },
    "draws of their own": {
        "objectives": {"supervised": {}, "imitate": {"use": "foreign:Imitate"}},
        "balance": {"noisy": {"use": "foreign:Noisy"}},
        "views": {"noisy": [{"noise": {}}]},
        "teachers": {"slow": {"use": "foreign:Wandering"}},
        "training": {"checkpoint": 1},
    },
    "sgd": {"training": {"optimizer": {"sgd": {"lr": 0.01, "momentum": 0.9}}, "epochs": 3, "checkpoint": 3}},
}


@pytest.mark.parametrize("which", SETTINGS)
def test_resuming_gives_the_same_bits(which, tmp_path, monkeypatch) -> None:
    over = {**SETTINGS[which], "validation": loops.rows(30, seed=1)}
    straight = loops.run(**over)
    for writes in (1, 2, 1):  # several interruptions of one run
        interrupted(tmp_path, monkeypatch, writes, **over)
    torch.manual_seed(4711)  # nothing may depend on the global stream
    resumed = loops.run(folder=tmp_path, **over)
    assert tiny.equal(loops.weights(straight), loops.weights(resumed))
    assert loops.lines(straight) == loops.lines(resumed)
    assert straight.best == resumed.best
    assert straight.steps == resumed.steps


def test_a_finished_training_is_not_trained_further(tmp_path) -> None:
    first = loops.run(folder=tmp_path)
    again = loops.run(folder=tmp_path)
    assert tiny.equal(loops.weights(first), loops.weights(again))
    assert len((tmp_path / loop.HISTORY).read_text().splitlines()) == 2


def test_a_damaged_checkpoint_is_said(tmp_path) -> None:
    loops.run(folder=tmp_path)
    path = tmp_path / loop.CHECKPOINT
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(RunError, match=r"damaged.*Remove it"):
        loops.run(folder=tmp_path)


def test_a_full_disk_stops_and_the_run_goes_on_from_the_old_checkpoint(tmp_path, monkeypatch) -> None:
    straight = loops.run()
    interrupted(tmp_path, monkeypatch, 1)
    before = (tmp_path / loop.CHECKPOINT).read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, hard))
    try:
        with pytest.raises(RunError, match="Free some space, then go on with --resume"):
            loops.run(folder=tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (tmp_path / loop.CHECKPOINT).read_bytes() == before
    assert tiny.equal(loops.weights(straight), loops.weights(loops.run(folder=tmp_path)))


def test_history_is_json_without_nan(tmp_path) -> None:
    judge = replace(loops.JUDGE, score=lambda kind, predicted, truth: {"accuracy": float("nan"), "r2": 0.0})
    trained = loops.run(folder=tmp_path, validation=loops.rows(20, seed=1), judge=judge)
    lines = [
        json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
        for line in (tmp_path / loop.HISTORY).read_text().splitlines()
    ]
    assert [line["epoch"] for line in lines] == [0, 1]
    assert lines[0]["validation"]["y/accuracy"] is None
    assert trained.best == {}  # nothing to choose by: the last epoch's weights


def test_no_active_term_no_step() -> None:
    over = {"weights": {"*": 0.0}, "training": {"ema": 0.5}}
    trained = loops.run(**over)
    untrained = loops.run(**{**over, "training": {"epochs": 0}})
    assert trained.steps == 0
    assert [line["rate"] for line in trained.history] == [0.0, 0.0]
    assert tiny.equal(loops.weights(trained), loops.weights(untrained))


@pytest.mark.parametrize("silence", [{"weight": 0.0}, None])
def test_weight_zero_is_absence_bit_for_bit(silence) -> None:
    """With dropout, AdamW, clipping, averaging and what only the silent one reads."""
    over = {"views": loops.RICH["views"], "teachers": loops.RICH["teachers"], "training": {"ema": 0.9, "clip": 0.1}}
    extra = {"use": "foreign:Imitate", **(silence or {})}
    weights = {} if silence else {"extra/*": 0.0}
    with_it = loops.run(objectives={"supervised": {}, "extra": extra}, weights=weights, **over)
    without = loops.run(objectives={"supervised": {}}, **over)
    assert tiny.equal(loops.weights(with_it), loops.weights(without))


def test_probes_leave_the_rest_alone_bit_for_bit() -> None:
    over = {"training": {"clip": 0.05}}
    plain = loops.run(**over)
    probed = loops.run(balance={"it": {"use": "foreign:Watching"}}, **over)
    own = {name: value for name, value in loops.weights(probed).items() if not name.startswith("singles.")}
    assert len(own) < len(loops.weights(probed))
    assert tiny.equal(own, loops.weights(plain))


def test_probes_learn() -> None:
    trained = loops.run(balance={"it": {"use": "foreign:Watching"}})
    fresh = loops.run(balance={"it": {"use": "foreign:Watching"}}, training={"epochs": 0})
    names = [name for name in loops.weights(trained) if name.startswith("singles.") and name.endswith("weight")]
    assert names
    assert not any(torch.equal(loops.weights(trained)[name], loops.weights(fresh)[name]) for name in names)


def test_balance_scales_gradients_before_clipping() -> None:
    """A branch scaled to nothing does not move; what is scaled up is clipped with the rest."""
    sgd = {"optimizer": {"sgd": {"lr": 0.01}}, "schedule": "constant", "warmup": 0.0, "epochs": 1, "batch": 60}
    moved = {}
    for factor in (0.0, 1.0, 1e6):
        over = {"balance": {"it": {"use": "foreign:Scale", "modality": "a", "factor": factor}}}
        start = loops.weights(loops.run(**over, training={**sgd, "epochs": 0}))
        end = loops.weights(loops.run(**over, training={**sgd, "clip": 0.5}))
        moved[factor] = {name: (end[name] - start[name]).norm() for name in end if end[name].is_floating_point()}
    branch = "encoders.a.linear.weight"
    assert moved[0.0][branch] == 0
    assert moved[1.0][branch] > 0
    total = torch.stack(list(moved[1e6].values())).norm()
    assert total == pytest.approx(0.01 * 0.5, rel=1e-3)
    assert moved[1e6][branch] > 0.5 * total


def test_gradient_modulation_works_in_the_loop() -> None:
    trained = loops.run(balance={"slow": {"use": "foreign:Slow"}}, training={"epochs": 3})
    plain = loops.run(balance={"slow": {"use": "foreign:Slow", "strength": 0.0}}, training={"epochs": 3})
    assert all(torch.isfinite(value).all() for value in loops.weights(trained).values())
    assert not tiny.equal(loops.weights(trained), loops.weights(plain))


def test_momentum_zero_is_no_average() -> None:
    validation = loops.rows(20, seed=1)
    plain = loops.run(validation=validation)
    averaged = loops.run(validation=validation, training={"ema": 0.0})
    assert tiny.equal(loops.weights(plain), loops.weights(averaged))
    assert loops.lines(plain) == loops.lines(averaged)


def test_what_is_judged_and_kept_is_the_average(tmp_path) -> None:
    over = {"training": {"ema": 0.9, "monitor": "loss"}, "validation": loops.rows(20, seed=1)}
    trained = loops.run(folder=tmp_path, **over)
    saved = checkpoint.read(tmp_path / loop.CHECKPOINT)
    averages = saved["average"]["tensors"]
    assert trained.best["epoch"] == 1
    kept = loops.weights(trained)
    assert all(torch.equal(kept[name], value) for name, value in averages.items())
    assert not torch.equal(saved["step"]["network.heads.y.linear.weight"], averages["heads.y.linear.weight"])
    no_rows = loops.run(training={"ema": 0.9})
    assert all(torch.equal(loops.weights(no_rows)[name], value) for name, value in averages.items())


def test_validation_disturbs_nothing(tmp_path) -> None:
    """The weights that training goes on with are the same without validation rows."""
    found = []
    for name, validation in (("with", loops.rows(30, seed=1)), ("without", None)):
        over = {**loops.RICH, "training": {"ema": 0.9, "early_stopping": None}}
        (tmp_path / name).mkdir()
        loops.run(folder=tmp_path / name, validation=validation, **over)
        found.append(checkpoint.read(tmp_path / name / loop.CHECKPOINT))
    first, second = found
    for key in ("step", "average", "optimizer", "extra", "probes", "clock"):
        assert loops.same(first[key], second[key]), key


LAST = {"monitor": "last", "early_stopping": None, "epochs": 3}


@pytest.mark.parametrize(
    "over",
    [
        {"training": {**LAST, "ema": 0.9}, **loops.RICH},
        {"training": LAST, "sampler": {"foreign:Hard": {}}},
        {"training": LAST, "stages": [{"training": {"epochs": 1}}, {"objectives": {"info_nce": {}}}]},
        {"training": LAST, "heads": {"y": {"evidential": {}}}},
        {"training": LAST, "balance": {"blending": {"use": "gradient_blending", "every": 1}}},
        {"training": {"monitor": "loss", "early_stopping": 1, "epochs": 4}},
        {"training": {"monitor": "auto"}},
    ],
    ids=("rich", "adaptive", "stages", "observing head", "observing balance", "loss picks", "a measure picks"),
)
def test_judging_no_epoch_changes_no_bit(over) -> None:
    validation = loops.rows(30, seed=1)
    watched, other = (loops.run(validation=validation, watched=watched, **over) for watched in (True, False))
    assert tiny.equal(loops.weights(watched), loops.weights(other))
    assert watched.best == other.best
    assert watched.choices.epochs == other.choices.epochs
    assert tiny.equal(watched.choices.tensors, other.choices.tensors)
    assert [line["train"] for line in watched.history] == [line["train"] for line in other.history]


@pytest.mark.parametrize(
    ("over", "judged"),
    [
        ({"training": LAST}, [False, False, False]),
        ({"training": {**LAST, "monitor": "auto"}}, [True, True, True]),
        ({"training": {**LAST, "monitor": "loss"}}, [True, True, True]),
        ({"training": LAST, "heads": {"y": {"evidential": {}}}}, [True, True, True]),
        ({"training": LAST, "sampler": {"foreign:Hard": {}}}, [True, True, True]),
        (
            {"training": LAST, "stages": [{"training": {"epochs": 1}}, {"training": {"epochs": 1, "monitor": "auto"}}]},
            [False, True],
        ),
    ],
)
def test_epochs_are_judged_only_where_somebody_asks(over, judged) -> None:
    trained = loops.run(validation=loops.rows(30, seed=1), watched=False, **over)
    assert [bool(line["validation"]) for line in trained.history] == judged


def scripted(values: list[dict[str, float]]):
    """A judge that gives epoch after epoch these scores to the class."""
    left = iter(values)
    return replace(loops.JUDGE, score=lambda kind, predicted, truth: next(left) if kind == "class" else {"r2": 0.0})


def test_early_stopping_waits_its_epochs_and_takes_the_best() -> None:
    scores = [{"accuracy": value} for value in (0.1, 0.5, 0.4, 0.3, 0.9)]
    trained = loops.run(
        validation=loops.rows(20, seed=1), judge=scripted(scores), training={"epochs": 5, "early_stopping": 2}
    )
    assert len(trained.history) == 4
    assert trained.best["epoch"] == 1
    assert trained.best["value"] == 0.5


def test_an_interruption_does_not_renew_patience(tmp_path, monkeypatch) -> None:
    judge = scripted([{"accuracy": value} for value in (0.9, 0.1, 0.2, 0.3, 0.4)])
    over = {"validation": loops.rows(20, seed=1), "judge": judge, "training": {"epochs": 5, "early_stopping": 2}}
    interrupted(tmp_path, monkeypatch, 2, **over)
    resumed = loops.run(folder=tmp_path, **over)
    assert len(resumed.history) == 3
    assert resumed.best["epoch"] == 0


def test_equal_scores_are_decided_by_the_loss() -> None:
    trained = loops.run(
        validation=loops.rows(20, seed=1), judge=scripted([{"accuracy": 0.5}] * 4), training={"epochs": 4}
    )
    losses = [line["validation"]["loss"] for line in trained.history]
    assert trained.best["epoch"] == losses.index(min(losses))


@pytest.mark.parametrize(
    ("monitor", "name", "sign"),
    [
        ("loss", "loss", -1),
        ("accuracy", "y/accuracy", 1),
        ("log_loss", "y/log_loss", -1),
        ("z/mae", "z/mae", -1),
        ("z/r2", "z/r2", 1),
        ("auto", "y/accuracy", 1),
    ],
)
def test_the_best_epoch_is_picked_by_the_monitor(monitor, name, sign) -> None:
    trained = loops.run(validation=loops.rows(40, seed=1), training={"epochs": 4, "monitor": monitor})
    values = [sign * line["validation"][name] for line in trained.history]
    assert trained.best["monitor"] == name
    assert sign * trained.best["value"] == max(values)


def test_auto_takes_the_first_target_that_validation_knows() -> None:
    validation = loops.rows(20, seed=1)
    validation.targets["y"] = Store(20, np.zeros(0, np.int64), np.zeros(0, np.int64))
    assert loops.run(validation=validation).best["monitor"] == "z/r2"
    nothing = loops.rows(20, seed=1, unlabelled=1.1)
    trained = loops.run(validation=nothing, objectives={"info_nce": {}})
    assert trained.best["monitor"] == "loss"
    with pytest.raises(RecipeError, match="no validation row has 'y'"):
        loops.run(validation=nothing, training={"monitor": "y/accuracy"})


@pytest.mark.parametrize(
    ("monitor", "message"),
    [("x/accuracy", "no target 'x'"), ("accurracy", "Did you mean 'y/accuracy'"), ("z/accuracy", "no 'z/accuracy'")],
)
def test_a_wrong_monitor_is_said(monitor, message) -> None:
    with pytest.raises(RecipeError, match=rf"training\.monitor: .*{message}"):
        loops.run(validation=loops.rows(20, seed=1), training={"monitor": monitor})


def test_validation_judges_all_rows_at_once() -> None:
    sizes = []
    judge = replace(loops.JUDGE, score=lambda *a: sizes.append(len(a[2])) or loops.JUDGE.score(*a))
    loops.run(validation=loops.rows(300, seed=1, unlabelled=0.0), judge=judge, training={"epochs": 1, "batch": 64})
    assert sizes == [300, 300]


def test_what_prepare_sees_is_a_sample_without_rhythm() -> None:
    rows = loops.rows(100)
    train = loop._PlainRows(rows, None, torch.device("cpu"), batch=16)
    ids = torch.cat([batch.ids for batch in train.batches(20)])
    assert len(ids) == 20
    assert torch.equal(ids, ids.sort().values)
    assert len(ids.diff().unique()) > 3
    assert torch.equal(torch.cat([batch.ids for batch in train.batches(20)]), ids)
    assert torch.equal(torch.cat([batch.ids for batch in train.batches()]), torch.arange(100))
    assert torch.equal(torch.cat([batch.ids for batch in train.batches(1000)]), torch.arange(100))


def test_precisions_can_differ_from_fit_to_fit() -> None:
    found = [loops.run(training={"precision": precision, "epochs": 1}) for precision in ("no", "bf16", "no")]
    assert tiny.equal(loops.weights(found[0]), loops.weights(found[2]))
    assert not tiny.equal(loops.weights(found[0]), loops.weights(found[1]))
    for name, value in loops.weights(found[1]).items():
        assert value.dtype == loops.weights(found[0])[name].dtype
        if value.is_floating_point():
            assert (value - loops.weights(found[0])[name]).abs().max() < 0.1


def test_half_precision_needs_a_gpu(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RecipeError, match=r"training\.precision: fp16 needs a GPU"):
        loops.run(training={"precision": "fp16"})


def test_the_step_count_and_the_rate_follow_the_schedule() -> None:
    trained = loops.run(training={"epochs": 3, "batch": 16, "warmup": 0.5})
    assert trained.steps == 3 * 4
    settings = loops.recipe(training={"epochs": 3, "warmup": 0.5}).training
    assert [line["rate"] for line in trained.history] == [
        pytest.approx(0.01 * optim.factor(settings, step - 1, 12)) for step in (4, 8, 12)
    ]


def test_a_growing_network_keeps_what_it_had() -> None:
    """A modality comes later: the old is frozen, the new one learns, and old embeddings keep their bits."""
    net, rows = loops.run().network.eval(), loops.rows(40, seed=5)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    spec = replace(loops.SPEC, modalities={**loops.MODALITIES, "d": tiny.MODALITIES["a"]})
    batch = rows.batch(range(40))
    first = {name: net(batch).embedding(name).values for name in "abc"}
    net.encoders["d"] = tiny.Flat()
    net.build(spec)
    newer = replace(batch, modalities={**batch.modalities, "d": tiny.batch(40, "a").modalities["a"]})
    for name, parameter in net.named_parameters():
        parameter.requires_grad_(name not in before)
    step = tiny.step(net, {"pairs": "info_nce"})
    optimizer = torch.optim.AdamW([p for p in step.parameters() if p.requires_grad], lr=0.01)
    losses = []
    for i in range(10):
        loss, _, _ = step(newer, Clock(step=i), loop.Meter(net.names))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert all(torch.equal(net.state_dict()[name], value) for name, value in before.items())
    assert tiny.equal({name: net(batch).embedding(name).values for name in "abc"}, first)


def test_the_thread_count_is_recorded_and_restored(tmp_path) -> None:
    source = made.columns(60)

    def stop(line):
        raise Stop

    with pytest.raises(Stop):
        made.quick(source, out=tmp_path / "run", watch=stop)
    assert json.loads((tmp_path / "run" / "data.json").read_text())["threads"] == 1
    torch.set_num_threads(2)
    resumed = resume(tmp_path / "run", source)
    assert torch.get_num_threads() == 1
    assert tiny.equal(resumed.model.network.state_dict(), made.quick(source).model.network.state_dict())


RECIPE = {
    "width": 8,
    "embedding": 4,
    "encoders": {"vector": {"vector": {}}, "text": {"hashed_text": {}}, "tabular": {"tabular": {}}},
    "fusion": {"self_attention": {"layers": 1, "heads": 2, "dropout": 0.2}},
    **loops.RICH,
    "views": {"noisy": [{"noise": {"modalities": ["sensor"]}}]},
    "training": {"epochs": 3, "batch": 64, "ema": 0.9, "early_stopping": 2, "checkpoint": 2},
    "stages": [
        {},
        {
            "train": ["fusion.*", "heads.*"],
            "data": [{"foreign:Relabel": {"column": "label", "value": "cat", "share": 0.1}}],
            "training": {"epochs": 2},
        },
        {"sampler": {"foreign:Hard": {}}, "training": {"epochs": 2}},
    ],
}


@pytest.mark.slow
def test_a_fit_killed_again_and_again_ends_in_the_same_bytes(tmp_path) -> None:
    """SIGKILL while cells are encoded, between epochs, in the middle of writing and at odd moments."""
    pq.write_table(pa.table(made.columns(420)), tmp_path / "table.parquet")
    (tmp_path / "recipe.yaml").write_text(json.dumps(RECIPE))
    plans = {
        "straight": [],
        "killed": [
            "plait.data._chunks:write:2",
            "plait.training.checkpoint:write:1",
            "os:fsync:3",
            "plait.training.checkpoint:write:3:after",
            "0.3",
            "plait.training.checkpoint:write_bytes:4",
            "0.7",
        ],
    }
    running = {}
    for name, plan in plans.items():
        environment = {
            "PYTHONPATH": str(SUPPORT),
            "OMP_NUM_THREADS": "1",
            "PLAIT_CACHE": str(tmp_path / f"cache-{name}"),
            "PATH": "",
        }
        command = [sys.executable, str(SUPPORT / "killed.py"), "table.parquet", name, "recipe.yaml", *plan]
        running[name] = subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
    for name, process in running.items():
        out, error = process.communicate(timeout=300)
        statuses = [int(line) for line in out.split()]
        assert statuses[-1] == 0, error
        assert statuses[:-1] == [-9] * len(plans[name]), error
    straight, killed = (tmp_path / name for name in plans)
    assert (straight / "model.safetensors").read_bytes() == (killed / "model.safetensors").read_bytes()
    histories = [
        [json.loads(line) for line in (run / loop.HISTORY).read_text().splitlines()] for run in (straight, killed)
    ]
    for line in (*histories[0], *histories[1]):
        del line["seconds"]
    assert histories[0] == histories[1]
    places = [(line["stage"], line["epoch"]) for line in histories[1]]
    assert places == sorted(set(places))
    assert not (killed / loop.CHECKPOINT).exists()
    assert not list(killed.glob(".*.part"))

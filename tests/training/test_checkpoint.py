import errno
import resource

import loops
import pytest
import torch

from plait.core.errors import RunError
from plait.training import checkpoint

STATE = {
    "tensors": [torch.arange(6.0).view(2, 3), torch.tensor(1), torch.zeros(0, 2), torch.ones(2, dtype=torch.bfloat16)],
    "plain": {1: 0.1, "x": None, "y": [True, float("inf"), {"deep": torch.tensor([True, False])}]},
    "empty": {},
}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    checkpoint.write(path, STATE)
    return path


def test_what_is_written_is_read(path) -> None:
    assert loops.same(checkpoint.read(path), STATE)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_tied_tensors_are_written_twice(path) -> None:
    x = torch.arange(4.0)
    checkpoint.write(path, {"whole": x, "part": x[1:3]})
    assert loops.same(checkpoint.read(path), {"whole": x, "part": x[1:3]})


def test_every_damage_is_noticed(path) -> None:
    good = path.read_bytes()
    damaged = [good[:n] for n in range(0, len(good), 37)]
    damaged += [good[:n] + bytes([good[n] ^ 64]) + good[n + 1 :] for n in range(0, len(good), 11)]
    for data in damaged:
        path.write_bytes(data)
        with pytest.raises(RunError, match=r"is damaged.*Remove it"):
            checkpoint.read(path)


def test_damaged_numbers_are_noticed(path) -> None:
    good = path.read_bytes()
    at = good.index(torch.arange(6.0).numpy().tobytes())
    path.write_bytes(good[: at + 6] + bytes([good[at + 6] ^ 1]) + good[at + 7 :])
    with pytest.raises(RunError, match="checksum"):
        checkpoint.read(path)


def test_a_full_disk_leaves_the_old_file(path) -> None:
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(RunError, match=r"Free some space, then go on with --resume") as raised:
            checkpoint.write(path, {"large": torch.zeros(10_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert raised.value.__cause__.errno == errno.EFBIG
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_folder_that_went_away(tmp_path) -> None:
    with pytest.raises(RunError, match="could not be written"):
        checkpoint.write(tmp_path / "gone" / "checkpoint.safetensors", STATE)


def test_leftovers_of_killed_writers_are_swept(path) -> None:
    (path.parent / f".{path.name}.4711.part").write_bytes(b"half")
    checkpoint.sweep(path.parent)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_weights_of_what_is_no_run(path) -> None:
    with pytest.raises(RunError, match="not a finished run"):
        checkpoint.weights(path.parent)
    (path.parent / checkpoint.WEIGHTS).write_bytes(b"no weights")
    with pytest.raises(RunError, match="damaged"):
        checkpoint.weights(path.parent)


def test_damaged_weights_are_noticed(path) -> None:
    tensors = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(True)}
    checkpoint.write_weights(path.parent, tensors)
    file = path.parent / checkpoint.WEIGHTS
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in checkpoint.weights(path.parent).items())
    raw = bytearray(file.read_bytes())
    raw[-3] ^= 1
    file.write_bytes(raw)
    with pytest.raises(RunError, match=r"damaged .its checksum is wrong"):
        checkpoint.weights(path.parent)


def test_to_device_reaches_every_tensor() -> None:
    moved = checkpoint.to_device({"a": [torch.ones(1), {"b": torch.ones(1)}], "c": 1}, torch.device("meta"))
    assert moved["a"][0].is_meta
    assert moved["a"][1]["b"].is_meta
    assert moved["c"] == 1
